//! The statements that each side is asked for `compare = "changed"`.

use crate::pg::ident::Ident;
use crate::plan::column::{ColumnPlan, CopyFormat};
use crate::plan::sql;

/// What one side is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedSide {
    /// Gives the least and the greatest value of the key's first column.
    pub span: String,
    pub(super) from: String,
    pub(super) columns: Vec<ColumnPlan>,
    pub(super) format: CopyFormat,
    pub(super) filter: Option<String>,
    /// The key's first column.
    pub(super) lead: Ident,
    /// A hash of the key.
    pub(super) hash: String,
    /// Is true for rows that were written since the last run.
    pub(super) is_changed: String,
    pub(super) order: String,
}

/// A range of values of the key's first column, both included.
pub type LeadRange = (i64, i64);

impl ChangedSide {
    /// Gives for each bucket of 2^`shift` values, and in it for rows that have changed and others: twice the
    /// bucket's number, plus 1 for changed rows; the number of rows; the sum of their hashes; the least and the
    /// greatest value of the key's first column. Rows outside of `where` are only looked at if they have changed.
    pub fn scan(&self, shift: u32) -> String {
        let passes = match &self.filter {
            Some(filter) => format!(" FILTER (WHERE ({}))", sql::closed(filter)),
            None => String::new(),
        };
        let lead = format!("{}::pg_catalog.int8", self.lead.sql());
        // Another order of the terms would compute the second one for each row.
        let only = match &self.filter {
            Some(filter) => format!(" WHERE ({}) OR {}", sql::closed(filter), self.is_changed),
            None => String::new(),
        };
        let select = format!(
            "SELECT (({lead} >> {shift}) << 1) | CASE WHEN {} THEN '1'::pg_catalog.int8 ELSE '0' END, pg_catalog.count(*){passes}, \
             COALESCE(pg_catalog.sum({}){passes}, 0), pg_catalog.min({lead}), pg_catalog.max({lead}) \
             FROM {}{only} GROUP BY 1",
            self.is_changed, self.hash, self.from
        );
        format!("COPY ({select}) TO STDOUT (FORMAT text)")
    }

    /// Gives the rows in these ranges, which are in order and do not overlap, in the order of the key.
    pub fn rows(&self, ranges: &[LeadRange]) -> String {
        let list = |of: &dyn Fn(&LeadRange) -> i64| -> String {
            let numbers: Vec<String> = ranges.iter().map(|range| of(range).to_string()).collect();
            format!("'{{{}}}'::pg_catalog.int8[]", numbers.join(","))
        };
        let lead = self.lead.sql();
        let within = format!(
            "{lead} >= \"tableferry_range\".\"low\" AND {lead} <= \"tableferry_range\".\"high\""
        );
        let filter = sql::and(self.filter.as_deref(), Some(&within));
        let names: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.name.sql())
            .collect();
        // OFFSET keeps the rows of a range together, and in the order of the ranges.
        let select = format!(
            "SELECT {} FROM ROWS FROM (pg_catalog.unnest({}), pg_catalog.unnest({})) AS \"tableferry_range\" (\"low\", \"high\") \
             CROSS JOIN LATERAL ({}{} OFFSET 0) AS \"tableferry_row\"",
            names.join(", "),
            list(&|range| range.0),
            list(&|range| range.1),
            sql::select(&self.from, &self.columns, filter.as_deref()),
            self.order,
        );
        sql::copy_out(&select, &self.format)
    }
}
