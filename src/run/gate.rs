//! The check before COMMIT: may the loaded rows be published?

use std::collections::BTreeMap;

use super::context::JobContext;
use crate::catalog::desc::RelationDesc;
use crate::config::spec::{GuardSpec, JobSpec, Verify};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::Refusal;
use crate::plan::copy::CopyPlan;
use crate::report::TableReport;
use crate::wording::counted;

/// The number of rows in each target relation before the load, by name.
pub(super) type RowsBefore = BTreeMap<String, u64>;

/// Counts the rows that the load replaces. Tables on which the role lacks SELECT are not counted; the plan
/// has ensured that the guard does not need their counts.
pub(super) async fn count_before(
    target: &Session,
    tables: &[CopyPlan],
    seen: &BTreeMap<QualifiedName, RelationDesc>,
) -> Result<RowsBefore> {
    let mut rows_before = RowsBefore::new();
    // Where they are compared, the rows are counted meanwhile. Of partitions, those are counted that are replaced
    // (`modes/replaced.rs`).
    let is_counted = |table: &&CopyPlan| {
        let later = table.stream().is_some() || table.is_counted_by_comparison();
        !later && table.partitions.replaced.is_none()
    };
    for table in tables.iter().filter(is_counted) {
        let may_count = |desc: &RelationDesc| desc.privileges.select;
        if seen.get(&table.target).is_some_and(may_count) {
            let rows = count(target, table).await;
            let rows = rows.map_err(|error| error.on(&table.target))?;
            rows_before.insert(table.target.to_string(), rows);
        }
    }
    Ok(rows_before)
}

async fn count(target: &Session, table: &CopyPlan) -> Result<u64> {
    let sql = format!("SELECT pg_catalog.count(*) FROM {}", table.replaced_rows());
    let what = "the number of rows before the load";
    target.one_row(Phase::Gate, what, &sql, &[]).await?.count(0)
}

/// Refuses to publish if the counts of both sides differ, or if the guard refuses. `plans` are those of the tables.
pub(super) fn check(
    context: &JobContext,
    before: &RowsBefore,
    plans: &[CopyPlan],
    tables: &mut [TableReport],
) -> Result<()> {
    let job = &context.job;
    if let Some(wanted) = context.rows {
        let came: u64 = tables.iter().map(|table| table.rows_read).sum();
        if came != wanted {
            let message = format!(
                "{} were read, and `--rows` requires {wanted}",
                counted(came, "row")
            );
            return Err(
                Error::new(ErrorKind::Guard, Phase::Gate, Side::Source, message)
                    .hinted("the source is not whole, or `--rows` is wrong"),
            );
        }
    }
    for (plan, table) in plans.iter().zip(tables) {
        let counted_before = before.get(&table.target).copied();
        let compared = table.rows_compared.filter(|_| !job.mode.keeps_other_rows());
        let rows_before = counted_before.or(compared);
        table.rows_deleted = rows_before.unwrap_or(0);
        let refused = |kind, message, hint| refused(context, table, kind, message, hint);
        let rejected = table.rows_rejected;
        if rejected > 0 && job.reject_limit.is_exceeded_by(rejected, table.rows_read) {
            let rows = counted(rejected, "row");
            let read = counted(table.rows_read, "row");
            let limit = job.reject_limit.describe();
            return Err(refused(
                ErrorKind::DataRejected,
                format!("{rows} of {read} are rejected, {limit}"),
                "nothing was published; raise `reject_limit` if so many may be left out".to_owned(),
            ));
        }
        let taken = table.rows_written + rejected;
        // With `compare = "stream"` or `"changed"`, the copy has compared the numbers.
        // With rows that are kept, the number was compared when they were brought up.
        let was_compared =
            matches!(table.compare, Some("stream" | "changed")) || table.rows_kept.is_some();
        let took_all = table.rows_read == taken || was_compared;
        if job.verify != Verify::None && !took_all {
            return Err(refused(
                ErrorKind::DataRejected,
                format!(
                    "the source sent {} and the target took {taken}",
                    counted(table.rows_read, "row"),
                ),
                "a BEFORE trigger on the target drops or adds rows: `triggers = \"skip\"` leaves \
                 it out, `verify = \"none\"` accepts it"
                    .to_owned(),
            ));
        }
        let kept = published(table);
        let judged = match rows_before {
            Some(rows) if plan.partition_of.is_some() => guard(&of_partition(job), rows, kept),
            Some(rows) => guard(&job.guard, rows, kept),
            None if !context.target.is_database() => enough(&job.guard, table.rows_read),
            None if job.mode.keeps_other_rows() => Ok(()),
            None if plan.is_counted_by_comparison() => enough(&job.guard, kept),
            None if plan.partition_of.is_some() && !job.guard.compares() => Ok(()),
            None if job.guard.compares() => {
                let message = "the rows that would be replaced were not counted".to_owned();
                let hint = "see whether the role may SELECT on it".to_owned();
                return Err(refused(ErrorKind::Bug, message, hint));
            }
            None => enough(&job.guard, kept),
        };
        if let Err((message, hint)) = judged {
            return Err(refused(ErrorKind::Guard, message, hint));
        }
    }
    Ok(())
}

/// Applies the guard where only the comparison tells how many rows the target had `before`.
pub(super) fn check_compared(context: &JobContext, table: &TableReport, before: u64) -> Result<()> {
    guard(&context.job.guard, before, published(table))
        .map_err(|(message, hint)| refused(context, table, ErrorKind::Guard, message, hint))
}

/// The number of rows that will be published: rejected ones are not.
fn published(table: &TableReport) -> u64 {
    let rows = table.rows_counted.unwrap_or(table.rows_read);
    rows.saturating_sub(table.rows_rejected)
}

fn refused(
    context: &JobContext,
    table: &TableReport,
    kind: ErrorKind,
    message: String,
    hint: String,
) -> Error {
    let relation = QualifiedName::parse(&table.target).ok();
    let error = Error::new(kind, Phase::Gate, Side::Target, message)
        .at(&context.target.name)
        .hinted(hint);
    match relation {
        Some(relation) => error.on(&relation),
        None => error,
    }
}

/// The guard of one partition that is replaced. *Errors:* `Guard`.
pub(super) fn check_partition(
    context: &JobContext,
    partition: &QualifiedName,
    before: u64,
    rows: u64,
) -> Result<()> {
    guard(&of_partition(&context.job), before, rows).map_err(|(message, hint)| {
        let message = format!("partition {partition}: {message}");
        Error::new(ErrorKind::Guard, Phase::Gate, Side::Target, message)
            .at(&context.target.name)
            .on(partition)
            .hinted(hint)
    })
}

/// `min_rows` is about the table, and not about each of its partitions.
fn of_partition(job: &JobSpec) -> GuardSpec {
    GuardSpec {
        min_rows: 0,
        ..job.guard
    }
}

/// Is the source's number of rows for a whole table enough for the guard? If not, returns the refusal.
pub(super) fn refuse_few(guard: &GuardSpec, table: &QualifiedName, rows: u64) -> Option<Refusal> {
    let (message, hint) = enough(guard, rows).err()?;
    let refusal = Refusal::mismatch(Side::Target, table, message).of_kind(ErrorKind::Guard);
    Some(refusal.hinted(hint))
}

/// The guard: may `rows` rows replace `before` rows? If not, returns the message and the hint.
///
/// An empty source for an empty target is accepted: nothing can be lost, and a wildcard often matches empty
/// tables.
fn guard(guard: &GuardSpec, before: u64, rows: u64) -> Result<(), (String, String)> {
    if rows == 0 && before > 0 && !guard.allow_empty {
        return Err((
            format!("the source has no rows, and the target has {before}"),
            "if that is right, set `guard = { allow_empty = true }`".to_owned(),
        ));
    }
    enough(guard, rows)?;
    let removed = before.saturating_sub(rows);
    // If an empty source is allowed, `max_shrink` does not apply to it.
    let allowed_empty = rows == 0 && guard.allow_empty;
    if !allowed_empty && removed as f64 > before as f64 * guard.max_shrink {
        let percent = removed as f64 / before as f64 * 100.0;
        return Err((
            format!(
                "the source has {} and the target has {before}: {percent:.1} % less",
                counted(rows, "row")
            ),
            "if that is right, raise `guard.max_shrink`".to_owned(),
        ));
    }
    Ok(())
}

fn enough(guard: &GuardSpec, rows: u64) -> Result<(), (String, String)> {
    if rows >= guard.min_rows {
        return Ok(());
    }
    Err((
        format!(
            "the source has {}, fewer than `min_rows` = {}",
            counted(rows, "row"),
            guard.min_rows
        ),
        "if that is right, lower `guard.min_rows`".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const DEFAULT: GuardSpec = GuardSpec {
        allow_empty: false,
        max_shrink: 0.5,
        min_rows: 0,
    };
    const EMPTY_IS_FINE: GuardSpec = GuardSpec {
        allow_empty: true,
        max_shrink: 0.5,
        min_rows: 0,
    };
    const AT_LEAST_10: GuardSpec = GuardSpec {
        allow_empty: false,
        max_shrink: 1.0,
        min_rows: 10,
    };

    #[rstest]
    #[case(DEFAULT, 0, 0, None)]
    #[case(DEFAULT, 0, 7, None)]
    #[case(DEFAULT, 10, 0, Some("no rows"))]
    #[case(DEFAULT, 10, 5, None)]
    #[case(DEFAULT, 10, 4, Some("60.0 % less"))]
    #[case(DEFAULT, 10, 1000, None)]
    #[case(EMPTY_IS_FINE, 10, 0, None)]
    #[case(EMPTY_IS_FINE, 10, 1, Some("90.0 % less"))]
    #[case(AT_LEAST_10, 0, 9, Some("min_rows"))]
    #[case(AT_LEAST_10, 100, 10, None)]
    fn a_suspicious_source_is_refused(
        #[case] spec: GuardSpec,
        #[case] before: u64,
        #[case] rows: u64,
        #[case] refusal: Option<&str>,
    ) {
        match (guard(&spec, before, rows), refusal) {
            (Ok(()), None) => {}
            (Err((message, _)), Some(part)) => assert!(message.contains(part), "{message}"),
            (other, _) => panic!("{other:?}"),
        }
    }
}
