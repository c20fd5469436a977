//! `verify = "checksum"`: both servers add up hashes of the same rows, and the sums must agree.

use crate::config::spec::ServerSpec;
use crate::error::{Error, ErrorKind, Phase, Result, Side};
use crate::pg::checked::CheckedRow;
use crate::pg::session::Session;
use crate::plan::checksum::{self, Alphabet};
use crate::plan::copy::CopyPlan;
use crate::plan::form::ComparedSide;
use crate::run::JobContext;
use crate::wording::counted;

/// How each server writes texts, so that their bytes are the same.
pub(super) struct Alphabets {
    pub source: Alphabet,
    pub target: Alphabet,
}

/// The digest of some rows on one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    pub rows: u64,
    pub sums: [String; 2],
}

/// Compares the rows of all tables: the source's in its snapshot, the target's in the transaction
/// that is about to publish them.
///
/// *Errors:* `DataRejected`, naming the relation and both digests.
pub(super) async fn check(
    context: &JobContext,
    source: &Session,
    target: &Session,
    tables: &[CopyPlan],
) -> Result<()> {
    let alphabets = agree(context, source, target, Phase::Gate).await?;
    for table in tables {
        check_table(context, source, target, &alphabets, table).await?;
    }
    Ok(())
}

async fn check_table(
    context: &JobContext,
    source: &Session,
    target: &Session,
    alphabets: &Alphabets,
    table: &CopyPlan,
) -> Result<()> {
    let from = table.loaded_from();
    let sql = |side, alphabet| checksum::digest(&table.comparison, side, alphabet, &from);
    let source_sql = sql(ComparedSide::Source, &alphabets.source);
    let target_sql = sql(ComparedSide::Target, &alphabets.target);
    let (sent, taken) = tokio::try_join!(
        digest(source, Phase::Gate, &source_sql),
        digest(target, Phase::Gate, &target_sql),
    )
    .map_err(|error| error.on(&table.target))?;
    if sent == taken {
        return Ok(());
    }
    let message = format!(
        "the checksums differ: {} on the source, {} on the target",
        shown(&sent),
        shown(&taken)
    );
    Err(
        Error::new(ErrorKind::DataRejected, Phase::Gate, Side::Target, message)
            .at(target.server())
            .on(&table.target)
            .hinted(format!(
                "a trigger on the target changes values, another session writes to it, or an \
                 expression gives another value each time it is computed; with `verify = \"count\"` the rows are published, and \
                 `tableferry verify {}` shows which of them differ",
                context.job.name
            )),
    )
}

/// Runs a query of `checksum::digest`.
pub(super) async fn digest(session: &Session, phase: Phase, sql: &str) -> Result<Digest> {
    let row = session.one_row(phase, "a checksum", sql, &[]).await?;
    Digest::of(&row, 0)
}

impl Digest {
    /// Reads the three columns of `checksum::aggregates`, starting at `at`.
    pub fn of(row: &CheckedRow, at: usize) -> Result<Self> {
        Ok(Digest {
            rows: row.count(at)?,
            sums: [row.get(at + 1)?, row.get(at + 2)?],
        })
    }
}

/// The last digits of the sums, which are enough for a message.
fn shown(digest: &Digest) -> String {
    let [first, second] = &digest.sums;
    format!("{} ({first}/{second})", counted(digest.rows, "row"))
}

/// Asks both servers how they write and hash texts.
///
/// *Errors:* `Config` when they hash the same bytes to different numbers.
pub(super) async fn agree(
    context: &JobContext,
    source: &Session,
    target: &Session,
    phase: Phase,
) -> Result<Alphabets> {
    let (from, to) = tokio::try_join!(ask(source, phase), ask(target, phase))?;
    if from.probe != to.probe {
        return Err(Error::new(
            ErrorKind::Config,
            phase,
            Side::Local,
            "the two servers hash the same text to different numbers: their checksums can't be \
             compared",
        )
        .hinted("their processors differ in byte order; use `verify = \"count\"`"));
    }
    if from.encoding == "UTF8" && to.encoding == "UTF8" {
        return Ok(Alphabets {
            source: Alphabet::Plain,
            target: Alphabet::Plain,
        });
    }
    Ok(Alphabets {
        source: converted(from.encoding, &context.source, &context.target),
        target: converted(to.encoding, &context.target, &context.source),
    })
}

struct EncodingFacts {
    encoding: String,
    probe: i64,
}

async fn ask(session: &Session, phase: Phase) -> Result<EncodingFacts> {
    let sql = format!(
        "SELECT pg_catalog.getdatabaseencoding()::pg_catalog.text, {}",
        checksum::PROBE
    );
    let row = session
        .one_row(phase, "the database's encoding", &sql, &[])
        .await?;
    Ok(EncodingFacts {
        encoding: row.get(0)?,
        probe: row.get(1)?,
    })
}

fn converted(database: String, server: &ServerSpec, other: &ServerSpec) -> Alphabet {
    let configured = server.encoding.as_ref().or(other.encoding.as_ref());
    let written = match (database.as_str(), configured) {
        ("SQL_ASCII", Some(encoding)) => encoding.clone(),
        ("SQL_ASCII", None) => "UTF8".to_owned(),
        _ => database.clone(),
    };
    Alphabet::Converted { database, written }
}
