//! The queries that tell where a source stands and what a relation consists of, for its mark.

use std::collections::BTreeMap;

use crate::catalog::desc::{RelationDesc, RelationKind, TypeDesc, TypeShape};
use crate::catalog::mark::{Fingerprint, Present, SourceHistory, SourcePosition, WalPosition};
use crate::error::{Error, ErrorKind, Phase, Result};
use crate::pg::ident::{QualifiedName, fnv1a};
use crate::pg::session::Session;

/// Only transactions below xmin are used: on a standby, the snapshot does not list running transactions.
///
/// A primary writes WAL on its new timeline at once, while its control file may name the old one for a
/// moment after a promotion. A standby cannot report the name of its WAL file, so the highest timeline that
/// the role may see is used.
const POSITION: &str = "\
SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::pg_catalog.text, \
       (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = pg_catalog.current_database()), \
       CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL \
            ELSE pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()) END, \
       GREATEST((SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()), \
                (SELECT min_recovery_end_timeline FROM pg_catalog.pg_control_recovery()), \
                (SELECT received_tli FROM pg_catalog.pg_stat_wal_receiver)), \
       pg_catalog.pg_snapshot_xmin(snapshot)::pg_catalog.text, \
       pg_catalog.pg_snapshot_xmax(snapshot)::pg_catalog.text, \
       pg_catalog.pg_is_in_recovery(), \
       COALESCE(CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                     ELSE pg_catalog.pg_current_wal_insert_lsn() END - '0/0'::pg_catalog.pg_lsn, 0)::pg_catalog.text, \
       (EXTRACT(epoch FROM pg_catalog.pg_stat_get_bgwriter_stat_reset_time()) * 1000000)::pg_catalog.int8::pg_catalog.text \
FROM pg_catalog.pg_current_snapshot() AS snapshot";

/// Reads where the source stands.
///
/// *Errors:* from the server; `Bug` if the answer cannot be parsed.
pub async fn position(source: &Session) -> Result<SourcePosition> {
    let what = "the source's snapshot";
    let row = source.one_row(Phase::Inspect, what, POSITION, &[]).await?;
    let unread = || {
        let message = "the source's snapshot could not be read";
        Error::new(ErrorKind::Bug, Phase::Inspect, source.side(), message).at(source.server())
    };
    let number = |at: usize| row.get::<String>(at)?.parse().map_err(|_| unread());
    let timeline = match row.get::<Option<String>>(2)? {
        // Its first eight hexadecimal digits.
        Some(file) => file
            .get(..8)
            .and_then(|hex| u32::from_str_radix(hex, 16).ok()),
        None => u32::try_from(row.get::<i32>(3)?).ok(),
    };
    Ok(SourcePosition {
        history: SourceHistory {
            system: row.get(0)?,
            timeline: timeline.ok_or_else(unread)?,
            database: row.get(1)?,
        },
        xmin: number(4)?,
        xmax: number(5)?,
        wal: WalPosition {
            lsn: number(7)?,
            is_standby: row.get(6)?,
            statistics_reset: match row.get(6)? {
                // A standby replays what its primary has flushed.
                true => None,
                false => row.get(8)?,
            },
        },
    })
}

/// Up to where a standby has replayed WAL; None of a primary. Every snapshot that is taken later sees all
/// transactions that committed before.
pub async fn replayed(source: &Session) -> Result<Option<u64>> {
    let sql = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() \
                      THEN COALESCE(pg_catalog.pg_last_wal_replay_lsn() - '0/0'::pg_catalog.pg_lsn, 0)::pg_catalog.text END";
    lsn(source, sql).await
}

/// Up to where a primary has flushed WAL.
pub async fn flushed(source: &Session) -> Result<Option<u64>> {
    let sql = "SELECT CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
                      THEN (pg_catalog.pg_current_wal_flush_lsn() - '0/0'::pg_catalog.pg_lsn)::pg_catalog.text END";
    lsn(source, sql).await
}

async fn lsn(source: &Session, sql: &str) -> Result<Option<u64>> {
    let what = "a WAL position";
    let row = source.one_row(Phase::Inspect, what, sql, &[]).await?;
    let text: Option<String> = row.get(0)?;
    Ok(text.and_then(|text| text.parse().ok()))
}

/// The leaves of a relation: partitions, where `TREE` is true inheritance children, and whatever views read.
/// `PENDING` leaves out a partition that is being detached: it is not read any more.
const LEAVES: &str = "\
WITH RECURSIVE part (oid) AS ( \
    SELECT c.oid FROM pg_catalog.pg_class AS c \
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2 \
    UNION \
    SELECT below.oid FROM part JOIN pg_catalog.pg_class AS c ON c.oid = part.oid \
    CROSS JOIN LATERAL ( \
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i \
        WHERE i.inhparent = c.oid AND (c.relkind = 'p' OR TREE) PENDING \
        UNION ALL \
        SELECT d.refobjid FROM pg_catalog.pg_rewrite AS w \
        JOIN pg_catalog.pg_depend AS d ON d.objid = w.oid \
        WHERE c.relkind = 'v' AND w.ev_class = c.oid \
          AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass \
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
    ) AS below (oid) \
) \
SELECT c.oid, c.relkind = 'f' OR c.relkind IN ('r', 'm') AND c.relam <> (SELECT am.oid FROM pg_catalog.pg_am AS am WHERE am.amname = 'heap'), \
       COALESCE(pg_catalog.pg_relation_filenode(c.oid)::pg_catalog.text, '-') || ':' \
       || pg_catalog.hashtextextended(CASE c.relkind \
              WHEN 'v' THEN pg_catalog.pg_get_viewdef(c.oid) \
              WHEN 'f' THEN (SELECT pg_catalog.concat_ws(' ', f.ftserver, f.ftoptions::pg_catalog.text) \
                               FROM pg_catalog.pg_foreign_table AS f WHERE f.ftrelid = c.oid) \
              ELSE (SELECT pg_catalog.string_agg(pg_catalog.format('%s %s %s %s', a.attnum, a.attname, \
                               CASE WHEN a.atthasmissing THEN a.attmissingval::pg_catalog.text END, \
                               CASE WHEN a.attgenerated = 'v' THEN pg_catalog.pg_get_expr(def.adbin, def.adrelid) END), \
                           ',' ORDER BY a.attname) \
                      FROM pg_catalog.pg_attribute AS a \
                      LEFT JOIN pg_catalog.pg_attrdef AS def ON def.adrelid = a.attrelid AND def.adnum = a.attnum \
                     WHERE a.attrelid = c.oid AND a.attname::pg_catalog.text = ANY ($3) AND NOT a.attisdropped) \
          END, 0)::pg_catalog.text \
FROM part JOIN pg_catalog.pg_class AS c ON c.oid = part.oid \
WHERE c.relkind IN ('r', 'm', 'v', 'f')";

/// Reads the state of a relation. `columns` are those that may be read.
///
/// Must be called before the rows are read: a partition that is attached in between is new to the next run.
pub async fn present(
    source: &Session,
    place: &SourcePosition,
    desc: &RelationDesc,
    with_children: bool,
    columns: &[&str],
) -> Result<Present> {
    let mut present = Present {
        place: place.clone(),
        relation: Fingerprint {
            columns: types(desc, columns),
            leaves: BTreeMap::new(),
        },
        has_foreign: false,
    };
    if desc.kind == RelationKind::Query {
        return Ok(present);
    }
    let pending = match source.version() {
        140_000.. => "AND NOT i.inhdetachpending",
        _ => "",
    };
    let tree = with_children || desc.kind == RelationKind::View;
    let sql = LEAVES
        .replace("PENDING", pending)
        .replace("TREE", if tree { "true" } else { "false" });
    let QualifiedName { schema, name } = &desc.name;
    let (schema, name, columns) = (schema.as_str(), name.as_str(), columns.to_vec());
    let rows = source
        .query(Phase::Inspect, &sql, &[&schema, &name, &columns])
        .await
        .map_err(|error| error.on(&desc.name))?;
    for row in rows {
        present.relation.leaves.insert(row.get(0), row.get(2));
        present.has_foreign |= row.get::<_, bool>(1);
    }
    Ok(present)
}

/// A hash of what the columns' values are made of.
fn types(desc: &RelationDesc, columns: &[&str]) -> String {
    let mut text = String::new();
    for column in &desc.columns {
        if columns.contains(&column.name.as_str()) {
            text.push_str(&format!("{} {} ", column.name, column.type_text));
            describe(&column.ty, &mut text);
        }
    }
    format!("{:016x}", fnv1a(text.as_bytes()))
}

fn describe(ty: &TypeDesc, text: &mut String) {
    text.push_str(&format!("{}(", ty.name));
    match &ty.shape {
        TypeShape::Base | TypeShape::Pseudo => {}
        TypeShape::Enum(labels) => text.push_str(&format!("{labels:?}")),
        TypeShape::Domain { base: inner, .. }
        | TypeShape::Range(inner)
        | TypeShape::Multirange(inner)
        | TypeShape::Array(inner) => describe(inner, text),
        TypeShape::Composite(attributes) => {
            for attribute in attributes {
                text.push_str(&format!("{:?} ", attribute.name));
                describe(&attribute.ty, text);
            }
        }
    }
    text.push(')');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixtures::{array, column, column_of, labels, table};

    #[test]
    fn the_leaves_of_a_type_are_part_of_it() {
        let hash = |ty| {
            types(
                &table("t", vec![column("id", "int4"), column_of("m", ty)]),
                &["id", "m"],
            )
        };
        let (old, new) = (labels(&["a", "b"]), labels(&["a", "c"]));
        assert_eq!(hash(array(old.clone())), hash(array(old.clone())));
        assert_ne!(hash(array(old.clone())), hash(array(new.clone())));
        let unread = |ty| types(&table("t", vec![column_of("m", ty)]), &["id"]);
        assert_eq!(unread(old), unread(new));
    }
}
