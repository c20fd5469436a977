//! `on_error = "quarantine"`: which errors are caused by a row, how a block of rows is divided to find it,
//! how many rows may be rejected, and which tables are refused because the result would not be exact.
//!
//! The server decides: rows are copied in blocks, each after a savepoint. If a block fails, it is copied
//! again in parts, down to single rows. A row that fails alone, after all accepted rows before it, is
//! rejected. So every check of the server is covered, and of rows that conflict with each other the first
//! one is kept.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::catalog::desc::RelationDesc;
use crate::catalog::inspected::Inspected;
use crate::config::spec::{
    FormatChoice, JobSpec, Mode, OnError, RejectLimit, TableInput, Triggers, Verify,
};
use crate::error::{ErrorKind, Side};
use crate::files::layout::{FileFormat, Layout};
use crate::pg::ident::Ident;
use crate::plan::column::CopyFormat;
use crate::plan::copy::{Load, Quarantine};
use crate::plan::refusal::Refusal;
use crate::wording::counted;

/// The most rejected rows of a table, whatever `reject_limit` says: each takes several round trips, and a
/// row in `tableferry.rejected`.
pub const REJECTED_MAX: u64 = 1_000_000;

/// How many reasons an error names if too many rows are rejected.
const REASONS_MAX: usize = 5;

/// Plans it for one table, if the job asks for it. `columns` are the copied columns; `key` identifies a
/// row.
pub fn plan(
    job: &JobSpec,
    columns: &[&Ident],
    key: &[Ident],
    line: Option<Ident>,
) -> Option<Quarantine> {
    let place = |name: &Ident| columns.iter().position(|column| *column == name);
    let key: Option<Vec<usize>> = key.iter().map(place).collect();
    (job.on_error == OnError::Quarantine).then(|| Quarantine {
        limit: job.reject_limit,
        key: key.unwrap_or_default(),
        log_values: job.log_values,
        line,
        names: BTreeMap::new(),
    })
}

/// The column of a staging table that holds the lines; no column of the target has its name.
pub fn line_column(target: &RelationDesc) -> Ident {
    let mut name = "tableferry_line".to_owned();
    while target.column(&Ident::new(name.as_str())).is_some() {
        name.push('_');
    }
    Ident::new(name)
}

/// The column to which COPY writes the lines, if rows are staged and a number can stand before their values.
pub fn written_line(load: &Load, target: &RelationDesc, format: &CopyFormat) -> Option<Ident> {
    let has_digits = match format {
        CopyFormat::File(layout) => {
            let special = [layout.delimiter(), layout.quote(), layout.escape()];
            special.iter().any(|byte| b" 0123456789".contains(byte))
        }
        CopyFormat::Text(_) | CopyFormat::Binary => false,
    };
    (matches!(load, Load::Staged(_)) && !has_digits).then(|| line_column(target))
}

/// The format in which blocks of rows are written: without a header.
pub fn written_format(format: &CopyFormat) -> CopyFormat {
    match format {
        CopyFormat::File(layout) => CopyFormat::File(Layout {
            header: false,
            ..layout.clone()
        }),
        other => other.clone(),
    }
}

/// Can an error with this SQLSTATE be caused by a row? These are errors of values (class 22) and
/// constraints (class 23), index entries that are too large, and errors that triggers raise. Any other
/// error would occur without the row, too.
pub fn is_of_a_row(sqlstate: &str) -> bool {
    sqlstate.starts_with("22")
        || sqlstate.starts_with("23")
        || matches!(sqlstate, "54000" | "P0001")
}

/// Divides rows that failed together into the parts that are tried next. `failed` is the row, counted from
/// 1, that the server named; it is tried alone, so a wrong number does no harm.
pub fn parts(rows: &Range<usize>, failed: Option<usize>) -> Vec<Range<usize>> {
    let named = failed.filter(|row| (1..=rows.len()).contains(row));
    let cuts = match named {
        Some(row) => [rows.start + row - 1, rows.start + row],
        None => [rows.start + rows.len() / 2; 2],
    };
    let parts = [rows.start..cuts[0], cuts[0]..cuts[1], cuts[1]..rows.end];
    parts.into_iter().filter(|part| !part.is_empty()).collect()
}

impl RejectLimit {
    /// Are these too many, whatever rows follow?
    pub fn is_exceeded(self, rejected: u64) -> bool {
        let most = match self {
            RejectLimit::Rows(rows) => rows.min(REJECTED_MAX),
            RejectLimit::Share(_) => REJECTED_MAX,
        };
        rejected > most
    }

    /// Are these too many of all rows that were read?
    pub fn is_exceeded_by(self, rejected: u64, read: u64) -> bool {
        match self {
            RejectLimit::Rows(_) => self.is_exceeded(rejected),
            RejectLimit::Share(share) => {
                self.is_exceeded(rejected) || rejected as f64 > read as f64 * share
            }
        }
    }

    /// The text that follows the number of rows in the error.
    pub fn describe(self) -> String {
        match self {
            RejectLimit::Rows(rows) if rows <= REJECTED_MAX => {
                format!("more than `reject_limit` = {rows}")
            }
            RejectLimit::Share(share) => {
                format!("more than `reject_limit` = \"{}%\"", share * 100.0)
            }
            RejectLimit::Rows(_) => format!("more than {REJECTED_MAX}, the most there may be"),
        }
    }
}

/// The reasons why rows were rejected, with the number of rows for each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasons(BTreeMap<(String, String), u64>);

impl Reasons {
    /// Counts one more row.
    pub fn add(&mut self, sqlstate: &str, reason: &str) {
        // The number of reasons is bounded by the columns and constraints: messages that triggers raise are
        // not among them.
        *self
            .0
            .entry((sqlstate.to_owned(), reason.to_owned()))
            .or_default() += 1;
    }

    /// The most frequent reasons, as a text.
    pub fn describe(&self) -> String {
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
        let mut described: Vec<String> = all
            .iter()
            .take(REASONS_MAX)
            .map(|((sqlstate, reason), rows)| {
                format!("{} ({sqlstate}): {reason}", counted(**rows, "row"))
            })
            .collect();
        if all.len() > REASONS_MAX {
            described.push(format!("{} more reasons", all.len() - REASONS_MAX));
        }
        described.join("; ")
    }
}

/// Refuses triggers, keys and settings that would make the result depend on more than each row itself.
pub fn check(
    job: &JobSpec,
    tables: &[Inspected],
    refusals: &mut Vec<Refusal>,
    warnings: &mut Vec<String>,
) {
    if job.on_error != OnError::Quarantine {
        return;
    }
    let mut refuse = |message: &str, hint: &str| {
        let message = format!("`on_error = \"quarantine\"` {message}");
        let refusal = Refusal::mismatch(Side::Local, format!("job `{}`", job.name), message);
        refusals.push(refusal.of_kind(ErrorKind::Config).hinted(hint));
    };
    if job.verify == Verify::Checksum {
        refuse(
            "excludes `verify = \"checksum\"`: the source's checksum includes the rejected rows",
            "use `verify = \"count\"`; `tableferry verify` shows the rejected rows as missing",
        );
    }
    if job.format == FormatChoice::Binary {
        refuse(
            "excludes `format = \"binary\"`: rejected rows are kept as text",
            "use `format = \"auto\"`",
        );
    }
    if job.mode == Mode::Swap {
        refuse(
            "is not available in mode `swap`: rows that are copied after a savepoint cannot be frozen, and \
             snapshots that are older than the run would find the new table empty",
            "use mode `merge`, `truncate` or `append`",
        );
    }
    for inspected in tables {
        if let TableInput::File(file) = &inspected.spec.input
            && file.layout.format == FileFormat::Binary
        {
            let message =
                "`on_error = \"quarantine\"` reads no binary files: rejected rows are kept as text";
            let refusal = Refusal::mismatch(Side::Source, &file.name, message);
            let hint = "use CSV or text, or `on_error = \"abort\"`";
            refusals.push(refusal.of_kind(ErrorKind::Config).hinted(hint));
        }
        if let Some(target) = &inspected.target {
            check_table(job, inspected, target, refusals);
        }
    }
    if job.table.values().any(|table| table.watermark.is_some()) {
        warnings.push(
            "a rejected row is not read again once the watermark has passed it: tableferry.rejected lists \
             it, and `--full` reads it again"
                .to_owned(),
        );
    }
}

fn check_table(
    job: &JobSpec,
    inspected: &Inspected,
    target: &RelationDesc,
    refusals: &mut Vec<Refusal>,
) {
    let mut refuse = |message: String, hint: &str| {
        let message = format!("`on_error = \"quarantine\"` cannot judge its rows: {message}");
        refusals.push(Refusal::mismatch(Side::Target, &target.name, message).hinted(hint));
    };
    if inspected.spec.watermark.is_some() && job.mode == Mode::Append {
        refuse(
            "`append` with a watermark reads rows again that are there, and these would be judged, too"
                .to_owned(),
            "use mode `upsert`",
        );
    }
    let constraints = inspected.constraints.clone().unwrap_or_default();
    let is_direct = job.mode.loads_directly();
    if is_direct && !constraints.statement_triggers.is_empty() {
        refuse(
            format!(
                "statement triggers fire once for each block of rows: {}",
                constraints.statement_triggers.join(", ")
            ),
            "`triggers = \"skip\"` leaves triggers out",
        );
    }
    let to_itself = target
        .foreign_keys
        .iter()
        .find(|key| target.referenced_by.contains(key));
    if let Some(key) = to_itself.filter(|_| is_direct && job.triggers == Triggers::Fire) {
        refuse(
            format!(
                "foreign key {} refers to the table itself, so a row may need another one that comes later",
                key.name
            ),
            "leave out the rows without their referenced row with `where`, or use `on_error = \"abort\"`",
        );
    }
}

/// Refuses tables that reference each other: which row is rejected would depend on later rows.
pub fn check_circle(job: &JobSpec, keys: &[(String, String)], refusals: &mut Vec<Refusal>) {
    if job.on_error != OnError::Quarantine || job.triggers == Triggers::Skip {
        return;
    }
    for (table, key) in keys {
        let message = format!(
            "`on_error = \"quarantine\"` cannot judge its rows: foreign key {key} refers to a table that \
             is loaded later, because they refer to each other"
        );
        refusals.push(
            Refusal::mismatch(Side::Target, table, message)
                .hinted("copy the two tables in two jobs, or use `on_error = \"abort\"`"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("22P02", true)]
    #[case("22P04", true)]
    #[case("23502", true)]
    #[case("23P01", true)]
    #[case("54000", true)]
    #[case("P0001", true)]
    #[case("53100", false)]
    #[case("57014", false)]
    #[case("40001", false)]
    #[case("40P01", false)]
    #[case("42501", false)]
    #[case("25P02", false)]
    #[case("0A000", false)]
    #[case("XX000", false)]
    #[case("", false)]
    fn some_errors_are_about_a_row(#[case] sqlstate: &str, #[case] expected: bool) {
        assert_eq!(is_of_a_row(sqlstate), expected);
    }

    #[rstest]
    #[case(0..2, None, &[0..1, 1..2])]
    #[case(3..10, None, &[3..6, 6..10])]
    #[case(3..10, Some(1), &[3..4, 4..10])]
    #[case(3..10, Some(3), &[3..5, 5..6, 6..10])]
    #[case(3..10, Some(7), &[3..9, 9..10])]
    #[case::not_a_row_of_these(3..10, Some(8), &[3..6, 6..10])]
    #[case::no_row(3..10, Some(0), &[3..6, 6..10])]
    fn rows_that_failed_together_are_tried_in_parts(
        #[case] rows: Range<usize>,
        #[case] failed: Option<usize>,
        #[case] expected: &[Range<usize>],
    ) {
        let parts = parts(&rows, failed);
        assert_eq!(parts, expected);
        assert!(parts.iter().all(|part| part.len() < rows.len()));
    }

    #[rstest]
    #[case(RejectLimit::Rows(0), 0, 10, false)]
    #[case(RejectLimit::Rows(0), 1, 10, true)]
    #[case(RejectLimit::Rows(100), 100, 100, false)]
    #[case(RejectLimit::Rows(100), 101, 1_000_000, true)]
    #[case(RejectLimit::Share(0.001), 10, 10_000, false)]
    #[case(RejectLimit::Share(0.001), 11, 10_000, true)]
    #[case(RejectLimit::Share(0.001), 1, 10, true)]
    #[case(RejectLimit::Share(0.0), 0, 0, false)]
    #[case(RejectLimit::Share(1.0), 10, 10, false)]
    #[case(RejectLimit::Share(1.0), REJECTED_MAX + 1, u64::MAX, true)]
    #[case(RejectLimit::Rows(u64::MAX), REJECTED_MAX + 1, u64::MAX, true)]
    fn too_many_rows_are_too_many(
        #[case] limit: RejectLimit,
        #[case] rejected: u64,
        #[case] read: u64,
        #[case] exceeded: bool,
    ) {
        assert_eq!(limit.is_exceeded_by(rejected, read), exceeded);
        if let RejectLimit::Rows(_) = limit {
            assert_eq!(limit.is_exceeded(rejected), exceeded);
        }
    }

    #[test]
    fn reasons_come_by_their_frequency() {
        let mut reasons = Reasons::default();
        reasons.add("22P02", "invalid");
        for _ in 0..2 {
            reasons.add("23502", "null");
        }
        assert_eq!(
            reasons.describe(),
            "2 rows (23502): null; 1 row (22P02): invalid"
        );
    }
}
