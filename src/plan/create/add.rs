//! `new_columns = "add"`: columns that the source has and the target lacks.

use super::{Maker, model};
use crate::catalog::creation::{AddedColumn, Creation, Name, Object};
use crate::catalog::desc::{ColumnDesc, RelationKind};
use crate::catalog::inspected::Inspected;
use crate::config::spec::{JobSpec, Mode, NewColumns};
use crate::error::Side;
use crate::plan::columns::is_used;
use crate::plan::refusal::Refusal;

/// The columns that the job adds to a target that exists.
pub fn new_columns<'a>(job: &JobSpec, entry: &'a Inspected) -> Vec<&'a ColumnDesc> {
    let spec = &entry.spec;
    let (Some(source), Some(target)) = (&entry.source, &entry.target) else {
        return Vec::new();
    };
    let is_wanted = job.new_columns == NewColumns::Add
        && spec.columns.is_none()
        && source.kind != RelationKind::File
        && matches!(target.kind, RelationKind::Table | RelationKind::Partitioned);
    // A query may read a column for its watermark only.
    let is_new = |column: &&ColumnDesc| {
        target.column(&column.name).is_none()
            && !spec.is_own(&column.name)
            && !(source.kind == RelationKind::Query && is_used(spec, &column.name))
    };
    let columns = source.columns.iter().filter(|_| is_wanted);
    columns.filter(is_new).collect()
}

impl Maker<'_, '_> {
    /// Adds columns to the target, or to the table that replaces it. The types that it lacks are made first.
    pub(super) fn add(&mut self, job: &JobSpec, columns: &[&ColumnDesc]) -> Option<Creation> {
        let target = self.entry.target.as_ref()?;
        let made = model(self.entry).and_then(|source| {
            self.material
                .made
                .iter()
                .find(|made| made.qualified() == *source)
        });
        let mut added = Vec::new();
        for column in columns {
            let name = Name::of(&column.ty.name);
            self.ty(column.name.as_str(), &name);
            let mut sql = format!("{} {}", column.name.sql(), column.type_text);
            let made =
                made.and_then(|made| made.columns.iter().find(|c| c.name == column.name.as_str()));
            if let Some(made) = made
                && let Some(collation) = &made.collation
            {
                self.collation(made, collation);
                sql.push_str(&format!(" COLLATE {}", collation.qualified().sql()));
            }
            added.push(AddedColumn {
                name: column.name.clone(),
                definition: sql,
            });
        }
        let add: Vec<String> = added
            .iter()
            .map(|column| format!("ADD COLUMN {}", column.definition))
            .collect();
        let sql = format!("ALTER TABLE {} {}", target.name.sql(), add.join(", "));
        if !target.privileges.owner {
            let message = "only its owner may add the columns that the source has";
            let refusal = Refusal::permission(Side::Target, &target.name, message);
            self.refusals
                .push(refusal.hinted(format!("have the owner run {sql}")));
        }
        if let Some(parent) = target.ancestors.last() {
            self.refuse(
                "it is a partition, which gets columns from the table above it",
                format!("ALTER TABLE {} {}", parent.sql(), add.join(", ")),
            );
        }
        if job.mode != Mode::Swap {
            self.objects.push(Object {
                what: format!("columns of {}", target.name),
                before: vec![sql],
                is_outside: true,
                ..Object::default()
            });
        }
        let names: Vec<String> = columns
            .iter()
            .map(|column| column.name.to_string())
            .collect();
        let names = names.join(", ");
        Some(Creation {
            objects: std::mem::take(&mut self.objects),
            added,
            note: match job.mode {
                Mode::Swap => format!("only the source has {names}: added to the target"),
                _ => format!(
                    "only the source has {names}: added to the target, which is locked against readers, too, until COMMIT"
                ),
            },
            ..Creation::default()
        })
    }
}
