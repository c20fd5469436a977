//! A plan as data for people and scripts: what `tableferry plan` prints.

mod statements;

use serde::Serialize;

use crate::config::spec::{JobSpec, Mode};
use crate::error::Side;
use crate::plan::column::CopyFormat;
use crate::plan::copy::{CopyPlan, JobPlan, Load};
use crate::plan::lock::{self, Lock};
use crate::plan::step::{Hook, Step};
use crate::report::Drift;

/// The steps of a run of the job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The job.
    pub job: String,
    /// Its mode.
    pub mode: Mode,
    /// Its tables, in the order of loading.
    pub tables: Vec<TableExplanation>,
    /// The user's own statements, in order. They are among the others, too.
    pub hooks: Vec<ExplainedHook>,
    /// The statements, in order.
    pub statements: Vec<ExplainedStatement>,
    /// The locks that they take on relations.
    pub locks: Vec<Lock>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// How one table is copied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableExplanation {
    /// The source: a relation or `(query)`.
    pub source: String,
    /// The target.
    pub target: String,
    /// `binary` or `text`.
    pub format: &'static str,
    /// Why text.
    pub format_reason: Option<String>,
    /// How the rows that differ are found: `full`, `stream` or `changed`.
    pub compare: Option<&'static str>,
    /// Why not in a cheaper way.
    pub compare_reason: Option<String>,
    /// The expected rows, if the source has been analyzed.
    pub rows_estimate: Option<u64>,
    /// The columns that only one side has. Absent if there are none.
    #[serde(flatten)]
    pub drift: Drift,
    /// The columns, in the order of COPY.
    pub columns: Vec<ColumnExplanation>,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// How one column is copied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ColumnExplanation {
    /// The target's column.
    pub name: String,
    /// The source's type.
    pub source_type: String,
    /// The target's type.
    pub target_type: String,
    /// The expression of `set`.
    pub expression: Option<String>,
    /// `binary` if the column can be copied in either format, else `text`.
    pub format: &'static str,
    /// Why text.
    pub format_reason: Option<String>,
}

/// A statement of `[jobs.NAME.sql]`, which runs on the target. What it locks is not known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedHook {
    /// `before_load`, `before_commit` or `after_commit`.
    pub list: &'static str,
    /// Its place in the list, counted from 1.
    pub number: usize,
    /// The SQL.
    pub sql: String,
}

/// A statement of the run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ExplainedStatement {
    /// The side.
    pub side: Side,
    /// The SQL.
    pub sql: String,
}

/// Explains a plan.
pub fn explain(plan: &JobPlan, job: &JobSpec) -> Explanation {
    Explanation {
        job: job.name.clone(),
        mode: job.mode,
        tables: plan.tables.iter().map(table).collect(),
        hooks: hooks(plan),
        statements: statements::statements(plan, job),
        locks: lock::locks(plan, job),
        warnings: plan.warnings.clone(),
    }
}

/// The user's own statements, in the order in which they run.
fn hooks(plan: &JobPlan) -> Vec<ExplainedHook> {
    let steps = plan.transactions.iter().flat_map(|one| &one.steps);
    let within = steps.filter_map(|step| match step {
        Step::Hooks(hooks) => Some(hooks),
        _ => None,
    });
    let after = plan.transactions.iter().map(|one| &one.after_commit);
    let hooks = within.chain(after).flatten();
    let explained = hooks.map(|Hook { place, sql, .. }| ExplainedHook {
        list: place.0,
        number: place.1,
        sql: sql.clone(),
    });
    explained.collect()
}

fn table(plan: &CopyPlan) -> TableExplanation {
    TableExplanation {
        source: plan.source.clone(),
        target: plan.target_name(),
        format: plan.format.as_str(),
        format_reason: plan.format.reason().map(ToString::to_string),
        compare: plan.compare(),
        compare_reason: compare_reason(plan),
        rows_estimate: plan.rows_estimate,
        drift: plan.drift.clone(),
        columns: plan
            .columns
            .iter()
            .map(|column| ColumnExplanation {
                name: column.name.to_string(),
                source_type: column.source_type.clone(),
                target_type: column.target_type.clone(),
                expression: column.expression.clone(),
                format: match (&plan.format, &column.needs_text) {
                    (CopyFormat::File(layout), _) => layout.format.as_str(),
                    (_, Some(_)) => "text",
                    (_, None) => "binary",
                },
                format_reason: column.needs_text.as_ref().map(ToString::to_string),
            })
            .collect(),
        warnings: plan.warnings.clone(),
    }
}

fn compare_reason(plan: &CopyPlan) -> Option<String> {
    if plan.must_be_empty {
        return Some("the target is empty, so rows are copied into it directly".to_owned());
    }
    plan.compare()?;
    match &plan.load {
        Load::Staged(staged) => staged.way.why().map(str::to_owned),
        Load::Direct | Load::Shadow(_) | Load::File(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::desc::KeyActions;
    use crate::plan::fixtures::{self, column, inspected, table};

    #[test]
    fn a_plan_is_explained_with_its_reasons_statements_and_locks() {
        let entry = inspected(
            table("t", vec![column("id", "int4"), column("name", "text")]),
            table("t", vec![column("id", "int8"), column("name", "text")]),
        );
        let job = fixtures::job(Mode::Truncate);
        let mut plan = crate::plan::job(
            &job,
            vec![entry],
            false,
            fixtures::attempt(),
            &KeyActions::default(),
        )
        .unwrap();
        plan.snapshot.push("BEGIN".to_owned());
        let explained = explain(&plan, &job);

        let table = &explained.tables[0];
        let reason = "id: int4 → int8 differs in its binary form";
        assert_eq!(
            (table.format, table.format_reason.as_deref()),
            ("text", Some(reason))
        );
        let formats: Vec<_> = table.columns.iter().map(|column| column.format).collect();
        assert_eq!(formats, ["text", "binary"]);
        let statements: Vec<_> = explained
            .statements
            .iter()
            .map(|statement| (statement.side, statement.sql.as_str()))
            .collect();
        let (source, target) = (Side::Source, Side::Target);
        assert_eq!(
            statements,
            [
                (source, "BEGIN"),
                (target, "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
                (
                    target,
                    "-- takes the job's advisory lock, drops tables that killed runs of the job left behind"
                ),
                (target, "-- takes the targets' advisory locks"),
                (target, "-- counts the rows that will be replaced"),
                (target, "TRUNCATE TABLE ONLY \"public\".\"t\""),
                (target, "-- compares the definitions with the plan"),
                (
                    source,
                    "COPY \"public\".\"t\" (\"id\", \"name\") TO STDOUT (FORMAT text)"
                ),
                (
                    target,
                    "COPY \"public\".\"t\" (\"id\", \"name\") FROM STDIN (FORMAT text)"
                ),
                (source, "COMMIT"),
                (target, "-- compares the numbers of rows, applies the guard"),
                (target, "SET CONSTRAINTS ALL IMMEDIATE"),
                (target, "-- writes the run's record"),
                (target, "COMMIT"),
                (target, "ANALYZE \"public\".\"t\""),
            ]
        );
        let locks: Vec<_> = explained
            .locks
            .iter()
            .map(|lock| (lock.side, lock.lock))
            .collect();
        assert_eq!(
            locks,
            [
                (Side::Source, "ACCESS SHARE"),
                (Side::Target, "ACCESS EXCLUSIVE"),
                (Side::Target, "SHARE UPDATE EXCLUSIVE")
            ]
        );
        let json = serde_json::to_value(&explained).unwrap();
        assert_eq!(json["tables"][0]["columns"][0]["format_reason"], reason);
        assert_eq!(json["mode"], "truncate");
    }
}
