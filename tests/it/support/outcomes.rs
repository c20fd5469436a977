//! Helpers of most tests of a run: configure a job, run it, and assert its outcome.

use serde_json::Value;

use super::database::Databases;
use super::job::{Outcome, job};
use super::{PATIENCE, wait_until};

/// The job `j` from `source` to `target`, which makes one attempt. `tables` is a relation or a
/// pattern, none if empty; `more` is TOML.
pub fn job_toml(mode: &str, tables: &str, more: &str) -> String {
    let tables = match tables {
        "" => String::new(),
        some => format!("tables = ['{some}']\n"),
    };
    format!(
        "[jobs.j]\nsource = 'source'\ntarget = 'target'\nmode = '{mode}'\n{tables}\
         retry = {{ max = 0 }}\n{more}\n"
    )
}

/// The same for all tables of schema `public`.
pub fn all_of_public(mode: &str, more: &str) -> String {
    job_toml(mode, "public.*", more)
}

/// The same for `public.t`; `more` is TOML of the job, and `of_table` of its table.
pub fn only_t(mode: &str, more: &str, of_table: &str) -> String {
    job_toml(
        mode,
        "",
        &format!("{more}[jobs.j.table.'public.t']\n{of_table}"),
    )
}

/// Runs the job `j` of this configuration.
#[track_caller]
pub fn run(db: &Databases<'_>, jobs: &str) -> Outcome {
    job(db, jobs).run(&["run", "j", "--json"])
}

/// Runs it after all transactions that are open on the shared source have ended. Otherwise the next run
/// with a watermark would read rows again.
#[track_caller]
pub fn run_alone(db: &Databases<'_>, jobs: &str) -> Outcome {
    db.source.wait_for_transactions();
    run(db, jobs)
}

/// Asserts that the run committed. Returns the report of its tables.
#[track_caller]
pub fn assert_committed(outcome: &Outcome) -> &Value {
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.report()["outcome"], "committed", "{outcome}");
    assert_eq!(outcome.report()["error"], Value::Null, "{outcome}");
    &outcome.report()["tables"]
}

/// Asserts that the run rolled back with an error of this kind whose text contains all of `parts`. Returns
/// the error.
#[track_caller]
pub fn assert_refused<'o>(outcome: &'o Outcome, kind: &str, parts: &[&str]) -> &'o Value {
    assert_eq!(outcome.code, Some(1), "{outcome}");
    assert_eq!(outcome.report()["outcome"], "rolled_back", "{outcome}");
    let error = &outcome.report()["error"];
    assert_eq!(error["kind"], kind, "{outcome}");
    for part in parts {
        assert!(
            outcome.stderr.contains(part),
            "{part:?} is missing in\n{outcome}"
        );
    }
    error
}

/// Rows that were inserted, updated and deleted in this table of a report.
#[track_caller]
pub fn changes(table: &Value) -> [u64; 3] {
    ["rows_inserted", "rows_updated", "rows_deleted"].map(|key| table[key].as_u64().unwrap())
}
