//! Mode `swap`: builds the shadow tables and publishes them. With one worker, they are created, loaded,
//! built and published in one transaction of the target, so a failure leaves nothing behind.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::time::Instant;

use super::{locks, shared};
use crate::catalog::attachments::{Attachments, AttachmentsByTable, Question, attachments};
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;
use crate::plan::copy::CopyPlan;
use crate::plan::shared::SHADOW_MARK;
use crate::plan::swap;
use crate::plan::swap::types::PublishSql;
use crate::run::context::JobContext;

/// The wait for all publishing locks together, per attempt. Queries that arrive in the meantime queue
/// behind it. So a reader waits at most for this time and for the statements under the locks.
const LOCK_BUDGET_MAX: Duration = Duration::from_millis(80);

/// If the tables of the foreign keys are together no larger than this, the keys are checked under the
/// locks. Otherwise they are checked before; meanwhile only writers of the referenced tables wait.
const CHECKED_BYTES_MAX: i64 = 2 << 20;

const NOT_ALL_FREE: &str = "each of the locks was free at times, but not all of them within 80 ms; \
                          `lock_timeout` says how long to try";

/// How often it is told who holds the locks.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The pause between two attempts to take the locks. Queued readers run in the meantime.
const LOCK_PAUSE_MIN: Duration = Duration::from_millis(50);
const LOCK_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Checks that the attachments are still those of the plan, and that the names of the shadows are free.
pub(in crate::run) async fn free_names(target: &Session, tables: &[CopyPlan]) -> Result<()> {
    let now = attachments(target, &names_of(tables)).await?;
    unchanged(target, tables, &now)?;
    for (table, shadow) in swap::shadows(tables) {
        // A load of a run that died is kept.
        let name = Some(&shadow.name).filter(|_| table.kept().is_none());
        for name in name.into_iter().chain([&shadow.retired]) {
            drop_leftover(target, name)
                .await
                .map_err(|error| error.on(&table.target))?;
        }
    }
    Ok(())
}

/// Drops a table of this name if it is a shadow. Its run has ended, because this session holds the advisory
/// lock of the shadow's target.
async fn drop_leftover(target: &Session, name: &QualifiedName) -> Result<()> {
    let sql = "SELECT COALESCE(pg_catalog.obj_description(c.oid, 'pg_class'), '') \
                 FROM pg_catalog.pg_class AS c \
                 JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
                WHERE n.nspname = $1 AND c.relname = $2";
    let (schema, table) = (name.schema.as_str(), name.name.as_str());
    let rows = target
        .query(Phase::Prepare, sql, &[&schema, &table])
        .await?;
    let Some(row) = rows.first() else {
        return Ok(());
    };
    if !row.get::<_, String>(0).starts_with(SHADOW_MARK) {
        let message = format!("{name} exists, and is not a table that a run left behind");
        return Err(Error::new(
            ErrorKind::SchemaMismatch,
            Phase::Prepare,
            Side::Target,
            message,
        )
        .at(target.server())
        .hinted("rename or drop it"));
    }
    target
        .run(Phase::Prepare, &format!("DROP TABLE {}", name.sql()))
        .await
}

async fn run_all(
    target: &Session,
    phase: Phase,
    table: &CopyPlan,
    statements: &[String],
) -> Result<()> {
    for sql in statements {
        let done = target.run(phase, sql).await;
        done.map_err(|error| error.on(&table.target))?;
    }
    Ok(())
}

/// Creates the indexes of the loaded shadows: one after the other, or, if `builders` loaded them, one index
/// per builder at a time.
pub(in crate::run) async fn index(
    target: &Session,
    builders: &[Session],
    tables: &[CopyPlan],
) -> Result<()> {
    let all = swap::shadows(tables)
        .flat_map(|(table, shadow)| shadow.indexes.iter().map(move |index| (table, index)));
    if builders.is_empty() {
        for (table, index) in all {
            run_all(target, Phase::Publish, table, index).await?;
        }
        return Ok(());
    }
    let queue = Mutex::new(all);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = builders.iter().map(async |builder| {
        while let Some((table, index)) = next() {
            shared::begin(builder, Phase::Publish).await?;
            builder.run(Phase::Publish, swap::OWN_TABLESPACE).await?;
            run_all(builder, Phase::Publish, table, index).await?;
            shared::commit(builder).await?;
        }
        Ok(())
    });
    try_join_all(work).await.map(drop)
}

/// Replaces the targets by their shadows. COMMIT must follow at once, because readers wait from here on.
pub(in crate::run) async fn replace_targets(
    target: &Session,
    context: &JobContext,
    tables: &[CopyPlan],
) -> Result<()> {
    let job = &context.job;
    let publish = swap::publish_sql(tables);
    if publish.swap.is_empty() {
        return Ok(());
    }
    // Before any session waits for the locks.
    let (question, now) = Question::ask_first(target, &names_of(tables)).await?;
    unchanged(target, tables, &now)?;
    let keys_first = !are_small(target, &publish.keys_read).await?;
    let began = Instant::now();
    let mut told = None;
    let mut pause = LOCK_PAUSE_MIN;
    let mut number = 0_u64;
    loop {
        let attempt = Instant::now();
        // `Wait` gets the lock of a table that is never free. `Catch` gets the locks of many tables that
        // are free at times.
        let how = match number % 2 {
            0 => How::Wait,
            _ => How::Catch,
        };
        let done = try_to_replace(target, tables, &publish, &question, keys_first, how).await;
        let error = match done {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let patient = job.lock_timeout.is_zero() || began.elapsed() < job.lock_timeout;
        if error.kind() != ErrorKind::Locked {
            return Err(named(error, tables));
        }
        target
            .run(Phase::Publish, "ROLLBACK TO SAVEPOINT tableferry_publish")
            .await?;
        let told_long_ago = told.is_none_or(|at: Instant| at.elapsed() >= TELL_EVERY);
        if patient && told_long_ago {
            told = Some(Instant::now());
            if let Some(holders) = locks::holders(target, &publish.lock).await? {
                context.tell_locked(target.server(), &holders);
            }
        }
        if !patient {
            let holders = locks::holders(target, &publish.lock).await?;
            let mut hint = holders.map_or_else(|| NOT_ALL_FREE.to_owned(), |h| locks::hint(&h));
            if tables.len() > 1 {
                hint.push_str("; `atomic = false` publishes the tables one by one");
            }
            return Err(named(error.hinted(hint), tables));
        }
        // The pause is at least as long as the check of foreign keys took, so that its waiters run.
        tokio::time::sleep(pause.max(attempt.elapsed())).await;
        pause = (pause * 5 / 4).min(LOCK_PAUSE_MAX);
        number += 1;
    }
}

async fn are_small(target: &Session, tables: &[QualifiedName]) -> Result<bool> {
    let names: Vec<String> = tables.iter().map(QualifiedName::sql).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sql = "SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_relation_size(pg_catalog.to_regclass(t))), 0) \
               ::pg_catalog.int8 FROM pg_catalog.unnest($1::pg_catalog.text[]) AS t";
    let rows = target.query(Phase::Publish, sql, &[&names]).await?;
    Ok(rows
        .first()
        .is_some_and(|row| row.get::<_, i64>(0) <= CHECKED_BYTES_MAX))
}

/// Several tables are published by one batch of statements. The table of an error is only known if there is
/// a single one.
fn named(error: Error, tables: &[CopyPlan]) -> Error {
    match tables {
        [only] => error.on(&only.target),
        _ => error,
    }
}

/// How an attempt takes its locks.
#[derive(Clone, Copy)]
enum How {
    Wait,
    Catch,
}

/// One attempt. *Errors:* `Locked` if the locks could not be taken within the budget.
async fn try_to_replace(
    target: &Session,
    tables: &[CopyPlan],
    publish: &PublishSql,
    question: &Question,
    keys_first: bool,
    how: How,
) -> Result<()> {
    target
        .run(Phase::Publish, "SAVEPOINT tableferry_publish")
        .await?;
    // All statements under the locks are sent in one round trip.
    let mut statements = publish.swap.clone();
    if keys_first {
        locks::take(target, &publish.lock_referenced, LOCK_BUDGET_MAX).await?;
        target
            .run(Phase::Publish, &publish.keys.join(";\n"))
            .await?;
    } else {
        statements = [&publish.keys_early[..], &publish.swap, &publish.keys_late].concat();
    }
    let statements = statements.join(";\n");
    match how {
        How::Wait => locks::take(target, &publish.lock, LOCK_BUDGET_MAX).await?,
        How::Catch => locks::catch(target, &publish.lock, LOCK_BUDGET_MAX).await?,
    }
    let (before, done, after) = question.ask_around(target, &statements).await?;
    unchanged(target, tables, &before?)?;
    done?;
    verify(target, tables, &after?)
}

fn names_of(tables: &[CopyPlan]) -> Vec<QualifiedName> {
    swap::shadows(tables)
        .map(|(table, _)| table.target.clone())
        .collect()
}

/// Compares the attachments with the plan again: only a lock that also blocks readers would keep out GRANT
/// and CREATE VIEW.
fn unchanged(target: &Session, tables: &[CopyPlan], now: &AttachmentsByTable) -> Result<()> {
    compare(target, tables, now, before, |differences| {
        let message =
            format!("what is attached to it changed while the copy was at work: {differences}");
        Error::new(ErrorKind::Conflict, Phase::Publish, Side::Target, message)
    })
}

/// Compares the attachments of the new table with those of the old one while the transaction can still be
/// rolled back.
fn verify(target: &Session, tables: &[CopyPlan], now: &AttachmentsByTable) -> Result<()> {
    let after = |_: &CopyPlan, planned: &Attachments| planned.clone();
    compare(target, tables, now, after, |differences| {
        let message =
            format!("the new table would lack something that the old one had: {differences}");
        Error::new(
            ErrorKind::SchemaMismatch,
            Phase::Publish,
            Side::Target,
            message,
        )
        .hinted("use `mode = \"merge\"`, and report this")
    })
}

/// What is attached to the table that is replaced: not the columns that the new one adds.
fn before(table: &CopyPlan, planned: &Attachments) -> Attachments {
    let mut attachments = planned.clone();
    let is_added = |name: &str| {
        let mut added = table.in_shadow().iter();
        added.any(|added| added.name.as_str() == name)
    };
    attachments.columns.retain(|column| !is_added(&column.name));
    attachments
}

fn compare(
    target: &Session,
    tables: &[CopyPlan],
    now: &AttachmentsByTable,
    expected: impl Fn(&CopyPlan, &Attachments) -> Attachments,
    error: impl Fn(String) -> Error,
) -> Result<()> {
    for (table, shadow) in swap::shadows(tables) {
        let differences = match now.get(&table.target) {
            Some(now) => swap::differences(&expected(table, &shadow.attachments), now),
            None => vec!["the table"],
        };
        if !differences.is_empty() {
            return Err(error(differences.join(", "))
                .at(target.server())
                .on(&table.target));
        }
    }
    Ok(())
}
