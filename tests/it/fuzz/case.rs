//! What one round does, as data.

use std::fmt;

use super::beside::{self, Beside};
use super::differ;
use super::extras;
use super::generate;
use super::job::{self, Job};
use super::rows::{self, Rows};
use super::schema::{Schema, Table};
use crate::support::dice::Dice;

#[derive(Clone, Debug)]
pub struct Case {
    pub source: Schema,
    pub target: Schema,
    pub source_rows: Vec<Rows>,
    pub target_rows: Vec<Rows>,
    pub acts: Vec<Act>,
}

#[derive(Clone, Debug)]
pub enum Act {
    /// A statement on one side, which may fail.
    Change(Place, String),
    /// A run, and what somebody else does meanwhile.
    Run(Job, Option<Box<Beside>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Source,
    Target,
}

impl Case {
    /// The case of this round: it hangs on nothing but the two numbers.
    pub fn of(seed: u64, round: u64) -> Case {
        let mut dice = Dice::new(seed.wrapping_mul(0x9e37_79b9).wrapping_add(round));
        let mut source = generate::schema(&mut dice);
        if dice.once_in(6) {
            extras::attach(&mut dice, &mut source);
        }
        let mut target = differ::target(&mut dice, &source);
        extras::attach(&mut dice, &mut target);
        let source_rows = rows::rows(&mut dice, &source);
        let first = job::job(&mut dice, &source, &target);
        // What is appended to its own copy is refused for its keys, nearly always.
        let target_rows = if first.mode == "append" && !dice.once_in(4) {
            Vec::new()
        } else {
            rows::target_rows(&mut dice, &source_rows, &target)
        };
        let with = |dice: &mut Dice| {
            let wanted = dice.once_in(5);
            let beside = beside::beside(dice, &source, &target);
            beside.filter(|_| wanted).map(Box::new)
        };
        // What a mark is good for shows in the runs after the one that made it.
        let marks = first.compare == "changed";
        let mut acts = vec![Act::Run(first, with(&mut dice))];
        while acts.len() < 8 && (dice.once_in(2) || marks && dice.once_in(2)) {
            for _ in 0..dice.below(4) {
                let place = dice.one_of(&[Place::Source, Place::Source, Place::Target]);
                let schema = match place {
                    Place::Source => &source,
                    Place::Target => &target,
                };
                if let Some(table) = dice.pick(&schema.tables) {
                    acts.push(Act::Change(place, change(&mut dice, table)));
                }
            }
            // The same job again, or another.
            let again = match &acts[0] {
                Act::Run(job, _) if dice.once_in(2) || marks && !dice.once_in(4) => job.clone(),
                _ => job::job(&mut dice, &source, &target),
            };
            let beside = with(&mut dice);
            acts.push(Act::Run(again, beside));
        }
        Case {
            source,
            target,
            source_rows,
            target_rows,
            acts,
        }
    }

    pub fn schema(&self, place: Place) -> &Schema {
        match place {
            Place::Source => &self.source,
            Place::Target => &self.target,
        }
    }

    pub fn schema_mut(&mut self, place: Place) -> &mut Schema {
        match place {
            Place::Source => &mut self.source,
            Place::Target => &mut self.target,
        }
    }

    pub fn rows_mut(&mut self, place: Place) -> &mut Vec<Rows> {
        match place {
            Place::Source => &mut self.source_rows,
            Place::Target => &mut self.target_rows,
        }
    }

    pub fn rows(&self, place: Place) -> &[Rows] {
        match place {
            Place::Source => &self.source_rows,
            Place::Target => &self.target_rows,
        }
    }
}

/// An INSERT, UPDATE or DELETE of a few rows.
fn change(dice: &mut Dice, table: &Table) -> String {
    let name = table.sql_name();
    let condition = match job::condition(dice, table) {
        Some(condition) if !dice.once_in(5) => format!(" WHERE {condition}"),
        _ => String::new(),
    };
    let column = dice
        .pick(&table.columns)
        .filter(|column| !column.is_generated());
    match (dice.below(4), column) {
        (0, _) => format!("DELETE FROM {name}{condition}"),
        (1 | 2, Some(column)) => {
            let quoted = super::schema::quoted(&column.name);
            let value = column.ty.changed(&quoted, dice);
            format!("UPDATE {name} SET {quoted} = {value}{condition}")
        }
        _ => {
            let columns: Vec<_> = table
                .columns
                .iter()
                .filter(|column| !column.is_generated())
                .collect();
            let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
            let values: Vec<String> = columns
                .iter()
                .map(|column| column.ty.literal(dice, 30))
                .collect();
            format!(
                "INSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE VALUES ({})",
                super::schema::list(&names),
                values.join(", ")
            )
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in [Place::Source, Place::Target] {
            writeln!(f, "-- {place:?}")?;
            write!(f, "{}", self.schema(place).tables_sql())?;
            for statement in self.schema(place).guarded_sql() {
                writeln!(f, "{statement};")?;
            }
            for rows in self.rows(place) {
                for statement in rows.statements(self.schema(place)) {
                    writeln!(f, "{statement};")?;
                }
            }
        }
        for act in &self.acts {
            match act {
                Act::Change(place, sql) => writeln!(f, "-- on the {place:?}\n{sql};")?,
                Act::Run(job, beside) => {
                    if let Some(beside) = beside {
                        writeln!(f, "{}", beside.describe(self.schema(beside.place)))?;
                    }
                    writeln!(f, "-- run\n{}", job.toml())?;
                }
            }
        }
        Ok(())
    }
}
