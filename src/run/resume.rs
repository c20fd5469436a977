//! `resume = true`: finds what a run that died has loaded, takes it over, and brings it to this run's snapshot.
//! What is kept, and how, is decided by the plan (`plan/resume/`).

use super::context::JobContext;
use super::modes::shared;
use super::pipe::stream::{Sessions, changed};
use super::pipe::{Copied, Pace};
use super::{leftovers, watermark};
use crate::catalog::change_mark::ChangeMark;
use crate::catalog::desc::{RelationDesc, RelationKind};
use crate::catalog::load_state::{FoundLoad, LoadInfo, LoadState, LoadedPart};
use crate::catalog::mark::{Mark, WalPosition};
use crate::catalog::present;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::ident::QualifiedName;
use crate::pg::param::Param;
use crate::pg::session::Session;
use crate::plan::Inspected;
use crate::plan::copy::{CopyPlan, Load};
use crate::plan::resume::may_be_kept;
use crate::plan::resume::types::{KeptLoad, ResumePlan};
use crate::plan::shared::is_of_parts;
use crate::report::{Event, TableReport};
use crate::wording::counted;

/// The number of a load's description in the table of parts.
const INFO: i32 = 0;

/// For every table whose load may be kept, reads what a run that died has loaded, and where both sides are. The
/// source has its snapshot.
pub(super) async fn find(
    context: &JobContext,
    source: &Session,
    target: &Session,
    entries: &mut [Inspected],
    replayed: Option<u64>,
) -> Result<()> {
    let job = &context.job;
    let wanted = |entry: &&mut Inspected| may_be_kept(job, entry).is_ok();
    let mut entries = entries.iter_mut().filter(wanted).peekable();
    if job.loaders() < 2 || entries.peek().is_none() {
        return Ok(());
    }
    let (from, to) = tokio::try_join!(present::position(source), present::position(target))?;
    let mut loads = match context.full {
        true => Vec::new(),
        false => loads(context, target).await?,
    };
    for entry in entries {
        let (Some(of_source), Some(of_target)) = (&entry.source, &entry.target) else {
            continue;
        };
        let columns = watermark::columns(entry);
        let source = present::present(source, &from, of_source, false, &columns).await?;
        let name = entry.spec.target.to_string();
        let position = loads.iter().position(|(_, info, _)| info.target == name);
        let found = match position.map(|at| loads.swap_remove(at)) {
            None => None,
            Some((parts, info, list)) => {
                let loaded = QualifiedName::new(info.schema, info.name);
                let desc = loaded_desc(of_target, &loaded);
                let now = present::present(target, &to, &desc, false, &columns).await?;
                Some(FoundLoad {
                    indexes: indexes(target, &loaded).await?,
                    parts,
                    loaded,
                    mark: info.mark,
                    list,
                    now,
                })
            }
        };
        let columns = columns.into_iter().map(str::to_owned).collect();
        entry.load = Some(LoadState {
            source,
            target: to.clone(),
            replayed,
            columns,
            found,
        });
    }
    Ok(())
}

fn loaded_desc(target: &RelationDesc, loaded: &QualifiedName) -> RelationDesc {
    RelationDesc {
        name: loaded.clone(),
        kind: RelationKind::Table,
        ..target.clone()
    }
}

type Found = (QualifiedName, LoadInfo, Vec<LoadedPart>);

/// The loads of the job that were not published.
async fn loads(context: &JobContext, target: &Session) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let names = leftovers::find(context, target).await?;
    for name in names
        .into_iter()
        .filter(|name| is_of_parts(name.name.as_str()))
    {
        if !is_own(target, &name).await? {
            continue;
        }
        let (info, list) = parts(target, Phase::Inspect, &name).await?;
        let info = info.and_then(|text| LoadInfo::parse(&text));
        if let Some(info) = info {
            let loaded = QualifiedName::new(info.schema.as_str(), info.name.as_str());
            if is_own(target, &loaded).await? {
                found.push((name, info, list));
            }
        }
    }
    Ok(found)
}

/// Is there a table of this name, which the role owns?
async fn is_own(target: &Session, name: &QualifiedName) -> Result<bool> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class AS c \
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2 AND pg_catalog.pg_has_role(c.relowner, 'USAGE') \
                 AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'))";
    let (schema, name) = (name.schema.as_str(), name.name.as_str());
    let what = "the owner of a table that a run left behind";
    let parameters: [&dyn Param; 2] = [&schema, &name];
    let row = target.one_row(Phase::Inspect, what, sql, &parameters);
    row.await?.get(0)
}

/// The description of the load, and its parts.
async fn parts(
    target: &Session,
    phase: Phase,
    name: &QualifiedName,
) -> Result<(Option<String>, Vec<LoadedPart>)> {
    let rows = target.query(phase, &ResumePlan::read(name), &[]).await?;
    let mut info = None;
    let mut list = Vec::new();
    for row in rows {
        match row.get(0) {
            INFO => info = Some(row.get(1)),
            number => list.push(LoadedPart {
                number,
                condition: row.get(1),
                transaction: row.get(2),
            }),
        }
    }
    Ok((info, list))
}

async fn indexes(target: &Session, table: &QualifiedName) -> Result<Vec<QualifiedName>> {
    let sql = "SELECT n.nspname::pg_catalog.text, x.relname::pg_catalog.text FROM pg_catalog.pg_index AS i \
               JOIN pg_catalog.pg_class AS x ON x.oid = i.indexrelid \
               JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid \
               JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
               WHERE n.nspname = $1 AND c.relname = $2";
    let (schema, name) = (table.schema.as_str(), table.name.as_str());
    let rows = target.query(Phase::Inspect, sql, &[&schema, &name]).await?;
    Ok(rows
        .iter()
        .map(|row| QualifiedName::new(row.get::<_, String>(0), row.get::<_, String>(1)))
        .collect())
}

/// Takes over the load of a run that died, in a transaction that is committed before rows are loaded.
///
/// *Errors:* `Conflict` if the load is not what was planned for: the next attempt plans anew.
pub(super) async fn adopt(
    context: &JobContext,
    maker: &Session,
    table: &CopyPlan,
    resume: &ResumePlan,
    kept: &KeptLoad,
) -> Result<()> {
    let is_there = is_own(maker, &kept.found).await? && is_own(maker, table.written()).await?;
    if !is_there {
        return Err(changed_meanwhile(maker, table));
    }
    for sql in &kept.adopt {
        let done = maker.run(Phase::Prepare, sql).await;
        done.map_err(|error| error.on(&table.target))?;
    }
    let (_, list) = parts(maker, Phase::Prepare, &resume.parts).await?;
    if list != kept.list {
        return Err(changed_meanwhile(maker, table));
    }
    let complete = list.iter().filter(|part| part.transaction.is_some());
    context.tell(Event::Warned(format!(
        "{}: goes on with what a run that died has loaded: {} of {} are complete",
        table.target,
        complete.count(),
        counted(list.len() as u64, "part"),
    )));
    Ok(())
}

fn changed_meanwhile(maker: &Session, table: &CopyPlan) -> Error {
    let message = "what a run that died has loaded changed while the copy was being planned";
    Error::new(ErrorKind::Conflict, Phase::Prepare, Side::Target, message)
        .at(maker.server())
        .on(&table.target)
}

/// Creates the table of parts, in the transaction that creates the table to load. `target` describes the
/// target.
pub(super) async fn create(
    maker: &Session,
    table: &CopyPlan,
    resume: &ResumePlan,
    target: &RelationDesc,
) -> Result<()> {
    for sql in &resume.create {
        maker.run(Phase::Prepare, sql).await?;
    }
    shared::hide(maker, &resume.parts).await?;
    record(maker, Phase::Prepare, table, resume, target).await
}

/// Records what the source was when the rows were read.
async fn record(
    loader: &Session,
    phase: Phase,
    table: &CopyPlan,
    resume: &ResumePlan,
    target: &RelationDesc,
) -> Result<()> {
    let place = present::position(loader).await?;
    let loaded = table.written();
    let desc = loaded_desc(target, loaded);
    let columns: Vec<&str> = resume.marking.columns.iter().map(String::as_str).collect();
    let now = present::present(loader, &place, &desc, false, &columns).await?;
    let info = LoadInfo {
        target: table.target.to_string(),
        schema: loaded.schema.as_str().to_owned(),
        name: loaded.name.as_str().to_owned(),
        mark: ChangeMark {
            source: resume.marking.source.clone(),
            target: Mark {
                value: None,
                query: String::new(),
                history: place.history,
                xmin: place.xmin,
                // A part that is in the table of parts was flushed with its row there.
                wal: WalPosition::default(),
                relation: now.relation,
            },
            transaction: 0,
        },
    };
    let [delete, insert] = resume.record();
    loader.run(phase, &delete).await?;
    loader.query(phase, &insert, &[&info.to_text()]).await?;
    Ok(())
}

/// Marks a part as complete in the transaction that has loaded it.
///
/// *Errors:* `Conflict` if another session has loaded it.
pub(super) async fn complete(
    loader: &Session,
    table: &CopyPlan,
    resume: &ResumePlan,
    number: usize,
) -> Result<()> {
    let Some(part) = resume.numbers.get(number) else {
        return Ok(());
    };
    let marked = loader.execute(Phase::CopyIn, &resume.complete(*part)).await;
    match marked.map_err(|error| error.on(&table.target))? {
        1 => Ok(()),
        _ => {
            let message = "another session has loaded the same part of the table";
            let error = Error::new(ErrorKind::Conflict, Phase::CopyIn, Side::Target, message);
            Err(error.at(loader.server()).on(&table.target))
        }
    }
}

/// Makes the loaded table what the source is at this run's snapshot, in a transaction of its own.
///
/// *Errors:* `DataRejected` if the numbers of rows differ after that: something else writes the table. Then it
/// is dropped, and the next run loads it anew.
pub(super) async fn bring_up(
    context: &JobContext,
    sessions: Sessions<'_>,
    table: &CopyPlan,
    target: &RelationDesc,
    pace: Pace<'_>,
    report: &mut TableReport,
) -> Result<()> {
    let (Some(resume), Some(kept)) = (&table.resume, table.kept()) else {
        return Ok(());
    };
    let Sessions {
        reader,
        target: loader,
        ..
    } = sessions;
    let steps = &kept.bring_up;
    shared::begin(loader, Phase::CopyIn).await?;
    super::advisory_lock::mark_transaction(loader, context.run_id).await?;
    let written = async {
        loader.run(Phase::CopyIn, &steps.create).await?;
        let plan = CopyPlan {
            copy_out: steps.copy_out.clone(),
            copy_in: steps.copy_in.clone(),
            resume: None,
            ..table.clone()
        };
        let (_, list) = parts(loader, Phase::CopyIn, &resume.parts).await?;
        let finding = steps.changed(&list);
        let copied = changed::copy(sessions, &plan, &finding, pace).await?;
        reader.run(Phase::CopyOut, "COMMIT").await?;
        loader.run(Phase::CopyIn, &steps.analyze).await?;
        loader.execute(Phase::CopyIn, &steps.delete).await?;
        let inserted = loader.execute(Phase::CopyIn, &steps.insert).await?;
        let what = "the number of loaded rows";
        let rows = loader.one_row(Phase::CopyIn, what, &steps.count, &[]);
        let rows = rows.await?.count(0)?;
        Ok((copied, inserted, rows))
    };
    let written: Result<(Copied, u64, u64)> = written.await;
    let (copied, inserted, rows) = written.map_err(|error: Error| error.on(&table.target))?;
    let expected = copied.rows_counted.unwrap_or_default();
    if rows != expected {
        let message = format!(
            "the source has {}, and what was loaded and brought up has {rows}",
            counted(expected, "row")
        );
        let error = Error::new(
            ErrorKind::DataRejected,
            Phase::CopyIn,
            Side::Target,
            message,
        );
        let error = error.at(loader.server()).on(&table.target);
        return Err(error.hinted("something else writes the tables of the run; run the job again"));
    }
    record(loader, Phase::CopyIn, table, resume, target).await?;
    loader.run(Phase::CopyIn, &resume.own()).await?;
    shared::commit(loader).await?;
    report.rows_read += copied.rows_read;
    report.bytes += copied.bytes;
    report.rows_written += inserted;
    report.rows_counted = Some(expected);
    report.rows_kept = Some(rows.saturating_sub(report.rows_written));
    report.rows_inserted = match table.load {
        Load::Shadow(_) => rows,
        Load::Direct | Load::Staged(_) | Load::File(_) => report.rows_written,
    };
    Ok(())
}
