//! What somebody else writes while a run goes on.

use std::collections::BTreeMap;
use std::time::Duration;

use super::case::{Case, Place};
use super::job::Job;
use super::reader::{self, Reading, Row, Task};
use super::replaced;
use super::schema::{Filled, Schema, Table, list, quoted};
use crate::support::dice::Dice;
use crate::support::{Connection, Databases};

/// Deleted rows of which each is tried with and without it.
const DELETED_MAX: usize = 6;

/// One transaction of one other session: rows go, then a row comes.
#[derive(Clone, Debug)]
pub struct Beside {
    pub place: Place,
    pub table: String,
    pub delete: Option<String>,
    pub insert: Option<Vec<(String, String)>>,
    pub delay: Duration,
    /// Between the last statement and COMMIT.
    pub hold: Duration,
}

/// What became of it.
#[derive(Debug, Default)]
pub struct Done {
    pub committed: bool,
    pub deleted: Vec<Row>,
    pub inserted: Vec<Row>,
}

/// What a run may have met: it came before the other transaction, or after it.
pub struct Version {
    pub given: Reading,
    pub before: Reading,
    pub outside: Reading,
    pub kept: Reading,
}

/// A transaction whose effect can be told from the run's. None where foreign keys' actions and
/// triggers would have a part in it.
pub fn beside(dice: &mut Dice, source: &Schema, target: &Schema) -> Option<Beside> {
    let place = dice.one_of(&[Place::Source, Place::Target]);
    let schema = match place {
        Place::Source => source,
        Place::Target => target,
    };
    let acts = |table: &Table| table.foreign.iter().any(super::schema::Foreign::acts);
    let hidden = schema.tables.iter().any(acts)
        || schema
            .extras
            .iter()
            .any(|e| e.meddles || e.meddles_in_replica || e.feature == "rule");
    if hidden && place == Place::Target {
        return None;
    }
    let table = dice.pick(&schema.tables)?;
    let delete = if dice.once_in(3) {
        None
    } else {
        super::job::condition(dice, table)
    };
    let insert = delete.is_none() || dice.once_in(2);
    let insert = insert.then(|| {
        let written = table.columns.iter().filter(|column| !column.is_generated());
        written
            .map(|column| (column.name.clone(), column.ty.literal(dice, 12)))
            .collect()
    });
    Some(Beside {
        place,
        table: table.name.clone(),
        delete,
        insert,
        delay: Duration::from_millis(dice.below(120)),
        hold: Duration::from_millis(dice.below(3) * 25),
    })
}

impl Beside {
    /// The statements, which give the rows that went, or came.
    fn statements(&self, schema: &Schema) -> Vec<(bool, String)> {
        let Some(table) = schema.table(&self.table) else {
            return Vec::new();
        };
        let columns: Vec<String> = table
            .columns
            .iter()
            .map(|column| format!("{}::text", quoted(&column.name)))
            .collect();
        let returning = format!("RETURNING json_build_array({})::text", columns.join(", "));
        let name = table.sql_name();
        let mut statements = Vec::new();
        if let Some(condition) = &self.delete {
            let rows = table.own_rows();
            statements.push((
                false,
                format!("DELETE FROM {rows} WHERE {condition} {returning}"),
            ));
        }
        if let Some(row) = &self.insert {
            let is_there = |name: &String| {
                let column = table.column(name);
                column.is_some_and(|c| !matches!(c.filled, Filled::Generated(_)))
            };
            let row: Vec<_> = row.iter().filter(|(name, _)| is_there(name)).collect();
            let names: Vec<&str> = row.iter().map(|(name, _)| name.as_str()).collect();
            let values: Vec<&str> = row.iter().map(|(_, value)| value.as_str()).collect();
            statements.push((
                true,
                format!(
                    "INSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) {returning}",
                    list(&names),
                    values.join(", ")
                ),
            ));
        }
        statements
    }

    /// What the run would meet after it: plays it and takes it back.
    pub fn ahead(
        &self,
        db: &Databases<'_>,
        case: &Case,
        job: &Job,
        tasks: &[Option<Task<'_>>],
    ) -> Option<Version> {
        let side: &Connection = match self.place {
            Place::Source => &db.source,
            Place::Target => &db.target,
        };
        side.sql("BEGIN");
        let fine = self
            .statements(case.schema(self.place))
            .iter()
            .all(|(_, sql)| side.try_rows(sql).is_ok());
        let version = if fine {
            version(db, case, job, tasks)
        } else {
            None
        };
        side.sql("ROLLBACK");
        version
    }

    /// Plays it, in a session of its own.
    pub fn play(&self, db: &Databases<'_>, case: &Case) -> Done {
        let session = match self.place {
            Place::Source => db.source.connect(),
            Place::Target => db.target.connect(),
        };
        std::thread::sleep(self.delay);
        let mut done = Done::default();
        session.sql("SET lock_timeout = '5s'; BEGIN");
        for (comes, sql) in self.statements(case.schema(self.place)) {
            let Ok(rows) = session.try_rows(&sql) else {
                return done;
            };
            let rows = rows.iter().filter_map(|row| reader::row(row[0].as_ref()?));
            let list = if comes {
                &mut done.inserted
            } else {
                &mut done.deleted
            };
            list.extend(rows);
        }
        std::thread::sleep(self.hold);
        done.committed = session.try_sql("COMMIT").is_ok();
        done
    }

    /// The target as it would be without the transaction, if that came after the run. A row that it deleted may
    /// be one that the run was about to delete: then the run found it gone, and it isn't put back.
    pub fn without(&self, done: &Done, after: &Reading) -> Vec<Reading> {
        let mut less: BTreeMap<_, _> = after.clone();
        let Some(rows) = less.get_mut(&self.table) else {
            return vec![less];
        };
        for row in &done.inserted {
            if let Some(at) = rows.iter().position(|other| other == row) {
                rows.remove(at);
            }
        }
        let deleted = &done.deleted;
        let all = 1usize << deleted.len().min(DELETED_MAX);
        let some = (0..all).rev().map(|subset| {
            let mut reading = less.clone();
            let back = deleted.iter().enumerate();
            let back = back.filter(|(at, _)| *at >= DELETED_MAX || subset & (1 << at) != 0);
            if let Some(rows) = reading.get_mut(&self.table) {
                rows.extend(back.map(|(_, row)| row.clone()));
                rows.sort();
            }
            reading
        });
        some.collect()
    }

    pub fn describe(&self, schema: &Schema) -> String {
        let statements: Vec<String> = self
            .statements(schema)
            .into_iter()
            .map(|(_, sql)| sql)
            .collect();
        format!(
            "-- while it runs, after {:?}, on the {:?}: {}; {:?} later COMMIT",
            self.delay,
            self.place,
            statements.join("; "),
            self.hold
        )
    }
}

/// What a run that begins now would meet.
pub fn version(
    db: &Databases<'_>,
    case: &Case,
    job: &Job,
    tasks: &[Option<Task<'_>>],
) -> Option<Version> {
    let given = reader::given(&db.source, &case.source, tasks)?;
    Some(Version {
        kept: replaced::kept(&db.target, job, tasks, &given)?,
        given,
        before: reader::all(&db.target, &case.target)?,
        outside: reader::outside(&db.target, tasks)?,
    })
}
