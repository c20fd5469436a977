//! Compares staged tables with the target, writes what differs, and compares again where something else
//! may have changed rows meanwhile. What that may be is said in `plan/effects.rs`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Loaded, merge, upsert};
use crate::config::spec::{JobSpec, Verify};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::staged::types::Apply;
use crate::wording::counted;

/// Rounds of writing and comparing again, besides one for each table: foreign keys that change rows lead
/// from table to table.
const ROUNDS_MORE_MAX: usize = 3;

/// How many rows of a table differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Differing {
    /// Only the target has them, and should not.
    pub gone: u64,
    /// They hold other values.
    pub changed: u64,
    /// Only the source has them.
    pub new: u64,
    /// Others may hold other values: only writing them tells.
    pub is_vague: bool,
}

/// What was written to a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub deleted: u64,
    pub updated: u64,
    pub inserted: u64,
    /// Fewer rows than were found.
    pub shortage: Option<Shortage>,
}

/// Fewer rows were written than had been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    /// "deleted", "updated" or "inserted".
    pub what: &'static str,
    pub found: u64,
    pub done: u64,
}

impl Written {
    /// Notes what one statement did.
    pub fn note(&mut self, what: &'static str, found: u64, done: u64) {
        if done < found && self.shortage.is_none() {
            self.shortage = Some(Shortage { what, found, done });
        }
    }
}

/// Makes the target's rows of the staged ones, and adds up in the reports what was done.
///
/// *Errors:* `DataRejected` where triggers or rules keep the target from becoming what it should be,
/// `Conflict` where something else does.
pub(super) async fn apply(
    target: &Session,
    job: &JobSpec,
    tables: &mut [Loaded<'_>],
) -> Result<()> {
    let rounds_max = tables.len() + ROUNDS_MORE_MAX;
    let mut wrong = compare(target, tables, (0..tables.len()).collect()).await?;
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
        wrong = compare(target, tables, suspects.collect()).await?;
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
    // Deferred triggers run now.
    target
        .run(Phase::Gate, "SET CONSTRAINTS ALL IMMEDIATE")
        .await?;
    let wrong = compare(target, tables, (0..tables.len()).collect()).await?;
    match wrong.first_key_value() {
        Some((at, found)) => Err(differs(target, &tables[*at], *found, true)),
        None => Ok(()),
    }
}

/// The tables of these that differ, and how.
async fn compare(
    target: &Session,
    tables: &mut [Loaded<'_>],
    which: BTreeSet<usize>,
) -> Result<BTreeMap<usize, Differing>> {
    let mut wrong = BTreeMap::new();
    for at in which {
        let Some(loaded) = tables.get_mut(at) else {
            continue;
        };
        let again = std::mem::replace(&mut loaded.compared, true);
        let found = match &loaded.staged.apply {
            Apply::Merge(merge) => merge::compare(target, merge, again).await,
            Apply::Upsert(upsert) => upsert::compare(target, upsert, again).await,
        };
        let found = found.map_err(|error| error.on(&loaded.table.target))?;
        if found != Differing::default() {
            wrong.insert(at, found);
        }
    }
    Ok(wrong)
}

async fn write(
    target: &Session,
    tables: &[Loaded<'_>],
    wrong: &BTreeMap<usize, Differing>,
) -> Result<BTreeMap<usize, Written>> {
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

/// The tables whose rows foreign keys may have changed.
fn reached(tables: &[Loaded<'_>], done: &BTreeMap<usize, Written>) -> BTreeSet<usize> {
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

/// A trigger kept some rows from being written.
fn dropped(target: &Session, loaded: &Loaded<'_>, shortage: Shortage) -> Error {
    let Shortage { what, found, done } = shortage;
    let message = format!("the target has {what} {done} of {}", counted(found, "row"));
    by_code(target, loaded, message)
}

/// The rows are not what they should be though all was written.
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
