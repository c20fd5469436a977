//! The statements that each side is asked for `compare = "changed"`.

use crate::pg::ident::Ident;
use crate::plan::column::{ColumnPlan, CopyFormat};
use crate::plan::sql;

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
    /// The key's columns.
    pub(super) key: Vec<Ident>,
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
    /// Gives the value of the key's first column of each row that has changed. Rows outside of `where` are among them:
    /// they may have left it.
    pub fn changed_keys(&self) -> String {
        let (lead, from, is_changed) = (self.lead.sql(), &self.from, &self.is_changed);
        copied_out(&format!(
            "SELECT {lead}::pg_catalog.int8 FROM {from} WHERE {is_changed}"
        ))
    }

    /// Gives the number of rows, and the sum of the hashes of their keys.
    pub fn totals(&self) -> String {
        let passing = self.passing(None);
        copied_out(&format!(
            "SELECT {} FROM {}{passing}",
            self.counted(),
            self.from
        ))
    }

    /// The same of the rows in these ranges, which are in order and do not overlap.
    pub fn totals_within(&self, ranges: &[LeadRange]) -> String {
        let counted = self.counted();
        let select = match self.is_indexed {
            false => {
                let passing = self.passing(Some(&self.within(ranges)));
                format!("SELECT {counted} FROM {}{passing}", self.from)
            }
            true => {
                let columns = self.key.iter().map(|name| name.sql());
                let columns: Vec<String> = columns.collect();
                let passing = self.passing(Some(&self.within_range()));
                let rows = format!("SELECT {} FROM {}{passing}", columns.join(", "), self.from);
                format!("SELECT {counted} FROM {}", looked_up(ranges, &rows))
            }
        };
        copied_out(&select)
    }

    /// Gives for each bucket of 2^`shift` values its number, the number of rows and the sum of the hashes of their keys.
    pub fn buckets(&self, shift: u32) -> String {
        let lead = self.lead.sql();
        copied_out(&format!(
            "SELECT {lead}::pg_catalog.int8 >> {shift}, {} FROM {}{} GROUP BY 1",
            self.counted(),
            self.from,
            self.passing(None)
        ))
    }

    fn counted(&self) -> String {
        format!(
            "pg_catalog.count(*), COALESCE(pg_catalog.sum({}), 0)",
            self.hash
        )
    }

    /// ` WHERE …`: the rows that `where` passes, and that another condition is true for.
    fn passing(&self, condition: Option<&str>) -> String {
        let both = sql::and(self.filter.as_deref(), condition);
        both.map_or(String::new(), |both| {
            format!(" WHERE ({})", sql::closed(&both))
        })
    }

    /// Is a row in one of these ranges? One scan finds it: a row is in the last range that does not begin above it, or in
    /// none.
    fn within(&self, ranges: &[LeadRange]) -> String {
        let lead = self.lead.sql();
        let (low, high) = (list(ranges, |range| range.0), list(ranges, |range| range.1));
        format!("{lead} <= ({high})[pg_catalog.width_bucket({lead}::pg_catalog.int8, {low})]")
    }

    /// Is a row in the range that is looked up?
    fn within_range(&self) -> String {
        let lead = self.lead.sql();
        format!("{lead} >= {RANGE}.\"low\" AND {lead} <= {RANGE}.\"high\"")
    }

    /// Gives the rows in these ranges, which are in order and do not overlap, in the order of the key.
    pub fn rows(&self, ranges: &[LeadRange]) -> String {
        let select = |condition: &str| {
            let filter = sql::and(self.filter.as_deref(), Some(condition));
            let select = sql::select(&self.from, &self.columns, filter.as_deref());
            format!("{select}{}", self.order)
        };
        let rows = match self.is_indexed {
            false => select(&self.within(ranges)),
            true => {
                let names: Vec<String> = self
                    .columns
                    .iter()
                    .map(|column| column.name.sql())
                    .collect();
                let rows = looked_up(ranges, &select(&self.within_range()));
                format!("SELECT {} FROM {rows}", names.join(", "))
            }
        };
        sql::copy_out(&rows, &self.format)
    }
}

const RANGE: &str = "\"tableferry_range\"";

/// The rows of each range, in the order of the ranges: OFFSET keeps the rows of a range together.
fn looked_up(ranges: &[LeadRange], rows: &str) -> String {
    format!(
        "ROWS FROM (pg_catalog.unnest({}), pg_catalog.unnest({})) AS {RANGE} (\"low\", \"high\") \
         CROSS JOIN LATERAL ({rows} OFFSET 0) AS \"tableferry_row\"",
        list(ranges, |range| range.0),
        list(ranges, |range| range.1),
    )
}

fn list(ranges: &[LeadRange], of: impl Fn(&LeadRange) -> i64) -> String {
    let numbers: Vec<String> = ranges.iter().map(|range| of(range).to_string()).collect();
    format!("'{{{}}}'::pg_catalog.int8[]", numbers.join(","))
}

fn copied_out(select: &str) -> String {
    format!("COPY ({select}) TO STDOUT (FORMAT text)")
}
