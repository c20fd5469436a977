//! Columns that the run itself fills: the mark of rows that the source lacks (`on_missing`), and the time at which a
//! row was written (`synced_at`).

use super::parts::{Parts, assignments};
use crate::pg::ident::Ident;
use crate::plan::sql;

/// The time of the transaction that publishes.
const NOW: &str = "pg_catalog.now()";

/// A row that the source has is not marked.
const UNMARKED: &str = "NULL::pg_catalog.timestamptz";

impl Parts<'_> {
    /// The condition on the target's rows that the run may replace: not marked, and of the source that is read. `of`
    /// is the target, with a dot.
    pub fn of_run(&self, of: &str) -> Option<String> {
        let mark = self.spec.on_missing.as_ref();
        let unmarked = mark.map(|mark| format!("{of}{} IS NULL", mark.sql()));
        sql::and(self.spec.of_source(of).as_deref(), unmarked.as_deref())
    }

    /// The same before other conditions.
    pub fn of_run_and(&self, of: &str) -> String {
        let condition = self.of_run(of);
        condition.map_or(String::new(), |condition| format!("({condition}) AND "))
    }

    /// `, "deleted_at", "synced_at"`: after the columns of an INSERT.
    pub fn own_names(&self) -> String {
        let names = self.spec.own_columns();
        names.map(|(_, name)| format!(", {}", name.sql())).collect()
    }

    /// Their values of a row that the source has.
    pub fn own_values(&self) -> String {
        let values = self.with_values(UNMARKED);
        values.map(|(_, value)| format!(", {value}")).collect()
    }

    /// `SET …` of an UPDATE with the values of a row that the source has.
    pub fn set_as(&self, from: &str) -> String {
        let settable = self.settable();
        let copied = assignments(&settable, from);
        let own = self.with_values(UNMARKED);
        let own = own.map(|(name, value)| format!("{} = {value}", name.sql()));
        let all = (!copied.is_empty()).then_some(copied).into_iter();
        all.chain(own).collect::<Vec<_>>().join(", ")
    }

    /// `SET …` of an UPDATE that marks a row; None if such rows are deleted.
    pub fn set_marked(&self) -> Option<String> {
        self.spec.on_missing.as_ref()?;
        let own = self.with_values(NOW);
        let own = own.map(|(name, value)| format!("{} = {value}", name.sql()));
        Some(own.collect::<Vec<_>>().join(", "))
    }

    fn with_values(&self, mark: &'static str) -> impl Iterator<Item = (&Ident, &'static str)> {
        let missing = self.spec.on_missing.iter().map(move |name| (name, mark));
        missing.chain(self.spec.synced_at.iter().map(|name| (name, NOW)))
    }
}
