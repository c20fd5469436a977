//! Foreign keys among the tables of a job.

use super::names::Names;
use super::{Maker, comment, model, quoted};
use crate::catalog::creation::{MadeKey, MadeTable, Object};
use crate::catalog::desc::{ForeignKey, RelationDesc};
use crate::catalog::inspected::Inspected;
use crate::config::spec::TableInput;
use crate::pg::ident::{Ident, QualifiedName};

/// The table that a foreign key points to.
struct Referenced<'a> {
    name: QualifiedName,
    /// The target of the job whose rows it has.
    of: &'a QualifiedName,
    /// It exists.
    desc: Option<&'a RelationDesc>,
}

impl<'a> Maker<'a, '_> {
    /// Makes the foreign keys of the entry's tables. Returns those that point to tables which exist.
    pub(super) fn keys(&mut self) -> Vec<ForeignKey> {
        let Some(source) = model(self.entry) else {
            return Vec::new();
        };
        let names = Names {
            source,
            target: &self.entry.spec.target,
        };
        let mut outer = Vec::new();
        for table in self.tree() {
            for key in &table.foreign_keys {
                outer.extend(self.key(table, key, names));
            }
        }
        outer
    }

    fn key(&mut self, table: &MadeTable, key: &MadeKey, names: Names<'_>) -> Option<ForeignKey> {
        let shown = Ident::new(&key.name);
        let from = names.of(&table.schema, &table.name);
        let left_out = |why: &str| format!("foreign key {shown}{why}");
        let Some(to) = self.referenced(key) else {
            let to = key.references.qualified();
            self.left_out
                .push(left_out(&format!(" to {to}, which the job does not copy")));
            return None;
        };
        if !self.uses_only_kept(&key.columns) {
            self.left_out
                .push(left_out(", whose columns are not copied as they are"));
            return None;
        }
        if to.desc.is_some_and(|desc| !is_unique(desc, key)) {
            self.left_out.push(left_out(&format!(
                ": {} has no unique index of its columns",
                to.name
            )));
            return None;
        }
        let Some(tail) = &key.tail else {
            let message = format!("the definition of foreign key {shown} cannot be read");
            self.refuse(message, "create the table on the target, and report this");
            return None;
        };
        self.features(
            &format!("foreign key {shown}"),
            &format!("{}{tail}", key.head),
        );
        let (table, constraint) = (from.sql(), quoted(&key.name));
        let mut after = vec![format!(
            "ALTER TABLE {table} ADD CONSTRAINT {constraint} {}{}{tail}",
            key.head,
            to.name.sql()
        )];
        let on = format!("CONSTRAINT {constraint} ON {table}");
        after.extend(comment(&on, key.comment.as_ref()));
        self.objects.push(Object {
            what: format!("foreign key {shown} of {from}"),
            after,
            joins: vec![self.entry.spec.target.clone(), to.of.clone()],
            is_outside: to.desc.is_some(),
            ..Object::default()
        });
        to.desc.map(|desc| ForeignKey {
            name: key.name.clone(),
            from: self.entry.spec.target.clone(),
            to: desc.name.clone(),
            from_ancestors: Vec::new(),
            deferrable: key.deferrable,
        })
    }

    /// The table of the job, or the partition of one, that the key points to.
    fn referenced(&self, key: &MadeKey) -> Option<Referenced<'a>> {
        let to = key.references.qualified();
        let own_schema = &self.entry.spec.target.schema;
        let reads = |entry: &&Inspected| entry.spec.input == TableInput::Relation(to.clone());
        let entries = self.material.tables.iter().filter(reads);
        // A table may be copied twice.
        let entry = entries.min_by_key(|entry| entry.spec.target.schema != *own_schema);
        if let Some(entry) = entry {
            return Some(Referenced {
                name: entry.spec.target.clone(),
                of: &entry.spec.target,
                desc: entry.target.as_ref(),
            });
        }
        let is_it = |made: &&MadeTable| {
            made.schema == key.references.schema && made.name == key.references.name
        };
        let made = self.material.made.iter().find(is_it)?;
        let root = made.root.qualified();
        let mut entries = self
            .material
            .tables
            .iter()
            .filter(|entry| entry.target.is_none());
        let entry = entries.find(|entry| model(entry) == Some(&root))?;
        let names = Names {
            source: &root,
            target: &entry.spec.target,
        };
        Some(Referenced {
            name: names.of(&made.schema, &made.name),
            of: &entry.spec.target,
            desc: None,
        })
    }
}

/// May the key point to this table?
fn is_unique(desc: &RelationDesc, key: &MadeKey) -> bool {
    desc.unique_indexes.iter().any(|index| {
        let mut columns = index.columns.iter().map(|column| column.name.as_str());
        index.is_plain
            && index.columns.len() == key.referenced_columns.len()
            && columns.all(|column| key.referenced_columns.iter().any(|c| c == column))
    })
}
