//! Refuses tables for whose staged rows `on_error = "quarantine"` would not be exact, and names the reason.

use super::judge::Judging;
use crate::catalog::constraints::ForeignKeyLookup;
use crate::catalog::desc::ColumnDesc;
use crate::catalog::inspected::Inspected;
use crate::config::spec::{OnConflict, Scope};
use crate::error::Side;
use crate::pg::ident::Ident;
use crate::plan::refusal::Refusal;

/// For reasons that other modes do not have.
const TRUNCATE: &str = "use mode `truncate` or `append`, or `on_error = \"abort\"`";

impl Judging<'_> {
    pub(super) fn refuse(&self, tables: &[Inspected], refusals: &mut Vec<Refusal>) {
        let name = &self.target.name;
        let mut refuse = |message: String, hint: &str| {
            let message = format!("`on_error = \"quarantine\"` cannot judge its rows: {message}");
            refusals.push(Refusal::mismatch(Side::Target, name, message).hinted(hint));
        };
        self.refuse_table(&mut refuse);
        self.refuse_checks(&mut refuse);
        self.refuse_indexes(&mut refuse);
        for key in self.references() {
            self.refuse_key(key, tables, &mut refuse);
        }
    }

    /// What applies to the table as a whole.
    fn refuse_table(&self, refuse: &mut impl FnMut(String, &str)) {
        if self.inspected.spec.scope == Scope::Where {
            refuse(
                "`scope = \"where\"` keeps rows of the target".to_owned(),
                TRUNCATE,
            );
        }
        let is_kept = self.inspected.spec.on_conflict == OnConflict::Keep;
        let has_others = self.target.unique_indexes.len() > 1 || self.references().count() > 0;
        if is_kept && has_others {
            refuse(
                "with `on_conflict = \"keep\"`, rows that are not written would be judged by its unique indexes and \
                 foreign keys"
                    .to_owned(),
                "use `on_error = \"abort\"`",
            );
        }
        if !self.target.triggers.is_empty() {
            let triggers = self.target.triggers.join(", ");
            refuse(
                format!(
                    "mode `{}` fires triggers only after they are judged: {triggers}",
                    self.job.mode.as_str()
                ),
                "`triggers = \"skip\"` leaves triggers out; or use mode `truncate` or `append`",
            );
        }
        if !self.constraints.of_partitions.is_empty() {
            let own = self.constraints.of_partitions.join(", ");
            refuse(
                format!("partitions have constraints of their own: {own}"),
                TRUNCATE,
            );
        }
    }

    /// Is its value written into new rows only?
    fn is_insert_only(&self, column: &str) -> bool {
        let mut insert_only = self.inspected.spec.insert_only.iter();
        insert_only.any(|name| name.as_str() == column)
    }

    /// Is it a column whose value neither the source gives for every row nor the target computes?
    fn is_left_out(&self, column: &str) -> bool {
        if self.is_insert_only(column) {
            return true;
        }
        let mut columns = self.target.columns.iter();
        let of = columns.find(|c| c.name.as_str() == column);
        let computed = of.is_some_and(|column| column.generated.is_some());
        !computed && self.copied.iter().all(|name| name.as_str() != column)
    }

    fn refuse_checks(&self, refuse: &mut impl FnMut(String, &str)) {
        let mut columns = self.target.columns.iter();
        let may_be_null = |name: &Ident| {
            let source = self.inspected.source.as_ref();
            let read = source.and_then(|source| source.column(name));
            read.is_none_or(|column| !column.not_null)
        };
        let is_checked = |column: &&ColumnDesc| {
            column.not_null
                && self.is_insert_only(column.name.as_str())
                && may_be_null(&column.name)
        };
        if let Some(column) = columns.find(is_checked) {
            refuse(
                format!(
                    "column {} is NOT NULL, and not copied into every row",
                    column.name
                ),
                TRUNCATE,
            );
        }
        for check in &self.constraints.checks {
            if let Some(column) = check.columns.iter().find(|column| self.is_left_out(column)) {
                let check = &check.name;
                refuse(
                    format!(
                        "CHECK constraint {check} reads column {column}, which is not copied into every row"
                    ),
                    TRUNCATE,
                );
            }
        }
    }

    fn refuse_indexes(&self, refuse: &mut impl FnMut(String, &str)) {
        for index in &self.target.unique_indexes {
            let mut columns = index.columns.iter();
            if let Some(column) = columns.find(|column| self.is_left_out(column.name.as_str())) {
                refuse(
                    format!(
                        "{} is over column {}, which is not copied into every row",
                        index.name, column.name
                    ),
                    TRUNCATE,
                );
            } else if self.keeps_others() && !index.is_plain {
                refuse(
                    format!(
                        "{} is partial, over an expression, or an exclusion constraint, and {} keeps rows of the \
                         target that it may conflict with",
                        index.name,
                        match self.inspected.spec.on_missing {
                            None => "the job",
                            Some(_) => "`on_missing`",
                        }
                    ),
                    "use another mode, or `on_error = \"abort\"`",
                );
            }
        }
    }

    fn refuse_key(
        &self,
        key: &ForeignKeyLookup,
        tables: &[Inspected],
        refuse: &mut impl FnMut(String, &str),
    ) {
        let (name, to) = (&key.name, key.to());
        if !key.readable {
            let message =
                format!("the role lacks SELECT on {to}, which foreign key {name} refers to");
            let hint = format!("GRANT SELECT ON {to} TO the role of the target");
            refuse(message, &hint);
        }
        if key.columns.iter().any(|column| !column.equal) {
            let message =
                format!("foreign key {name} compares by another operator or collation than `=`");
            refuse(message, TRUNCATE);
        }
        let is_part = |table: &&Inspected| {
            let Some(target) = &table.target else {
                return false;
            };
            let above = target.ancestors.contains(&to);
            let below = target.referenced_by.iter().any(|by| by.to == to);
            target.name != to && (above || below)
        };
        if let Some(table) = tables.iter().find(is_part) {
            let message = format!(
                "foreign key {name} refers to {to}, which is a part of {} or has it as a part",
                table.spec.target
            );
            refuse(message, TRUNCATE);
        }
        let mut columns = key.columns.iter();
        if let Some(column) = columns.find(|column| self.is_insert_only(&column.from)) {
            let column = &column.from;
            let message = format!(
                "foreign key {name} is over column {column}, which is not copied into every row"
            );
            refuse(message, TRUNCATE);
        }
        let in_job = self.stages.get(&to);
        let missing = in_job.and_then(|stage| {
            let copied = |name: &str| stage.columns.iter().any(|c| c.as_str() == name);
            key.columns.iter().find(|column| !copied(&column.to))
        });
        if let Some(column) = missing {
            let message = format!(
                "foreign key {name} refers to column {} of {to}, which is not copied",
                column.to
            );
            refuse(message, TRUNCATE);
        }
    }
}
