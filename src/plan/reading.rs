//! How the rows of one table of the source are read.

use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::config::spec::{TableInput, TableSpec};
use crate::plan::column::{ColumnPlan, CopyFormat};
use crate::plan::sql;

/// The statements that read a table, a view or a query.
pub struct Reading {
    /// The FROM item.
    pub from: String,
    /// `where`, and the condition on the watermark.
    pub filter: Option<String>,
    /// Reads all rows.
    pub select: String,
    /// The table and its columns, if COPY can read these rows by name.
    named: Option<String>,
}

impl Reading {
    /// Reads these columns of the rows that satisfy `where` and the condition.
    pub fn new(
        spec: &TableSpec,
        source: &RelationDesc,
        columns: &[ColumnPlan],
        condition: Option<&str>,
    ) -> Self {
        let from = sql::read_from(spec, source.kind);
        let filter = sql::and(spec.filter.as_deref(), condition);
        Reading {
            select: sql::select(&from, columns, filter.as_deref()),
            named: match filter {
                Some(_) => None,
                None => named(spec, source, columns),
            },
            from,
            filter,
        }
    }

    /// The COPY of all rows.
    pub fn copy_out(&self, format: &CopyFormat) -> String {
        match &self.named {
            Some(named) => format!("COPY {named} TO STDOUT {}", format.options()),
            None => sql::copy_out(&self.select, format),
        }
    }

    /// The COPY of the rows within a range; an empty one has all rows.
    pub fn copy_range_out(
        &self,
        range: &str,
        columns: &[ColumnPlan],
        format: &CopyFormat,
    ) -> String {
        let range = Some(range).filter(|range| !range.is_empty());
        let filter = sql::and(self.filter.as_deref(), range);
        let select = sql::select(&self.from, columns, filter.as_deref());
        sql::copy_out(&select, format)
    }
}

/// What COPY names to read a whole table, which costs the source about a tenth less CPU time than the same rows from a
/// query. By name, COPY reads ordinary tables without their children, and no generated columns.
fn named(spec: &TableSpec, source: &RelationDesc, columns: &[ColumnPlan]) -> Option<String> {
    let TableInput::Relation(name) = &spec.input else {
        return None;
    };
    let is_readable = |column: &ColumnPlan| {
        let described = source.column(&column.name);
        column.expression.is_none() && described.is_some_and(|desc| desc.generated.is_none())
    };
    let is_plain = source.kind == RelationKind::Table && !spec.children;
    // An empty list is not valid SQL.
    let has_list = !columns.is_empty() && columns.iter().all(is_readable);
    (is_plain && has_list).then(|| {
        let names = sql::names("", columns.iter().map(|column| &column.name));
        format!("{} ({names})", name.sql())
    })
}
