//! Which run a fire time belongs to, where several daemons know the job.
//!
//! There is no leader: the first daemon that inserts the fire's row has it. The others look again
//! until that run has ended, or is no longer heard of; then one of them takes its fire over.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::entry::State;
use super::takeover::{Owner, declare_lost, declare_silent_lost, owner, uuid};
use super::{ask, ask_if_any};
use crate::config::spec::Overlap;
use crate::error::{Phase, Result};
use crate::pg::session::Session;
use crate::report::Elsewhere;
use crate::run::{Context, Orphan};

/// Whose work a run's is.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::run) enum Claim {
    /// Ours. An earlier run of the same fire, now lost, may have published these tables already,
    /// with `atomic = false`.
    Ours(BTreeSet<String>),
    /// Another run's, and who that is.
    Theirs(Elsewhere, String),
}

/// What to do about a fire that was claimed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// By this run, in an earlier attempt.
    Ours,
    /// Its run came to nothing through no fault of the job.
    TakeOver,
    /// Nobody is at work on it, but that is not on record yet.
    DeclareLost,
    /// Leave it.
    Theirs(Elsewhere),
}

fn judge(owner: &Owner, ours: Uuid, orphan: Option<Uuid>) -> Verdict {
    match owner.state {
        _ if owner.run_id == ours => Verdict::Ours,
        Some(State::Running) if owner.is_silent || orphan == Some(owner.run_id) => {
            Verdict::DeclareLost
        }
        Some(State::Running) => Verdict::Theirs(Elsewhere::AtWork),
        // A daemon that was stopped leaves its fires to others.
        Some(State::Lost | State::Cancelled) => Verdict::TakeOver,
        Some(State::Committed) => Verdict::Theirs(Elsewhere::Committed),
        // It had its attempts.
        Some(State::RolledBack) | None => Verdict::Theirs(Elsewhere::Ended),
    }
}

/// Declares lost what is lost, and claims the run's fire. To be called in a transaction, before the
/// run's own row is written; then, after COMMIT, the lost runs are to be evicted.
///
/// *Errors:* `Locked` where a lost run's transaction is not decided yet.
pub(super) async fn claim(
    context: &Context,
    target: &Session,
    lost: &mut Vec<Uuid>,
) -> Result<Claim> {
    if let Some(orphan) = context.orphan {
        let is_lost = declare_lost(target, orphan.run_id).await?;
        lost.extend(is_lost.then_some(orphan.run_id));
        if orphan.is_same && owner(target, orphan.run_id).await?.state == Some(State::Committed) {
            let who = format!("run {} was committed", orphan.run_id);
            return Ok(Claim::Theirs(Elsewhere::Committed, who));
        }
    }
    lost.extend(declare_silent_lost(context, target).await?);
    let Some(due_at) = context.due_at.map(|due| due.to_string()) else {
        return Ok(Claim::Ours(published(context, target).await?));
    };
    loop {
        let Some(run_id) = claimed_by(context, target, &due_at).await? else {
            // An earlier fire's run may be at work elsewhere.
            if let Some(who) = at_work(context, target).await? {
                return Ok(match context.job.schedule.overlap {
                    Overlap::Skip => Claim::Theirs(Elsewhere::Ended, who),
                    Overlap::Queue => Claim::Theirs(Elsewhere::AtWork, who),
                });
            }
            if insert(context, target, &due_at).await? {
                return Ok(Claim::Ours(BTreeSet::new()));
            }
            continue;
        };
        let owner = owner(target, run_id).await?;
        match judge(&owner, context.run_id, context.orphan.map(|o| o.run_id)) {
            Verdict::Ours => break,
            Verdict::DeclareLost => {
                let is_lost = declare_lost(target, run_id).await?;
                lost.extend(is_lost.then_some(run_id));
            }
            Verdict::TakeOver => {
                take_over(context, target, &due_at).await?;
                break;
            }
            Verdict::Theirs(elsewhere) => {
                let who = format!("its fire belongs to run {run_id} of {}", owner.instance);
                return Ok(Claim::Theirs(elsewhere, who));
            }
        }
    }
    Ok(Claim::Ours(published(context, target).await?))
}

async fn insert(context: &Context, target: &Session, due_at: &str) -> Result<bool> {
    let sql = "INSERT INTO tableferry.fire (job, due_at, run_id) \
               VALUES ($1, $2::pg_catalog.text::pg_catalog.timestamptz, \
                   $3::pg_catalog.text::pg_catalog.uuid) \
               ON CONFLICT DO NOTHING RETURNING job";
    let run_id = context.run_id.to_string();
    let rows = ask(
        target,
        Phase::Prepare,
        sql,
        &[&context.job.name, &due_at, &run_id],
    )
    .await;
    Ok(!rows?.is_empty())
}

/// Locks the fire's row: of those that want to take it over, one is first.
async fn claimed_by(context: &Context, target: &Session, due_at: &str) -> Result<Option<Uuid>> {
    let sql = "SELECT run_id::pg_catalog.text FROM tableferry.fire WHERE job = $1 \
               AND due_at = $2::pg_catalog.text::pg_catalog.timestamptz FOR UPDATE";
    ask_if_any(
        target,
        Phase::Prepare,
        "the run of a fire time",
        sql,
        &[&context.job.name, &due_at],
    )
    .await?
    .map(|row| uuid(target, row.get(0)?))
    .transpose()
}

async fn take_over(context: &Context, target: &Session, due_at: &str) -> Result<()> {
    let sql = "UPDATE tableferry.fire SET run_id = $3::pg_catalog.text::pg_catalog.uuid \
               WHERE job = $1 AND due_at = $2::pg_catalog.text::pg_catalog.timestamptz";
    let run_id = context.run_id.to_string();
    let taken = ask(
        target,
        Phase::Prepare,
        sql,
        &[&context.job.name, &due_at, &run_id],
    )
    .await;
    taken.map(drop)
}

/// Another run of the job that is alive.
async fn at_work(context: &Context, target: &Session) -> Result<Option<String>> {
    let sql = "SELECT run_id::pg_catalog.text, instance FROM tableferry.run \
               WHERE job = $1 AND state = 'running' \
               AND run_id <> $2::pg_catalog.text::pg_catalog.uuid LIMIT 1";
    let rows = ask(
        target,
        Phase::Prepare,
        sql,
        &[&context.job.name, &context.run_id.to_string()],
    )
    .await?;
    let describe = |row: &tokio_postgres::Row| {
        let (run_id, instance): (String, String) = (row.get(0), row.get(1));
        format!("run {run_id} of {instance} is still going")
    };
    Ok(rows.first().map(describe))
}

/// What earlier runs of the same fire have published: with `atomic = false` a lost one may have come
/// half the way.
async fn published(context: &Context, target: &Session) -> Result<BTreeSet<String>> {
    let sql = "SELECT DISTINCT t.target FROM tableferry.run_table AS t \
               JOIN tableferry.run AS r ON r.run_id = t.run_id \
               WHERE r.job = $1 AND r.run_id <> $2::pg_catalog.text::pg_catalog.uuid \
               AND (r.due_at = $3::pg_catalog.text::pg_catalog.timestamptz \
                    OR r.run_id = $4::pg_catalog.text::pg_catalog.uuid)";
    let due_at = context.due_at.map(|due| due.to_string());
    let same = |orphan: Orphan| orphan.is_same.then_some(orphan.run_id.to_string());
    let same = context.orphan.and_then(same);
    if context.job.atomic || due_at.is_none() && same.is_none() {
        return Ok(BTreeSet::new());
    }
    let run_id = context.run_id.to_string();
    let rows = ask(
        target,
        Phase::Prepare,
        sql,
        &[&context.job.name, &run_id, &due_at, &same],
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
        Some(State::Running),
        false,
        None,
        Verdict::Ours
    )]
    #[case::alive(
        THEIRS,
        Some(State::Running),
        false,
        None,
        Verdict::Theirs(Elsewhere::AtWork)
    )]
    #[case::silent(THEIRS, Some(State::Running), true, None, Verdict::DeclareLost)]
    #[case::known_to_be_dead(
        THEIRS,
        Some(State::Running),
        false,
        Some(THEIRS),
        Verdict::DeclareLost
    )]
    #[case::another_is_known_to_be_dead(
        THEIRS,
        Some(State::Running),
        false,
        Some(Uuid::from_u128(3)),
        Verdict::Theirs(Elsewhere::AtWork)
    )]
    #[case::lost(THEIRS, Some(State::Lost), true, None, Verdict::TakeOver)]
    #[case::stopped(THEIRS, Some(State::Cancelled), true, None, Verdict::TakeOver)]
    #[case::done(
        THEIRS,
        Some(State::Committed),
        true,
        None,
        Verdict::Theirs(Elsewhere::Committed)
    )]
    #[case::done_by_one_that_died_then(
        THEIRS,
        Some(State::Committed),
        true,
        Some(THEIRS),
        Verdict::Theirs(Elsewhere::Committed)
    )]
    #[case::failed(
        THEIRS,
        Some(State::RolledBack),
        true,
        None,
        Verdict::Theirs(Elsewhere::Ended)
    )]
    #[case::forgotten(THEIRS, None, true, None, Verdict::Theirs(Elsewhere::Ended))]
    fn a_claimed_fire_is_left_alone_unless_nobody_is_at_work_on_it(
        #[case] run_id: Uuid,
        #[case] state: Option<State>,
        #[case] is_silent: bool,
        #[case] orphan: Option<Uuid>,
        #[case] expected: Verdict,
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
