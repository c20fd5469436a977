//! What the documentation promises of a run, and whether it holds. Pure: readings in, a violation out.

use std::collections::BTreeSet;
use std::fmt;

use super::job::Job;
use super::reader::{Reading, Row, Task};
use super::schema::{Filled, Foreign, Schema, Table};

/// Something that must not be.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What kind of thing: shrinking keeps to it.
    pub class: &'static str,
    pub what: String,
}

/// The class of errors that no promise of the documentation allows. The first line says which.
pub const ODD: &str = "an error that should not be";

impl Violation {
    /// Is it the same kind of thing?
    pub fn is_like(&self, other: &Violation) -> bool {
        let which = |violation: &Violation| violation.what.lines().next().map(str::to_owned);
        self.class == other.class && (self.class != ODD || which(self) == which(other))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.class, self.what)
    }
}

/// All that is known of a run.
pub struct Run<'a> {
    pub job: &'a Job,
    pub source: &'a Schema,
    pub target: &'a Schema,
    pub tasks: &'a [Option<Task<'a>>],
    /// Targets that are published, as the report says.
    pub published: BTreeSet<String>,
    pub given: &'a Reading,
    pub before: &'a Reading,
    /// The target's rows that a merge within a condition may not delete.
    pub outside: &'a Reading,
    /// Those of partitions that are not replaced.
    pub kept: &'a Reading,
    pub after: &'a Reading,
}

/// A cell of a wanted row; None is whatever is there.
type Wanted = Vec<Option<Option<String>>>;

impl Run<'_> {
    pub fn judge(&self) -> Result<(), Violation> {
        let may_differ = self.touched();
        for (name, before) in self.before {
            let Some(table) = self.target.table(name) else {
                continue;
            };
            // What a partitioned table holds is looked at where it is wanted, or in its partitions.
            let above_or_below = |other: &String| {
                self.target.ancestors(name).contains(other)
                    || self.target.ancestors(other).contains(name)
            };
            if table.is_leaf()
                && !self.published.iter().any(above_or_below)
                && !may_differ.contains(name)
                && before != &self.after[name]
            {
                return Err(Violation {
                    class: "a table changed that was not to be written",
                    what: differences(name, before, &self.after[name]),
                });
            }
        }
        if self.is_meddled_with() {
            return Ok(());
        }
        for task in self.tasks.iter().flatten() {
            if self.published.contains(&task.target.name) {
                self.judge_children(task)?;
                self.judge_table(task)?;
            }
        }
        Ok(())
    }

    /// Do triggers make other rows of what is loaded, and nothing was said against it?
    fn is_meddled_with(&self) -> bool {
        match self.job.mode {
            "append" => self.meddles(),
            "truncate" | "swap" => self.meddles() && self.job.verify != "checksum",
            // These compare again, and say so in docs/modes.md.
            _ => self.meddles() && self.job.verify == "none",
        }
    }

    fn meddles(&self) -> bool {
        self.target
            .extras
            .iter()
            .any(|extra| match self.job.triggers {
                "fire" => extra.meddles,
                _ => extra.meddles_in_replica,
            })
    }

    /// Tables that foreign keys' actions and triggers may change as their owners declared it.
    fn touched(&self) -> BTreeSet<String> {
        let mut touched: BTreeSet<String> = BTreeSet::new();
        for name in &self.published {
            touched.extend(self.target.tree(name));
            touched.extend(self.target.ancestors(name));
        }
        let job = touched.clone();
        loop {
            let before = touched.len();
            for table in &self.target.tables {
                let acts = |foreign: &Foreign| foreign.acts() && touched.contains(&foreign.table);
                if table.foreign.iter().any(acts) {
                    touched.extend(self.target.tree(&table.name));
                    touched.extend(self.target.ancestors(&table.name));
                }
            }
            for extra in &self.target.extras {
                if let Some(other) = &extra.writes
                    && touched.contains(&extra.table)
                {
                    touched.extend(self.target.tree(other));
                    touched.extend(self.target.ancestors(other));
                }
            }
            if touched.len() == before {
                break;
            }
        }
        touched.retain(|name| !job.contains(name));
        touched
    }

    /// Whoever reads a parent reads its children, too.
    fn judge_children(&self, task: &Task<'_>) -> Result<(), Violation> {
        let tasks = || self.tasks.iter().flatten();
        let inherits = |schema: &Schema, name: &str| -> Vec<String> {
            let below = |t: &&Table| !t.is_partition();
            schema
                .children(name)
                .filter(below)
                .map(|t| t.name.clone())
                .collect()
        };
        let read = |name: &String| tasks().any(|other| other.entry.source == *name);
        let of_source = inherits(self.source, &task.entry.source);
        let of_target = inherits(self.target, &task.target.name);
        let written = |name: &String| {
            self.after[name].is_empty() || tasks().any(|other| other.target.name == *name)
        };
        let lost = of_source
            .iter()
            .find(|name| !task.entry.children && !read(name));
        let shown = of_target
            .iter()
            .find(|name| !written(name) && !self.loses_others(task));
        match lost.or(shown) {
            Some(child) => Err(Violation {
                class: "rows of an inheritance child were not looked at",
                what: child.clone(),
            }),
            None => Ok(()),
        }
    }

    fn judge_table(&self, task: &Task<'_>) -> Result<(), Violation> {
        let name = &task.target.name;
        let after = &self.after[name];
        let wanted = self.wanted(task);
        let (missing, extra) = unmatched(wanted, after);
        if missing.is_empty() && (extra.is_empty() || self.loses_others(task)) {
            return Ok(());
        }
        let columns: Vec<&str> = task.columns.iter().map(|(name, _)| *name).collect();
        let mut what = format!("{name}, columns {columns:?}, key {:?}:", task.key);
        for row in missing.iter().take(5) {
            let row: Vec<String> = row.iter().map(shown).collect();
            what.push_str(&format!("\n  missing: {}", row.join(" | ")));
        }
        for row in extra.iter().take(5) {
            what.push_str(&format!("\n  extra:   {row:?}"));
        }
        Err(Violation {
            class: "committed, and not what is promised",
            what,
        })
    }

    /// May triggers and actions of foreign keys, as they are declared, change rows that the source
    /// has no say in: those that an upsert, or a merge within a condition, leaves alone?
    fn loses_others(&self, task: &Task<'_>) -> bool {
        let others = self.keys_of_line(task).any(Foreign::acts) || self.meddles();
        match self.job.mode {
            "upsert" => others,
            "merge" => task.entry.within && others,
            _ => false,
        }
    }

    /// The foreign keys of the table, of its partitions, and of the tables above it.
    fn keys_of_line(&self, task: &Task<'_>) -> impl Iterator<Item = &Foreign> {
        let name = &task.target.name;
        let line: BTreeSet<String> = self
            .target
            .tree(name)
            .into_iter()
            .chain(self.target.ancestors(name))
            .collect();
        let tables = self.target.tables.iter();
        let of_line = tables.filter(move |table| line.contains(&table.name));
        of_line.flat_map(|table| &table.foreign)
    }

    /// The rows that must be there.
    fn wanted(&self, task: &Task<'_>) -> Vec<Wanted> {
        let name = &task.target.name;
        let before = &self.before[name];
        let given = &self.given[name];
        let columns = &task.target.columns;
        let copied: Vec<usize> = task
            .columns
            .iter()
            .map(|(name, _)| columns.iter().position(|c| c.name == *name).unwrap())
            .collect();
        let key_at: Vec<usize> = task
            .key
            .iter()
            .map(|name| columns.iter().position(|c| c.name == *name).unwrap())
            .collect();
        let key = |row: &Row| -> Option<Vec<String>> {
            let text = |at: &usize| Some(columns[*at].ty.key_text(row[*at].as_ref()?));
            key_at.iter().map(text).collect()
        };
        // The source's rows in the target's columns.
        let sent: Vec<Row> = given
            .iter()
            .map(|row| {
                let mut full: Row = vec![None; columns.len()];
                for (at, value) in copied.iter().zip(row) {
                    full[*at].clone_from(value);
                }
                full
            })
            .collect();
        let by_key = matches!(self.job.mode, "merge" | "upsert");
        let sent_keys: BTreeSet<Option<Vec<String>>> = if by_key {
            sent.iter().map(&key).collect()
        } else {
            BTreeSet::new()
        };
        let kept: &[Row] = match self.job.mode {
            "append" | "upsert" => before,
            "merge" if task.entry.within => &self.outside[name],
            _ if self.job.replaces_partitions_of(task.target) => &self.kept[name],
            _ => &[],
        };
        let mut wanted: Vec<Wanted> = kept
            .iter()
            .filter(|row| !by_key || !sent_keys.contains(&key(row)))
            .map(|row| row.iter().cloned().map(Some).collect())
            .collect();
        if self.loses_others(task) {
            wanted.clear();
        }
        let acts_on = |column: &str| {
            let mut keys = self.keys_of_line(task).filter(|key| key.acts());
            keys.any(|key| key.columns.iter().any(|name| name == column)) || self.meddles()
        };
        for row in sent {
            let old = before
                .iter()
                .find(|old| by_key && !key_at.is_empty() && key(old) == key(&row));
            let cell = |at: usize| {
                let column = &columns[at];
                let fixed = self.job.mode == "upsert"
                    && column.filled == Filled::IdentityAlways
                    && !key_at.contains(&at);
                if copied.contains(&at) && !(fixed && old.is_some()) {
                    return Some(row[at].clone());
                }
                match old.filter(|_| !acts_on(&column.name)) {
                    Some(old) if !column.is_generated() && !copied.contains(&at) => {
                        Some(old[at].clone())
                    }
                    _ => None,
                }
            };
            wanted.push((0..columns.len()).map(cell).collect());
        }
        wanted
    }
}

fn shown(cell: &Option<Option<String>>) -> String {
    match cell {
        None => "*".to_owned(),
        Some(value) => format!("{value:?}"),
    }
}

/// Wanted rows that are not there, and rows that nobody wanted.
fn unmatched(mut wanted: Vec<Wanted>, rows: &[Row]) -> (Vec<Wanted>, Vec<Row>) {
    let mut left: Vec<&Row> = rows.iter().collect();
    // Those that leave nothing open choose first.
    wanted.sort_by_key(|row| row.iter().filter(|cell| cell.is_none()).count());
    wanted.retain(|row| {
        let fits = |there: &&Row| {
            row.iter()
                .zip(there.iter())
                .all(|(cell, value)| cell.as_ref().is_none_or(|c| c == value))
        };
        match left.iter().position(fits) {
            Some(at) => {
                left.swap_remove(at);
                false
            }
            None => true,
        }
    });
    (wanted, left.into_iter().cloned().collect())
}

/// Rows that only one of the two has.
pub fn differences(name: &str, before: &[Row], after: &[Row]) -> String {
    let exactly = |rows: &[Row]| {
        rows.iter()
            .map(|row| row.iter().cloned().map(Some).collect())
            .collect()
    };
    let (gone, _) = unmatched(exactly(before), after);
    let (new, _) = unmatched(exactly(after), before);
    let mut text = format!(
        "{name}: {} rows before, {} after",
        before.len(),
        after.len()
    );
    for (word, rows) in [("gone", gone), ("new", new)] {
        for row in rows.iter().take(5) {
            let row: Vec<String> = row.iter().map(shown).collect();
            text.push_str(&format!("\n  {word}: {}", row.join(" | ")));
        }
    }
    text
}
