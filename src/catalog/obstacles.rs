//! What makes writes to the target's tables fail, but shows only when a statement runs.

use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::QualifiedName;
use crate::pg::session::Session;

const OBSTACLES: &str = include_str!("obstacles.sql");

const IN_SCHEMA: &str = "\
OR EXISTS (SELECT FROM pg_catalog.pg_publication_namespace AS s \
            JOIN pg_catalog.pg_class AS of ON of.relnamespace = s.pnnspid \
           WHERE s.pnpubid = p.oid AND of.oid = up.oid)";

/// Something that a statement on a table of the target would fail at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// The table.
    pub relation: QualifiedName,
    /// What it is.
    pub kind: ObstacleKind,
    /// Its name as in SQL.
    pub name: String,
}

/// What an obstacle is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObstacleKind {
    /// The role may not EXECUTE this function, which a default, a constraint or an index calls.
    Function,
    /// The role may not take numbers from this sequence, which a column's default does.
    Sequence,
    /// The role may not use this type in a table of its own.
    Type,
    /// A partitioned table has no partition.
    NoPartition,
    /// This publication publishes the deletions of a table without replica identity.
    DeletionsPublished,
    /// This one the updates.
    UpdatesPublished,
}

/// Asks for all obstacles of these tables, each with its copied columns.
pub async fn obstacles(
    target: &Session,
    columns: &[(&QualifiedName, &str)],
) -> Result<Vec<Obstacle>> {
    let schemas: Vec<&str> = columns.iter().map(|(of, _)| of.schema.as_str()).collect();
    let tables: Vec<&str> = columns.iter().map(|(of, _)| of.name.as_str()).collect();
    let names: Vec<&str> = columns.iter().map(|(_, name)| *name).collect();
    let in_schema = if target.version() >= 150_000 {
        IN_SCHEMA
    } else {
        ""
    };
    let sql = OBSTACLES.replace("@PUBLISHED_SCHEMA@", in_schema);
    let what = "what keeps rows out";
    let rows = target
        .checked(Phase::Inspect, what, &sql, &[&schemas, &tables, &names])
        .await?;
    rows.iter()
        .map(|row| {
            let kind: String = row.get(2)?;
            Ok(Obstacle {
                relation: QualifiedName::new(row.get::<String>(0)?, row.get::<String>(1)?),
                kind: parse(&kind).ok_or_else(|| {
                    let message = format!("an unknown obstacle: {kind}");
                    Error::new(ErrorKind::Bug, Phase::Inspect, target.side(), message)
                        .at(target.server())
                })?,
                name: row.get(3)?,
            })
        })
        .collect()
}

fn parse(kind: &str) -> Option<ObstacleKind> {
    Some(match kind {
        "function" => ObstacleKind::Function,
        "sequence" => ObstacleKind::Sequence,
        "type" => ObstacleKind::Type,
        "partition" => ObstacleKind::NoPartition,
        "deletions published" => ObstacleKind::DeletionsPublished,
        "updates published" => ObstacleKind::UpdatesPublished,
        _ => return None,
    })
}
