//! The statements that each side is asked for `compare = "changed"`.

use crate::pg::ident::Ident;
use crate::plan::column::{ColumnPlan, CopyFormat};
use crate::plan::sql;

/// Changed rows are told apart by parts of 1/2^this of a bucket.
const PART_BITS: u32 = 3;

/// What one side is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangedSide {
    /// Gives the least and the greatest value of the key's first column, and the bounds of its histogram.
    pub spread: String,
    pub(super) from: String,
    pub(super) columns: Vec<ColumnPlan>,
    pub(super) format: CopyFormat,
    pub(super) filter: Option<String>,
    /// The key's first column.
    pub(super) lead: Ident,
    /// A hash of the key.
    pub(super) hash: String,
    /// Is true for rows that were written since the last run.
    pub(in crate::plan) is_changed: String,
    pub(super) order: String,
    /// An index serves ranges of the key.
    pub(in crate::plan) is_indexed: bool,
}

/// A range of values of the key's first column, both included.
pub type LeadRange = (i64, i64);

impl ChangedSide {
    /// Gives for each bucket of 2^`shift` values, and for rows that have changed for each of some parts of it: twice
    /// the number of the bucket or, plus 1, of the part; the number of rows; the sum of their hashes; the least and
    /// the greatest value of the key's first column. Rows outside of `where` are only looked at if they have changed.
    pub fn scan(&self, shift: u32) -> String {
        let passes = match &self.filter {
            Some(filter) => format!(" FILTER (WHERE ({}))", sql::closed(filter)),
            None => String::new(),
        };
        let only = match &self.filter {
            Some(filter) => format!(" WHERE ({}) OR {}", sql::closed(filter), self.is_changed),
            None => String::new(),
        };
        let lead = format!("{}::pg_catalog.int8", self.lead.sql());
        let part = shift.saturating_sub(PART_BITS).max(1);
        let select = format!(
            "SELECT CASE WHEN {} THEN (({lead} >> {part}) << 1) | '1'::pg_catalog.int8 ELSE ({lead} >> {shift}) << 1 END, \
             pg_catalog.count(*){passes}, COALESCE(pg_catalog.sum({}){passes}, 0), pg_catalog.min({lead}), \
             pg_catalog.max({lead}) FROM {}{only} GROUP BY 1",
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
        if !self.is_indexed {
            let (low, high) = (list(&|range| range.0), list(&|range| range.1));
            // One scan: a row is in the last range that does not begin above it, or in none.
            let within = format!(
                "{lead} <= ({high})[pg_catalog.width_bucket({lead}::pg_catalog.int8, {low})]"
            );
            let filter = sql::and(self.filter.as_deref(), Some(&within));
            let select = sql::select(&self.from, &self.columns, filter.as_deref());
            return sql::copy_out(&format!("{select}{}", self.order), &self.format);
        }

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
