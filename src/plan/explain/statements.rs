//! The statements of a plan's steps, as text.

use super::ExplainedStatement;
use crate::config::spec::JobSpec;
use crate::error::Side;
use crate::plan::checksum::{self, Alphabet};
use crate::plan::copy::{CopyPlan, JobPlan, Load};
use crate::plan::form::ComparedSide;
use crate::plan::resume::types::BringUp;
use crate::plan::staged::changed_side::ChangedSide;
use crate::plan::staged::listing;
use crate::plan::staged::types::Changed;
use crate::plan::step::{Hook, Publish, Step};
use crate::plan::{ctid_ranges, swap};

/// The statements in order. Steps that only read catalogs, apply the guard or write the ledger are shown as
/// comments.
pub(super) fn statements(plan: &JobPlan, job: &JobSpec) -> Vec<ExplainedStatement> {
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
        list.hooks(&transaction.after_commit);
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
            Step::Create(statement)
            | Step::Statement(statement)
            | Step::MoveSequence(statement) => self.target(&statement.sql),
            Step::Hooks(hooks) => self.hooks(hooks),
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
            Step::ReplacePartitions => {
                let replaced = tables.iter().filter_map(|t| t.partitions.replaced.as_ref());
                for sql in replaced.flat_map(|replaced| &replaced.counts) {
                    self.source(sql);
                }
                self.target(
                    "-- counts the rows of the partitions that get rows, applies the guard to each",
                );
                self.target("-- TRUNCATE TABLE ONLY these partitions");
            }
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

    fn hooks(&mut self, hooks: &[Hook]) {
        for hook in hooks {
            self.target(&format!("-- {hook}:"));
            self.target(&hook.sql);
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
        let conflicts = listing::conflicts(tables);
        if !conflicts.is_empty() {
            self.target("-- if other sessions have changed some of these rows meanwhile:");
            self.all(conflicts);
        }
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
        self.both(changed, ChangedSide::changed_keys);
        self.both(changed, ChangedSide::totals);
        self.target(
            "-- if the totals differ, on both sides, with the ranges in which rows have changed:",
        );
        self.both(changed, |side| side.totals_within(&[(0, 1)]));
        self.target("-- if they differ outside of these, too, on both sides, with a number of bits that suits the keys:");
        self.both(changed, |side| side.spread.clone());
        self.both(changed, |side| side.buckets(1));
        self.target(
            "-- on both sides, with the ranges in which something may differ, if there are any:",
        );
        self.both(changed, |side| side.rows(&[(0, 1)]));
    }

    fn both(&mut self, changed: &Changed, statement: impl Fn(&ChangedSide) -> String) {
        self.source(&statement(&changed.source));
        self.target(&statement(&changed.target));
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
