//! Statements of the user's own on the target: `[jobs.NAME.sql]`.

use super::cancel::Cancelled;
use super::context::RunContext;
use super::ends::{End, Ends};
use super::ledger;
use crate::config::spec::JobSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::session::Session;
use crate::plan::step::Hook;
use crate::report::Event;

/// The command tags of statements after which a transaction is another one. The configuration refuses these; a
/// server's extension may have others that end in them.
const CONTROL_TAGS: [&str; 4] = ["BEGIN", "COMMIT", "ROLLBACK", "PREPARE TRANSACTION"];

/// Runs statements in the publishing transaction.
///
/// *Errors:* the server's, with the list and the number of the statement; `Config` if a setting that the copy relies on
/// is another one afterwards.
pub(super) async fn run(target: &Session, job: &JobSpec, hooks: &[Hook]) -> Result<()> {
    let phase = hooks.first().map_or(Phase::Prepare, |hook| hook.phase);
    if phase == Phase::Publish {
        // `swap` takes its own locks with a shorter one.
        let set = format!("SET LOCAL lock_timeout = {}", job.lock_timeout.as_millis());
        target.run(phase, &set).await?;
    }
    for hook in hooks {
        execute(target, hook).await?;
    }
    match phase {
        // Nothing is read or written after them.
        Phase::Publish => Ok(()),
        _ => target.verify(phase).await.map_err(of_settings),
    }
}

/// SET could change how values are read, and the rows with it.
fn of_settings(error: Error) -> Error {
    match (error.kind(), error.sqlstate()) {
        (ErrorKind::Config, None) => {
            let message = format!(
                "sql.before_load has changed what the copy relies on: {}",
                error.message()
            );
            let server = error.server().unwrap_or_default().to_owned();
            Error::new(ErrorKind::Config, error.phase(), Side::Target, message)
                .at(&server)
                .hinted("remove the SET from `sql.before_load`")
        }
        _ => error,
    }
}

/// Runs the statements after COMMIT, each in a transaction of its own, up to the first that fails. The run stays
/// committed. The error is told and recorded.
pub(super) async fn after_commit(
    run: &RunContext,
    ends: &mut Ends,
    cancelled: &Cancelled,
    hooks: &[Hook],
) -> Option<Error> {
    let error = all(run, ends, cancelled, hooks).await.err()?;
    run.context
        .tell(Event::Warned(format!("the run is committed, but {error}")));
    Some(error)
}

async fn all(
    run: &RunContext,
    ends: &mut Ends,
    cancelled: &Cancelled,
    hooks: &[Hook],
) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    if !ends.has_target() {
        // The connection was lost during COMMIT, which was then resolved.
        ends.open_target(&run.context).await?;
    }
    let End::Server(target) = ends.target()? else {
        return Ok(());
    };
    for hook in hooks {
        let stopped = async {
            cancelled.cancelled().await;
            let message = "not run to its end: cancelled by a signal";
            Error::new(ErrorKind::Cancelled, hook.phase, Side::Target, message)
        };
        let done = tokio::select! {
            biased;
            done = execute(target, hook) => done,
            error = stopped => Err(error.at_place(&hook.to_string()).at(target.server())),
        };
        if let Err(error) = done {
            ledger::after_commit_failed(run, target, &error).await;
            return Err(error);
        }
    }
    Ok(())
}

async fn execute(target: &Session, hook: &Hook) -> Result<()> {
    target.tap().take_tag();
    let done = target.execute(hook.phase, &hook.sql).await;
    done.map_err(|error| match error.sqlstate() {
        // "cannot insert multiple commands into a prepared statement" is one of them.
        Some("42601") => error.hinted("each text of the list is one statement"),
        _ => error,
    })
    .map_err(|error| error.at_place(&hook.to_string()))?;
    match target.tap().take_tag() {
        Some(tag) if CONTROL_TAGS.contains(&tag.as_str()) => {
            let message =
                format!("{hook}: the server answered {tag}: it has begun or ended a transaction");
            Err(
                Error::new(ErrorKind::Config, hook.phase, Side::Target, message)
                    .at(target.server()),
            )
        }
        _ => Ok(()),
    }
}
