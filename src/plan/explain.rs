//! A plan as data for people and scripts: what `tableferry plan` prints.

use serde::Serialize;

use crate::catalog::desc::RelationKind;
use crate::config::spec::{JobSpec, Mode};
use crate::error::Side;
use crate::plan::copy::{CopyPlan, JobPlan};

/// What a run of the job would do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The job.
    pub job: String,
    /// Its mode.
    pub mode: Mode,
    /// Its tables, in the order of loading.
    pub tables: Vec<TableExplanation>,
    /// What runs, in order.
    pub statements: Vec<Statement>,
    /// The locks that these take on relations.
    pub locks: Vec<Lock>,
    /// What deserves a word.
    pub warnings: Vec<String>,
}

/// How one table is copied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TableExplanation {
    /// What is read: a relation or `(query)`.
    pub source: String,
    /// What is written.
    pub target: String,
    /// `binary` or `text`.
    pub format: &'static str,
    /// Why text.
    pub format_reason: Option<String>,
    /// Rows expected, where the source has been analysed.
    pub rows_estimate: Option<u64>,
    /// The columns, in the order of COPY.
    pub columns: Vec<ColumnExplanation>,
    /// What deserves a word.
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
    /// The expression that gives it.
    pub expression: Option<String>,
    /// `binary` where both formats can carry it, else `text`.
    pub format: &'static str,
    /// Why text.
    pub format_reason: Option<String>,
}

/// A statement that would run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statement {
    /// Where.
    pub side: Side,
    /// What.
    pub sql: String,
}

/// A lock that a statement takes until the end of its transaction.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Lock {
    /// Where.
    pub side: Side,
    /// On what.
    pub relation: String,
    /// Which one, as in SQL.
    pub lock: &'static str,
    /// What it keeps others from doing.
    pub blocks: &'static str,
}

/// Explains a plan.
pub fn explain(plan: &JobPlan, job: &JobSpec) -> Explanation {
    Explanation {
        job: job.name.clone(),
        mode: job.mode,
        tables: plan.tables.iter().map(table).collect(),
        statements: statements(plan, job),
        locks: locks(plan, job),
        warnings: plan.warnings.clone(),
    }
}

fn table(plan: &CopyPlan) -> TableExplanation {
    TableExplanation {
        source: plan.source.clone(),
        target: plan.target.to_string(),
        format: plan.format.as_str(),
        format_reason: plan.format.reason().map(ToString::to_string),
        rows_estimate: plan.rows_estimate,
        columns: plan
            .columns
            .iter()
            .map(|column| ColumnExplanation {
                name: column.name.to_string(),
                source_type: column.source_type.clone(),
                target_type: column.target_type.clone(),
                expression: column.expression.clone(),
                format: column.needs_text.as_ref().map_or("binary", |_| "text"),
                format_reason: column.needs_text.as_ref().map(ToString::to_string),
            })
            .collect(),
        warnings: plan.warnings.clone(),
    }
}

fn statements(plan: &JobPlan, job: &JobSpec) -> Vec<Statement> {
    let on = |side: Side, sql: &str| Statement {
        side,
        sql: sql.to_owned(),
    };
    let mut list = Vec::new();
    list.extend(plan.truncate.as_deref().map(|sql| on(Side::Target, sql)));
    list.extend(plan.defer.as_deref().map(|sql| on(Side::Target, sql)));
    for table in &plan.tables {
        list.push(on(Side::Source, &table.copy_out));
        list.push(on(Side::Target, &table.copy_in));
    }
    for sequence in plan.tables.iter().flat_map(|table| &table.sequences) {
        list.push(on(Side::Target, &sequence.sql));
    }
    if job.analyze {
        for table in &plan.tables {
            list.push(on(Side::Target, &format!("ANALYZE {}", table.target.sql())));
        }
    }
    list
}

fn locks(plan: &JobPlan, job: &JobSpec) -> Vec<Lock> {
    let mut list = Vec::new();
    for table in &plan.tables {
        let relation = match (&table.source_relation, table.source_kind) {
            (None, _) | (_, RelationKind::Query) => "what the query reads".to_owned(),
            (Some(name), _) => name.to_string(),
        };
        list.push(Lock {
            side: Side::Source,
            relation,
            lock: "ACCESS SHARE",
            blocks: "DDL, TRUNCATE and VACUUM FULL, until the copy ends",
        });
    }
    for table in &plan.tables {
        let (lock, blocks) = match job.mode {
            Mode::Truncate => ("ACCESS EXCLUSIVE", "everybody, readers too, until COMMIT"),
            _ => (
                "ROW EXCLUSIVE",
                "DDL, CREATE INDEX and VACUUM FULL, until COMMIT",
            ),
        };
        list.push(Lock {
            side: Side::Target,
            relation: table.target.to_string(),
            lock,
            blocks,
        });
    }
    list
}
