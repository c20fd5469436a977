//! Decides which run a fire time belongs to if several daemons have the job.
//!
//! There is no leader. The first run that inserts the row of the fire owns it. The other daemons check again
//! until that run has ended. If its heartbeat stops, one of them takes the fire over.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::run_record::RunState;
use super::takeover::{Owner, declare_lost, declare_silent_lost, owner, uuid};
use super::{ask, ask_if_any};
use crate::config::spec::Overlap;
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::report::Elsewhere;
use crate::run::{Orphan, RunContext};

/// Which run a fire belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::run) enum FireClaim {
    /// This run. With `atomic = false`, an earlier run of the same fire, which is now lost, may have
    /// published these tables.
    Ours(BTreeSet<String>),
    /// Another run, with its state and its name.
    Theirs(Elsewhere, String),
}

/// What to do with a fire that a run has claimed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FireDecision {
    /// This run has claimed it, in an earlier attempt.
    Ours,
    /// Its run was lost or stopped: this run takes the fire over.
    TakeOver,
    /// Its run is dead, but not marked lost yet.
    DeclareLost,
    /// Leave it to its run.
    Theirs(Elsewhere),
}

fn judge(owner: &Owner, ours: Uuid, orphan: Option<Uuid>) -> FireDecision {
    match owner.state {
        _ if owner.run_id == ours => FireDecision::Ours,
        Some(RunState::Running) if owner.is_silent || orphan == Some(owner.run_id) => {
            FireDecision::DeclareLost
        }
        Some(RunState::Running) => FireDecision::Theirs(Elsewhere::AtWork),
        // A daemon that was stopped leaves its fires to others.
        Some(RunState::Lost | RunState::Cancelled) => FireDecision::TakeOver,
        Some(RunState::Committed) => FireDecision::Theirs(Elsewhere::Committed),
        // It had its attempts.
        Some(RunState::RolledBack) | None => FireDecision::Theirs(Elsewhere::Ended),
    }
}

/// Marks dead runs lost, and claims the fire of this run. Must be called in a transaction, before the row of
/// this run is written. After COMMIT, the backends of the lost runs must be terminated.
///
/// *Errors:* `Locked` if the transaction of a lost run is not decided yet.
pub(super) async fn claim(
    run: &RunContext,
    target: &Session,
    lost: &mut Vec<Uuid>,
) -> Result<FireClaim> {
    if let Some(orphan) = run.start.orphan {
        let is_lost = declare_lost(target, orphan.run_id).await?;
        lost.extend(is_lost.then_some(orphan.run_id));
        if orphan.is_same && owner(target, orphan.run_id).await?.state == Some(RunState::Committed)
        {
            let who = format!("run {} was committed", orphan.run_id);
            return Ok(FireClaim::Theirs(Elsewhere::Committed, who));
        }
    }
    lost.extend(declare_silent_lost(run, target).await?);
    let Some(due_at) = run.start.due_at.map(|due| due.to_string()) else {
        return Ok(FireClaim::Ours(committed_before(run, target).await?));
    };
    loop {
        let Some(run_id) = claimed_by(run, target, &due_at).await? else {
            // The run of an earlier fire may be active in another daemon.
            if let Some(who) = at_work(run, target).await? {
                return Ok(match run.context.job.schedule.overlap {
                    Overlap::Skip => FireClaim::Theirs(Elsewhere::Ended, who),
                    Overlap::Queue => FireClaim::Theirs(Elsewhere::AtWork, who),
                });
            }
            if insert(run, target, &due_at).await? {
                return Ok(FireClaim::Ours(BTreeSet::new()));
            }
            continue;
        };
        let owner = owner(target, run_id).await?;
        match judge(
            &owner,
            run.context.run_id,
            run.start.orphan.map(|o| o.run_id),
        ) {
            FireDecision::Ours => break,
            FireDecision::DeclareLost => {
                let is_lost = declare_lost(target, run_id).await?;
                lost.extend(is_lost.then_some(run_id));
            }
            FireDecision::TakeOver => {
                take_over(run, target, &due_at).await?;
                break;
            }
            FireDecision::Theirs(elsewhere) => {
                let who = format!("its fire belongs to run {run_id} of {}", owner.instance);
                return Ok(FireClaim::Theirs(elsewhere, who));
            }
        }
    }
    Ok(FireClaim::Ours(committed_before(run, target).await?))
}

async fn insert(run: &RunContext, target: &Session, due_at: &str) -> Result<bool> {
    let sql = "INSERT INTO tableferry.fire (job, due_at, run_id) \
               VALUES ($1, $2::pg_catalog.text::pg_catalog.timestamptz, \
                   $3::pg_catalog.text::pg_catalog.uuid) \
               ON CONFLICT DO NOTHING RETURNING job";
    let run_id = run.context.run_id.to_string();
    let rows = ask(
        target,
        Phase::Prepare,
        sql,
        &[&run.context.job.name, &due_at, &run_id],
    )
    .await;
    Ok(!rows?.is_empty())
}

/// Locks the fire's row, so that only one run can take it over.
async fn claimed_by(run: &RunContext, target: &Session, due_at: &str) -> Result<Option<Uuid>> {
    let sql = "SELECT run_id::pg_catalog.text FROM tableferry.fire WHERE job = $1 \
               AND due_at = $2::pg_catalog.text::pg_catalog.timestamptz FOR UPDATE";
    ask_if_any(
        target,
        Phase::Prepare,
        "the run of a fire time",
        sql,
        &[&run.context.job.name, &due_at],
    )
    .await?
    .map(|row| uuid(target, row.get(0)?))
    .transpose()
}

async fn take_over(run: &RunContext, target: &Session, due_at: &str) -> Result<()> {
    let sql = "UPDATE tableferry.fire SET run_id = $3::pg_catalog.text::pg_catalog.uuid \
               WHERE job = $1 AND due_at = $2::pg_catalog.text::pg_catalog.timestamptz";
    let run_id = run.context.run_id.to_string();
    let taken = ask(
        target,
        Phase::Prepare,
        sql,
        &[&run.context.job.name, &due_at, &run_id],
    )
    .await;
    taken.map(drop)
}

/// Another run of the job that is alive.
async fn at_work(run: &RunContext, target: &Session) -> Result<Option<String>> {
    let sql = "SELECT run_id::pg_catalog.text, instance FROM tableferry.run \
               WHERE job = $1 AND state = 'running' \
               AND run_id <> $2::pg_catalog.text::pg_catalog.uuid LIMIT 1";
    let rows = ask(
        target,
        Phase::Prepare,
        sql,
        &[&run.context.job.name, &run.context.run_id.to_string()],
    )
    .await?;
    let describe = |row: &tokio_postgres::Row| {
        let (run_id, instance): (String, String) = (row.get(0), row.get(1));
        format!("run {run_id} of {instance} is still going")
    };
    Ok(rows.first().map(describe))
}

/// The tables that earlier runs of the same fire have published. With `atomic = false`, a lost run may have
/// published some of its tables.
async fn committed_before(run: &RunContext, target: &Session) -> Result<BTreeSet<String>> {
    let sql = "SELECT DISTINCT t.target FROM tableferry.run_table AS t \
               JOIN tableferry.run AS r ON r.run_id = t.run_id \
               WHERE r.job = $1 AND r.run_id <> $2::pg_catalog.text::pg_catalog.uuid \
               AND (r.due_at = $3::pg_catalog.text::pg_catalog.timestamptz \
                    OR r.run_id = $4::pg_catalog.text::pg_catalog.uuid)";
    let due_at = run.start.due_at.map(|due| due.to_string());
    let same = |orphan: Orphan| orphan.is_same.then_some(orphan.run_id.to_string());
    let same = run.start.orphan.and_then(same);
    if run.context.job.atomic || due_at.is_none() && same.is_none() {
        return Ok(BTreeSet::new());
    }
    let run_id = run.context.run_id.to_string();
    let rows = ask(
        target,
        Phase::Prepare,
        sql,
        &[&run.context.job.name, &run_id, &due_at, &same],
    )
    .await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const OURS: Uuid = Uuid::from_u128(1);
    const THEIRS: Uuid = Uuid::from_u128(2);

    #[rstest]
    #[case::our_own_claim_of_an_earlier_attempt(
        OURS,
        Some(RunState::Running),
        false,
        None,
        FireDecision::Ours
    )]
    #[case::alive(
        THEIRS,
        Some(RunState::Running),
        false,
        None,
        FireDecision::Theirs(Elsewhere::AtWork)
    )]
    #[case::silent(THEIRS, Some(RunState::Running), true, None, FireDecision::DeclareLost)]
    #[case::known_to_be_dead(
        THEIRS,
        Some(RunState::Running),
        false,
        Some(THEIRS),
        FireDecision::DeclareLost
    )]
    #[case::another_is_known_to_be_dead(
        THEIRS,
        Some(RunState::Running),
        false,
        Some(Uuid::from_u128(3)),
        FireDecision::Theirs(Elsewhere::AtWork)
    )]
    #[case::lost(THEIRS, Some(RunState::Lost), true, None, FireDecision::TakeOver)]
    #[case::stopped(THEIRS, Some(RunState::Cancelled), true, None, FireDecision::TakeOver)]
    #[case::done(
        THEIRS,
        Some(RunState::Committed),
        true,
        None,
        FireDecision::Theirs(Elsewhere::Committed)
    )]
    #[case::done_by_one_that_died_then(
        THEIRS,
        Some(RunState::Committed),
        true,
        Some(THEIRS),
        FireDecision::Theirs(Elsewhere::Committed)
    )]
    #[case::failed(
        THEIRS,
        Some(RunState::RolledBack),
        true,
        None,
        FireDecision::Theirs(Elsewhere::Ended)
    )]
    #[case::forgotten(THEIRS, None, true, None, FireDecision::Theirs(Elsewhere::Ended))]
    fn a_claimed_fire_is_left_alone_unless_nobody_is_at_work_on_it(
        #[case] run_id: Uuid,
        #[case] state: Option<RunState>,
        #[case] is_silent: bool,
        #[case] orphan: Option<Uuid>,
        #[case] expected: FireDecision,
    ) {
        let owner = Owner {
            run_id,
            state,
            instance: "elsewhere:1".to_owned(),
            is_silent,
        };
        assert_eq!(judge(&owner, OURS, orphan), expected);
    }
}
