//! Compares staged tables with the target, writes the differences, and compares again if foreign keys,
//! triggers or other sessions may have changed rows. `plan/effects.rs` describes these effects.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::published;
use super::row_counts::{Differing, RowsWritten, Shortage};
use super::upsert::Stage;
use super::{merge, upsert};
use crate::config::spec::Verify;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::Ident;
use crate::pg::session::Session;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::staged::listing;
use crate::plan::staged::types::{Apply, Staged};
use crate::report::{ChangedRow, TableReport};
use crate::run::context::JobContext;
use crate::run::gate;
use crate::wording::counted;

/// Rounds of writing and comparing, in addition to one for each table: foreign key actions can change one
/// table after the other.
const ROUNDS_MORE_MAX: usize = 3;

/// One table that was loaded into staging, and its report.
struct Loaded<'a> {
    table: &'a CopyPlan,
    staged: &'a Staged,
    report: &'a mut TableReport,
    /// Staged rows have been compared with the target.
    compared: bool,
}

/// Writes the differences to the target and counts the written rows in `reports`, which are in the order of
/// the plan's tables. Earlier transactions of the run have published `published`.
///
/// *Errors:* `DataRejected` if triggers or rules keep the target from becoming equal to the source,
/// `Conflict` if other sessions do.
pub(in crate::run) async fn apply(
    target: &Session,
    context: &JobContext,
    tables: &[CopyPlan],
    published: &[CopyPlan],
    reports: &mut [TableReport],
) -> Result<()> {
    let (job, planned) = (&context.job, tables);
    let tables: &mut [Loaded<'_>] = &mut loaded(tables, reports);
    let rounds_max = tables.len() + ROUNDS_MORE_MAX;
    let may_differ = |at: &usize| {
        let Loaded { staged, report, .. } = &tables[*at];
        !staged.is_equal(report.rows_written)
    };
    let may_differ: BTreeSet<usize> = (0..tables.len()).filter(may_differ).collect();
    let lists_changes = context.dry_run && job.log_values;
    let first = match lists_changes {
        true => Comparison::Whole,
        false => Comparison::Staged,
    };
    let mut wrong = compare(target, tables, may_differ.clone(), first).await?;
    guard(context, tables, &wrong)?;
    if lists_changes {
        list_changes(target, tables, &wrong).await?;
    }
    let mut runs_code = false;
    let mut round = 0;
    while let Some((at, found)) = wrong.first_key_value() {
        round += 1;
        if round > rounds_max {
            return Err(differs(target, &tables[*at], *found, runs_code));
        }
        let done = write(target, tables, &wrong).await?;
        for (at, done) in &done {
            let loaded = &mut tables[*at];
            loaded.report.rows_deleted += done.deleted;
            loaded.report.rows_updated += done.updated;
            loaded.report.rows_inserted += done.inserted;
            runs_code |= loaded.staged.effects.runs_code;
        }
        let by_keys = reached(tables, &done);
        let short = done.iter().filter(|(at, done)| {
            let accepted = job.verify == Verify::None && tables[**at].table.target_has_triggers;
            done.shortage.is_some() && !accepted
        });
        let suspects = short.map(|(at, _)| *at).chain(by_keys.iter().copied());
        wrong = compare(target, tables, suspects.collect(), Comparison::Whole).await?;
        for (at, found) in wrong.iter().filter(|(at, _)| by_keys.contains(at)) {
            if found.new > 0 && !tables[*at].staged.not_copied.is_empty() {
                return Err(loses(target, &tables[*at], found.new));
            }
        }
        for at in wrong.keys().filter(|at| !by_keys.contains(at)) {
            let shortage = done.get(at).and_then(|done| done.shortage);
            if let Some(shortage) = shortage.filter(|_| tables[*at].table.target_has_triggers) {
                return Err(dropped(target, &tables[*at], shortage));
            }
        }
    }
    if !runs_code || job.verify == Verify::None {
        return Ok(());
    }
    // Fires deferred triggers.
    target
        .run(Phase::Gate, "SET CONSTRAINTS ALL IMMEDIATE")
        .await?;
    // A table that may be changed by others is not compared by streams.
    let wrong = compare(target, tables, may_differ, Comparison::Whole).await?;
    match wrong.first_key_value() {
        Some((at, found)) => Err(differs(target, &tables[*at], *found, true)),
        None => published::check_untouched(target, planned, published).await,
    }
}

fn loaded<'a>(tables: &'a [CopyPlan], reports: &'a mut [TableReport]) -> Vec<Loaded<'a>> {
    let reports = tables.iter().zip(reports);
    let reports = reports.filter(|(table, _)| matches!(table.load, Load::Staged(_)));
    let mut all = Vec::new();
    for ((table, staged), (_, report)) in listing::of(tables).zip(reports) {
        report.rows_inserted = 0;
        report.rows_updated = 0;
        report.rows_deleted = 0;
        all.push(Loaded {
            table,
            staged,
            report,
            compared: false,
        });
    }
    all
}

/// Applies the guard to tables of which the comparison tells how many rows they have.
fn guard(
    context: &JobContext,
    tables: &[Loaded<'_>],
    wrong: &BTreeMap<usize, Differing>,
) -> Result<()> {
    for (at, loaded) in tables.iter().enumerate() {
        if loaded.table.is_counted_by_comparison() {
            let found = wrong.get(&at).copied().unwrap_or_default();
            let same = loaded.report.rows_written.saturating_sub(found.new);
            gate::check_compared(context, loaded.report, same + found.gone)?;
        }
    }
    Ok(())
}

/// How differences are found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Comparison {
    /// Those that were found while both sides were read, where they were.
    Staged,
    /// Staged rows are compared with the target.
    Whole,
}

/// The tables that differ, with the numbers of rows.
async fn compare(
    target: &Session,
    tables: &mut [Loaded<'_>],
    which: BTreeSet<usize>,
    comparison: Comparison,
) -> Result<BTreeMap<usize, Differing>> {
    let mut wrong = BTreeMap::new();
    for at in which {
        let Some(loaded) = tables.get_mut(at) else {
            continue;
        };
        let found = match &loaded.staged.apply {
            Apply::Merge(merge) => match &merge.direct {
                Some(direct) if comparison == Comparison::Staged => {
                    merge::staged(target, direct).await
                }
                Some(_) | None => {
                    let again = std::mem::replace(&mut loaded.compared, true);
                    merge::compare(target, merge, again).await
                }
            },
            Apply::Upsert(upsert) => {
                let again = std::mem::replace(&mut loaded.compared, true);
                let staged = Stage {
                    analyze: (!loaded.staged.is_analyzed_first()).then_some(&loaded.staged.analyze),
                    rows: loaded.report.rows_written + loaded.report.rows_kept.unwrap_or(0),
                };
                upsert::compare(target, upsert, staged, again).await
            }
        };
        let found = found.map_err(|error| error.on(&loaded.table.target))?;
        if found != Differing::default() {
            wrong.insert(at, found);
        }
    }
    Ok(wrong)
}

/// Adds rows that will be written to the reports.
async fn list_changes(
    target: &Session,
    tables: &mut [Loaded<'_>],
    wrong: &BTreeMap<usize, Differing>,
) -> Result<()> {
    for at in wrong.keys() {
        let Loaded {
            table,
            staged,
            report,
            ..
        } = &mut tables[*at];
        let listed = target
            .query(Phase::Publish, &staged.list_changes, &[])
            .await;
        for row in listed.map_err(|error| error.on(&table.target))? {
            let json = |text: Option<String>| {
                text.map_or(Ok(Value::Null), |text| serde_json::from_str(&text))
            };
            let [key, before, after] = [1, 2, 3].map(|column| json(row.get(column)));
            let unreadable = |error: serde_json::Error| {
                let message = "rows that would be written could not be read";
                let error = Error::new(ErrorKind::Bug, Phase::Publish, Side::Target, message)
                    .caused_by(error);
                error.at(target.server()).on(&table.target)
            };
            report.changes.push(ChangedRow {
                change: row.get(0),
                key: key.map_err(unreadable)?,
                before: before.map_err(unreadable)?,
                after: after.map_err(unreadable)?,
            });
        }
    }
    Ok(())
}

async fn write(
    target: &Session,
    tables: &[Loaded<'_>],
    wrong: &BTreeMap<usize, Differing>,
) -> Result<BTreeMap<usize, RowsWritten>> {
    let mut merges = Vec::new();
    let mut done = BTreeMap::new();
    for (at, found) in wrong {
        let name = &tables[*at].table.target;
        match &tables[*at].staged.apply {
            Apply::Merge(merge) => merges.push((*at, merge, *found)),
            Apply::Upsert(upsert) => {
                let written = upsert::write(target, upsert, *found).await;
                done.insert(*at, written.map_err(|error| error.on(name))?);
            }
        }
    }
    done.extend(merge::write(target, &merges).await?);
    Ok(done)
}

/// The tables whose rows foreign key actions may have changed.
fn reached(tables: &[Loaded<'_>], done: &BTreeMap<usize, RowsWritten>) -> BTreeSet<usize> {
    let mut names = BTreeSet::new();
    for (at, done) in done {
        let effects = &tables[*at].staged.effects;
        if done.deleted > 0 {
            names.extend(&effects.of_delete);
        }
        if done.updated > 0 {
            names.extend(&effects.of_update);
        }
    }
    let of_job = |at: &usize| names.contains(&tables[*at].table.target);
    (0..tables.len()).filter(of_job).collect()
}

/// The error if a trigger suppressed rows.
fn dropped(target: &Session, loaded: &Loaded<'_>, shortage: Shortage) -> Error {
    let Shortage { what, found, done } = shortage;
    let message = format!("the target has {what} {done} of {}", counted(found, "row"));
    by_code(target, loaded, message)
}

/// The error if foreign key actions deleted rows that the source has, or changed their keys. If they were
/// inserted again, columns that are not copied would get their defaults.
fn loses(target: &Session, loaded: &Loaded<'_>, rows: u64) -> Error {
    let names: Vec<String> = loaded
        .staged
        .not_copied
        .iter()
        .map(Ident::to_string)
        .collect();
    let message = format!(
        "foreign keys with ON DELETE or ON UPDATE delete {} that the source has, or change the key, and \
         the target's values of columns that are not copied would be lost: {}",
        counted(rows, "row"),
        names.join(", ")
    );
    let kind = ErrorKind::DataRejected;
    Error::new(kind, Phase::Publish, Side::Target, message)
        .at(target.server())
        .on(&loaded.table.target)
        .hinted(
            "copy these columns, move them to a table of their own, or declare the foreign key \
             without CASCADE, and DEFERRABLE",
        )
}

/// The error if rows differ although all of them were written.
fn differs(target: &Session, loaded: &Loaded<'_>, found: Differing, runs_code: bool) -> Error {
    let message = format!(
        "after all changes the target still differs: {} missing, {} different, {} extra",
        counted(found.new, "row"),
        found.changed,
        found.gone
    );
    if runs_code {
        return by_code(target, loaded, message);
    }
    Error::new(ErrorKind::Conflict, Phase::Publish, Side::Target, message)
        .at(target.server())
        .on(&loaded.table.target)
        .hinted(
            "other sessions write these rows at the same time, or foreign keys with ON DELETE or ON \
             UPDATE change them again and again",
        )
}

fn by_code(target: &Session, loaded: &Loaded<'_>, message: String) -> Error {
    let kind = ErrorKind::DataRejected;
    Error::new(kind, Phase::Publish, Side::Target, message)
        .at(target.server())
        .on(&loaded.table.target)
        .hinted(
            "a trigger or rule on the target changes, drops or adds rows: `triggers = \"skip\"` leaves \
             triggers out, `verify = \"none\"` accepts it",
        )
}
