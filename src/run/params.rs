//! The values of `:'name'` in the SQL of a job.

use std::collections::BTreeMap;

use super::context::RunContext;
use super::ends::{End, TargetEnd};
use super::ledger;
use crate::config::spec::LAST_SUCCESS;
use crate::error::Result;
use crate::pg::session::Session;
use crate::pg::variables;

/// The same run with literals in the SQL of its job, in place of parameters. None if the job names none.
///
/// *Errors:* those of reading the ledger, if `last_success` is used.
pub(super) async fn resolved(
    run: &RunContext,
    target: TargetEnd<'_>,
) -> Result<Option<RunContext>> {
    let target = match target {
        End::Server(target) => Some(target),
        End::Files(_) => None,
    };
    with_values(run, target).await
}

/// The same on a session.
pub(super) async fn with_values(
    run: &RunContext,
    target: Option<&Session>,
) -> Result<Option<RunContext>> {
    let job = &run.context.job;
    if job.params_used.is_empty() {
        return Ok(None);
    }
    let mut values: BTreeMap<&str, String> = job
        .params
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let due_at = run.start.due_at.unwrap_or(run.start.started_at);
    values.insert("due_at", due_at.to_string());
    values.insert("run_id", run.context.run_id.to_string());
    if job.params_used.contains(LAST_SUCCESS)
        && let Some(time) = ledger::last_success(run, target).await?
    {
        values.insert(LAST_SUCCESS, time.to_string());
    }
    let value = |name: &str| values.get(name).map(String::as_str);
    let mut run = run.clone();
    run.context.job = run
        .context
        .job
        .with_sql(|sql| variables::replaced(sql, value));
    Ok(Some(run))
}
