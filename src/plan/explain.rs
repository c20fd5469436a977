//! A plan as data for people and scripts: what `tableferry plan` prints.

use serde::Serialize;

use crate::catalog::desc::RelationKind;
use crate::config::spec::{JobSpec, Mode, Verify};
use crate::error::Side;
use crate::plan::checksum::{self, Alphabet};
use crate::plan::compare::Writer;
use crate::plan::copy::{CopyPlan, JobPlan};
use crate::plan::swap::{self, Moment};
use crate::plan::{pieces, split, sql, staged};

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

/// The statements in order, those of each side's transaction and the ANALYZE after it. What only
/// reads catalogues, counts rows or keeps the ledger is left out.
fn statements(plan: &JobPlan, job: &JobSpec) -> Vec<Statement> {
    let mut list = Vec::new();
    let mut on = |side: Side, sql: &str| {
        list.push(Statement {
            side,
            sql: sql.to_owned(),
        });
    };
    on(
        Side::Source,
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    );
    if let Some(lock) = source_lock(plan) {
        on(Side::Source, &lock);
    }
    if plan.workers > 1 {
        on(Side::Source, "SELECT pg_catalog.pg_export_snapshot()");
    }
    let parts = split::transactions(job, plan.clone());
    for (at, part) in parts.iter().enumerate() {
        transaction(job, part, at + 1 == parts.len(), &mut on);
    }
    list
}

/// One of the target's transactions. The source's ends with the last one's load.
fn transaction(job: &JobSpec, plan: &JobPlan, last: bool, on: &mut impl FnMut(Side, &str)) {
    on(
        Side::Target,
        "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
    );
    let first = match &plan.truncate {
        Some(truncate) => Some(truncate.clone()),
        None => sql::lock_targets(&plan.tables),
    };
    for statement in [&first, &plan.defer].into_iter().flatten() {
        on(Side::Target, statement);
    }
    for statement in staged::of(plan).flat_map(|(_, staged)| &staged.create) {
        on(Side::Target, statement);
    }
    for statement in swap::statements(plan, Moment::Make) {
        on(Side::Target, statement);
    }
    for piece in pieces::queue(plan) {
        on(Side::Source, piece.copy_out);
        on(Side::Target, &plan.tables[piece.table].copy_in);
    }
    let checksum = job.verify == Verify::Checksum;
    if last && !checksum {
        on(Side::Source, "COMMIT");
    }
    for statement in staged::statements(plan) {
        on(Side::Target, statement);
    }
    on(Side::Target, "SET CONSTRAINTS ALL IMMEDIATE");
    for moment in [Moment::Index, Moment::Build] {
        for statement in swap::statements(plan, moment) {
            on(Side::Target, statement);
        }
    }
    for sequence in plan.tables.iter().flat_map(|table| &table.sequences) {
        on(Side::Target, &sequence.sql);
    }
    for statement in swap::statements(plan, Moment::Attach) {
        on(Side::Target, statement);
    }
    for table in plan.tables.iter().filter(|_| checksum) {
        // Which encodings they have, only the servers know.
        let sql = |writer| {
            let from = table.loaded_from();
            checksum::digest(&table.comparison, writer, &Alphabet::Plain, &from)
        };
        on(Side::Source, &sql(Writer::Source));
        on(Side::Target, &sql(Writer::Target));
    }
    if last && checksum {
        on(Side::Source, "COMMIT");
    }
    for statement in staged::of(plan).filter_map(|(_, staged)| staged.drop.as_ref()) {
        on(Side::Target, statement);
    }
    let publish = swap::publish(&plan.tables);
    let last = publish.lock.iter().chain(&publish.keys);
    for statement in last.chain(&publish.swap) {
        on(Side::Target, statement);
    }
    on(Side::Target, "COMMIT");
    if job.analyze && job.mode != Mode::Swap {
        for table in &plan.tables {
            on(Side::Target, &format!("ANALYZE {}", table.target.sql()));
        }
    }
}

/// The LOCK of what the plan names. What a query reads is only known to the source.
fn source_lock(plan: &JobPlan) -> Option<String> {
    let mut list: Vec<String> = plan
        .tables
        .iter()
        .filter_map(|table| {
            let name = table.source_relation.as_ref()?;
            match table.source_kind {
                RelationKind::Table => Some(format!("ONLY {}", name.sql())),
                RelationKind::Partitioned | RelationKind::View => Some(name.sql()),
                RelationKind::MaterializedView | RelationKind::Foreign | RelationKind::Query => {
                    None
                }
            }
        })
        .collect();
    list.sort();
    list.dedup();
    (!list.is_empty()).then(|| format!("LOCK TABLE {} IN ACCESS SHARE MODE", list.join(", ")))
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
            Mode::Swap => (
                "SHARE UPDATE EXCLUSIVE, then ACCESS EXCLUSIVE",
                "DDL and VACUUM; everybody for the moment of publishing",
            ),
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
    list.extend(swap::other_locks(&plan.tables));
    list
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
        let plan = crate::plan::job(
            &job,
            vec![entry],
            false,
            fixtures::attempt(),
            &KeyActions::default(),
        )
        .unwrap();
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
        assert_eq!(
            statements,
            [
                (
                    Side::Source,
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                ),
                (
                    Side::Source,
                    "LOCK TABLE ONLY \"public\".\"t\" IN ACCESS SHARE MODE"
                ),
                (
                    Side::Target,
                    "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
                ),
                (Side::Target, "TRUNCATE TABLE ONLY \"public\".\"t\""),
                (
                    Side::Source,
                    "COPY (SELECT \"id\", \"name\" FROM ONLY \"public\".\"t\") TO STDOUT (FORMAT text)"
                ),
                (
                    Side::Target,
                    "COPY \"public\".\"t\" (\"id\", \"name\") FROM STDIN (FORMAT text)"
                ),
                (Side::Source, "COMMIT"),
                (Side::Target, "SET CONSTRAINTS ALL IMMEDIATE"),
                (Side::Target, "COMMIT"),
                (Side::Target, "ANALYZE \"public\".\"t\""),
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
                (Side::Target, "ACCESS EXCLUSIVE")
            ]
        );
        let json = serde_json::to_value(&explained).unwrap();
        assert_eq!(json["tables"][0]["columns"][0]["format_reason"], reason);
        assert_eq!(json["mode"], "truncate");
    }
}
