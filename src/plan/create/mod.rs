//! `create = "missing"`: the statements that make a target table which is not there, from what the source's table is
//! made of; or every reason why the target cannot have it.
//!
//! The statements are steps of the plan: the run executes them in the transaction that publishes the rows. Before that,
//! `run/creation.rs` executes them once in a transaction that it rolls back, and there describes the tables as it
//! describes any other target. So nothing here derives what the server makes of a statement, and what the server
//! refuses is known before a row moves.

mod add;
mod columns;
mod keys;
mod names;
mod table;
#[cfg(test)]
mod tests;
mod types;

use std::collections::BTreeMap;

use crate::catalog::creation::{Asked, Creation, MadeTable, MadeType, Name, Object, Present};
use crate::catalog::desc::RelationKind;
use crate::catalog::inspected::Inspected;
use crate::config::spec::{Create, JobSpec, TableInput};
use crate::pg::ident::{Ident, QualifiedName, quote_literal};
use crate::plan::refusal::Refusal;

pub use add::new_columns;

/// What is known of the tables to make.
pub struct Material<'a> {
    /// All tables of the job.
    pub tables: &'a [Inspected],
    /// What the source's tables are made of, with their partitions.
    pub made: &'a [MadeTable],
    /// The types of their columns.
    pub types: &'a [MadeType],
    /// What the target has.
    pub present: &'a Present,
    /// The target's `server_version_num`.
    pub version: u32,
}

/// Is this a table to make?
pub fn is_missing(job: &JobSpec, entry: &Inspected) -> bool {
    let is_file = matches!(entry.spec.input, TableInput::File(_));
    let is_wanted = job.create == Create::Missing && !is_file;
    is_wanted && entry.target.is_none() && entry.source.is_some()
}

/// The table of the source that it is made like; None if it is made from the columns of a result.
pub fn model(entry: &Inspected) -> Option<&QualifiedName> {
    let source = entry.source.as_ref()?;
    let is_table = matches!(source.kind, RelationKind::Table | RelationKind::Partitioned);
    is_table.then_some(&source.name)
}

/// The names that the target is asked for.
pub fn asked<'a>(
    tables: &'a [Inspected],
    made: &'a [MadeTable],
    types: &'a [MadeType],
    names: &'a [Name],
) -> Asked<'a> {
    let mut asked = Asked {
        types: names.iter().collect(),
        ..Asked::default()
    };
    for entry in tables {
        asked.schemas.push(entry.spec.target.schema.as_str());
    }
    for table in made {
        asked.schemas.push(&table.schema);
        asked.access_methods.extend(table.access_method.as_deref());
        let of_indexes = table.indexes.iter().filter_map(|i| i.tablespace.as_deref());
        asked
            .tablespaces
            .extend(of_indexes.chain(table.tablespace.as_deref()));
        for column in &table.columns {
            asked.collations.extend(&column.collation);
            let sequences = column.sequences.iter();
            asked
                .schemas
                .extend(sequences.map(|sequence| sequence.schema.as_str()));
        }
    }
    asked
        .schemas
        .extend(types.iter().map(|ty| ty.schema.as_str()));
    asked
}

/// Plans what to make, for each table that is missing or gets columns, by its target.
///
/// *Errors:* every reason why the target cannot have it.
pub fn plan(
    job: &JobSpec,
    material: &Material<'_>,
) -> Result<BTreeMap<QualifiedName, Creation>, Vec<Refusal>> {
    let mut refusals = Vec::new();
    let mut planned = BTreeMap::new();
    for entry in material.tables {
        let mut maker = Maker {
            material,
            entry,
            objects: Vec::new(),
            left_out: Vec::new(),
            refusals: &mut refusals,
        };
        let added = new_columns(job, entry);
        let creation = match () {
            () if is_missing(job, entry) => Some(maker.missing(job)),
            () if !added.is_empty() => maker.add(job, &added),
            () => None,
        };
        planned.extend(creation.map(|creation| (entry.spec.target.clone(), creation)));
    }
    match refusals.is_empty() {
        true => Ok(planned),
        false => Err(refusals),
    }
}

fn note(left_out: &[String]) -> String {
    let made = "the target does not have it: it is created, and the role of the target owns it";
    match left_out {
        [] => made.to_owned(),
        some => format!("{made}; left out: {}", some.join(", ")),
    }
}

/// Collects what one table of the job needs.
struct Maker<'a, 'r> {
    material: &'a Material<'a>,
    entry: &'a Inspected,
    objects: Vec<Object>,
    left_out: Vec<String>,
    refusals: &'r mut Vec<Refusal>,
}

impl Maker<'_, '_> {
    /// Makes a table that is missing.
    fn missing(&mut self, job: &JobSpec) -> Creation {
        self.table();
        let outer_keys = self.keys();
        Creation {
            objects: std::mem::take(&mut self.objects),
            is_new: true,
            is_staged: self.entry.spec.synced_at.is_some() || !job.sql.before_load.is_empty(),
            outer_keys,
            note: note(&self.left_out),
            added: Vec::new(),
        }
    }

    fn has(&self, what: &str) -> bool {
        self.objects.iter().any(|object| object.what == what)
    }

    fn refuse(&mut self, message: impl ToString, hint: impl ToString) {
        let target = &self.entry.spec.target;
        let refusal = Refusal::mismatch(crate::error::Side::Target, target, message);
        self.refusals.push(refusal.hinted(hint));
    }

    /// Makes the schema if the target lacks it.
    fn schema(&mut self, schema: &str) {
        let what = format!("schema {}", Ident::new(schema));
        if !self.material.present.schemas.iter().any(|s| s == schema) && !self.has(&what) {
            self.objects.push(Object {
                what,
                before: vec![format!("CREATE SCHEMA {}", quoted(schema))],
                ..Object::default()
            });
        }
    }

    /// Is the target older than this version, so that it lacks what came with it?
    fn refuse_before(&mut self, version: u32, what: &str) {
        if self.material.version >= version {
            return;
        }
        let major = self.material.version / 10_000;
        self.refuse(
            format!("{what}, which PostgreSQL {major} of the target does not have"),
            "create the table on the target in another form",
        );
    }
}

fn quoted(name: &str) -> String {
    Ident::new(name).sql()
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    quoted.join(", ")
}

/// `COMMENT ON what IS 'text'`; None without a comment.
fn comment(what: &str, text: Option<&String>) -> Option<String> {
    let text = text?;
    Some(format!(
        "COMMENT ON {what} IS {}",
        quote_literal(text).trim_start()
    ))
}

/// `fillfactor=70` as `"fillfactor"='70'`.
fn options<'a>(list: &'a [String], prefix: &'a str) -> impl Iterator<Item = String> + 'a {
    list.iter().map(move |text| match text.split_once('=') {
        Some((name, value)) => {
            format!(
                "{prefix}{}={}",
                quoted(name),
                quote_literal(value).trim_start()
            )
        }
        None => format!("{prefix}{}", quoted(text)),
    })
}
