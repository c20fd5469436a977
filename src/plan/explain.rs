//! A plan as data for people and scripts: what `tableferry plan` prints.

use serde::Serialize;

use crate::config::spec::{JobSpec, Mode};
use crate::error::Side;
use crate::plan::checksum::{self, Alphabet};
use crate::plan::column::CopyFormat;
use crate::plan::copy::{CopyPlan, JobPlan, Load};
use crate::plan::form::ComparedSide;
use crate::plan::lock::{self, Lock};
use crate::plan::resume::types::BringUp;
use crate::plan::staged::listing;
use crate::plan::staged::types::Changed;
use crate::plan::step::{Publish, Step};
use crate::plan::{ctid_ranges, swap};

/// The steps of a run of the job.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The job.
    pub job: String,
    /// Its mode.
    pub mode: Mode,
    /// Its tables, in the order of loading.
    pub tables: Vec<TableExplanation>,
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
        statements: statements(plan, job),
        locks: lock::locks(plan, job),
        warnings: plan.warnings.clone(),
    }
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

/// The statements in order. Steps that only read catalogs, apply the guard or write the ledger are shown as
/// comments.
fn statements(plan: &JobPlan, job: &JobSpec) -> Vec<ExplainedStatement> {
    let mut list = Statements(Vec::new());
    for sql in &plan.snapshot {
        list.source(sql);
    }
    if !job.atomic {
        list.target(
            "-- in a session of its own: takes the job's advisory lock, drops tables that killed runs left behind",
        );
    }
    for transaction in &plan.transactions {
        let tables = plan.tables_of(transaction);
        for step in &transaction.steps {
            list.step(step, tables, plan.workers);
        }
        match transaction.publish {
            Publish::Commit => list.target("COMMIT"),
            Publish::RollBack => list.target("ROLLBACK"),
            Publish::GoOn => {}
            Publish::RenameFiles => {
                list.target("-- when all files are written: renames them to their names");
                list.target("-- syncs their directories");
            }
        }
        for statement in &transaction.after {
            list.target(&statement.sql);
        }
    }
    list.0
}

/// Of partitions that are not known yet.
const MAKES: &str = "-- makes partitions for keys that have none, like their neighbours, under SHARE UPDATE EXCLUSIVE";

struct Statements(Vec<ExplainedStatement>);

impl Statements {
    fn on(&mut self, side: Side, sql: &str) {
        self.0.push(ExplainedStatement {
            side,
            sql: sql.to_owned(),
        });
    }

    fn source(&mut self, sql: &str) {
        self.on(Side::Source, sql);
    }

    fn target(&mut self, sql: &str) {
        self.on(Side::Target, sql);
    }

    fn all<'a>(&mut self, statements: impl IntoIterator<Item = &'a str>) {
        statements.into_iter().for_each(|sql| self.target(sql));
    }

    fn step(&mut self, step: &Step, tables: &[CopyPlan], workers: u32) {
        match step {
            Step::Begin => self.target("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
            Step::LockJob => {
                self.target(
                    "-- takes the job's advisory lock, drops tables that killed runs of the job left behind",
                );
            }
            Step::LockTargets => self.target("-- takes the targets' advisory locks"),
            Step::CountReplaced => self.target("-- counts the rows that will be replaced"),
            Step::Statement(statement) | Step::MoveSequence(statement) => {
                self.target(&statement.sql)
            }
            Step::FreeNames => {
                self.target(
                    "-- drops new tables that a killed run left behind, compares what is attached",
                );
            }
            Step::CompareDefinitions => self.target("-- compares the definitions with the plan"),
            Step::CheckEmpty => {
                let empty = tables.iter().filter(|table| table.must_be_empty);
                empty.for_each(|table| self.target(&table.has_rows()));
            }
            Step::NoteTargets => {
                self.target("-- notes the snapshot, for the next run to tell what has changed");
            }
            Step::OpenWorkers => {
                self.source("SELECT pg_catalog.pg_export_snapshot()");
                self.source(&format!(
                    "-- opens connections for {workers} workers on each side"
                ));
            }
            Step::OpenReader => {
                self.target("-- on a second connection, which reads:");
                self.target("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY");
                self.all(listing::reader_lock(tables).as_deref());
            }
            Step::Make => self.make(tables, workers),
            Step::FindPartitions => self.find_partitions(tables),
            Step::Copy => self.copy(tables, workers),
            Step::BringUp => self.bring_up(tables),
            Step::Judge => self.judge(tables),
            Step::NoteSnapshots => {
                self.target("-- records which snapshots are older than the rows")
            }
            Step::EndSnapshot => self.source("COMMIT"),
            Step::Gate => self.target("-- compares the numbers of rows, applies the guard"),
            Step::CheckKeys => {
                let missing = tables.iter().filter_map(|t| t.partitions.missing.as_ref());
                if missing.filter(|missing| !missing.on_source).count() > 0 {
                    self.target(MAKES);
                }
                self.all(listing::key_checks(tables));
            }
            Step::Apply => self.apply(tables),
            Step::BuildIndexes => {
                let shadows = swap::shadows(tables).flat_map(|(_, shadow)| &shadow.indexes);
                self.all(shadows.flatten().map(String::as_str));
            }
            Step::CompareChecksums => self.checksums(tables),
            Step::Record => self.target("-- writes the run's record"),
            Step::WaitForSnapshots => self.target("-- waits until these snapshots have ended"),
            Step::ReplaceTargets => self.replace_targets(tables),
        }
    }

    fn find_partitions(&mut self, tables: &[CopyPlan]) {
        for table in tables {
            let counted = table.partitions.on_source.iter();
            counted.for_each(|found| self.source(&found.count));
            let missing = table.partitions.missing.iter();
            if missing.filter(|missing| missing.on_source).count() > 0 {
                self.source("-- finds keys without a partition on the target");
                self.target(MAKES);
            }
        }
    }

    fn judge(&mut self, tables: &[CopyPlan]) {
        let staged = listing::of(tables).flat_map(|(_, staged)| &staged.judge);
        let statements: Vec<&str> = staged.map(String::as_str).collect();
        if !statements.is_empty() {
            self.target("-- again, as long as they reject rows; $1 is the run, $2 the job:");
            self.all(statements);
        }
    }

    fn apply(&mut self, tables: &[CopyPlan]) {
        self.all(listing::changes(tables));
        let again = listing::compared_again(tables);
        if !again.is_empty() {
            self.target("-- again, as long as there are differences, for a few rounds:");
            self.all(again);
        }
    }

    fn replace_targets(&mut self, tables: &[CopyPlan]) {
        self.target("-- in attempts with a budget of time for all locks together:");
        let publish = swap::publish_sql(tables);
        if !publish.keys.is_empty() {
            self.target(
                "-- only if the tables of the foreign keys are larger than 2 MiB together:",
            );
            self.all(publish.lock_referenced.iter().map(|(_, sql)| sql.as_str()));
            self.all(publish.keys.iter().map(String::as_str));
            self.target("-- in any case:");
        }
        self.all(publish.lock.iter().map(|(_, sql)| sql.as_str()));
        let early = publish.keys_early.iter();
        let statements = early.chain(&publish.swap).chain(&publish.keys_late);
        self.all(statements.map(String::as_str));
    }

    /// With several workers, each creates the shadows that it loads whole.
    fn make(&mut self, tables: &[CopyPlan], workers: u32) {
        for table in tables {
            if let Some(kept) = table.kept() {
                self.target("-- keeps what a run that died has loaded:");
                self.all(kept.adopt.iter().map(String::as_str));
                continue;
            }
            match &table.load {
                Load::Direct | Load::File(_) => {}
                Load::Staged(staged) if staged.is_created_late() => {}
                Load::Staged(staged) => self.all(staged.create.iter().map(String::as_str)),
                Load::Shadow(_) if workers > 1 && !table.is_cut() => {}
                Load::Shadow(shadow) => self.all(shadow.make.iter().map(String::as_str)),
            }
            let resume = table.resume.iter();
            self.all(resume.flat_map(|r| &r.create).map(String::as_str));
        }
    }

    fn bring_up(&mut self, tables: &[CopyPlan]) {
        for table in tables {
            let (Some(resume), Some(kept)) = (&table.resume, table.kept()) else {
                continue;
            };
            let BringUp {
                lock,
                create,
                copy_in,
                analyze,
                delete,
                insert,
                count,
                ..
            } = &kept.bring_up;
            self.target("-- on a second connection, which reads:");
            self.target(lock);
            self.target(create);
            self.target("-- with the transactions that have loaded rows of this run, too:");
            self.changed(&kept.bring_up.changed(&kept.list));
            self.all([copy_in, analyze, delete, insert, count].map(String::as_str));
            self.target("-- $1 describes the source's snapshot:");
            self.all(resume.record().iter().map(String::as_str));
            self.target(&resume.own());
        }
    }

    fn changed(&mut self, changed: &Changed) {
        self.source(&changed.source.spread);
        self.target(&changed.target.spread);
        self.target("-- on both sides, with a number of bits that suits the keys:");
        self.source(&changed.source.scan(1));
        self.target(&changed.target.scan(1));
        self.target(
            "-- on both sides, with the ranges in which something has changed, if there are any:",
        );
        self.source(&changed.source.rows(&[(0, 1)]));
        self.target(&changed.target.rows(&[(0, 1)]));
    }

    fn copy(&mut self, tables: &[CopyPlan], workers: u32) {
        for range in ctid_ranges::queue(tables, workers) {
            let table = &tables[range.table];
            if let (Load::Shadow(shadow), true) = (&table.load, workers > 1 && !table.is_cut()) {
                self.all(shadow.make.iter().map(String::as_str));
            }
            match (table.changed(), table.stream()) {
                (Some(changed), _) => self.changed(changed),
                (None, Some(stream)) => {
                    self.source(range.copy_out);
                    self.target(&stream.target_out);
                }
                (None, None) => self.source(range.copy_out),
            }
            if let Load::Staged(staged) = &table.load
                && staged.is_created_late()
            {
                self.target("-- if there are rows that differ:");
                self.all(staged.create.iter().map(String::as_str));
            }
            if table.quarantine.is_some() {
                self.target(
                    "-- in blocks of rows, each after a savepoint; a row that fails alone goes to tableferry.rejected:",
                );
            }
            self.target(&table.copy_in);
            let resume = table.resume.as_ref();
            if let Some((resume, part)) =
                resume.and_then(|r| Some((r, r.numbers.get(range.number)?)))
            {
                self.target(&resume.complete(*part));
                self.target("COMMIT");
            }
        }
        if tables.iter().any(|table| table.stream().is_some()) {
            self.target("-- on the connection that reads:");
            self.target("COMMIT");
        }
    }

    fn checksums(&mut self, tables: &[CopyPlan]) {
        for table in tables {
            // The encodings of the databases are not known here.
            let sql = |side| {
                let from = table.loaded_from();
                checksum::digest(&table.comparison, side, &Alphabet::Plain, &from)
            };
            self.source(&sql(ComparedSide::Source));
            self.target(&sql(ComparedSide::Target));
        }
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
                    "COPY (SELECT \"id\", \"name\" FROM ONLY \"public\".\"t\") TO STDOUT (FORMAT text)"
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
