//! Foreign keys, and the rows that their ON DELETE and ON UPDATE actions may change.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use crate::catalog::desc::{ForeignKey, KeyAction, KeyActions, ReferentialAction, RelationDesc};
use crate::error::{Phase, Result};
use crate::pg::ident::{Ident, QualifiedName};
use crate::pg::param::Param;
use crate::pg::session::Session;

/// Does trigger `g` fire in this session, and is it none of PostgreSQL's own? Versions before 15 call
/// the copies internal that a partitioned table's trigger has on its partitions.
const FIRES: &str = "\
(NOT g.tgisinternal OR g.tgparentid <> 0 AND NOT EXISTS ( \
     SELECT FROM pg_catalog.pg_constraint AS fk WHERE fk.oid = g.tgconstraint AND fk.contype = 'f')) \
AND ENABLED";

/// Is trigger `g` enabled for this session's `session_replication_role`?
const ENABLED: &str = "\
g.tgenabled IN ('A', CASE pg_catalog.current_setting('session_replication_role') \
                          WHEN 'replica' THEN 'R' ELSE 'O' END)";

/// Does user trigger `g` fire in this session?
pub(super) fn fires() -> String {
    FIRES.replace("ENABLED", ENABLED)
}

/// One row a foreign key of or to the relations, as it was declared: PostgreSQL's copies of it on
/// partitions are left out. `line` holds each relation with its partitions and with the partitioned
/// tables above it: a key of or to any of these concerns the relation's rows.
const FOREIGN_KEYS: &str = "\
WITH RECURSIVE down (relation, oid) AS ( \
    SELECT w.oid, w.oid FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS w (oid) \
    UNION ALL \
    SELECT down.relation, i.inhrelid FROM down \
      JOIN pg_catalog.pg_inherits AS i ON i.inhparent = down.oid \
      JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid AND c.relispartition), \
line AS ( \
    SELECT every.oid, pg_catalog.array_agg(every.relation) AS relations \
    FROM (SELECT relation, oid FROM down \
          UNION \
          SELECT w.oid, up.relid FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS w (oid), \
                 pg_catalog.pg_partition_ancestors(w.oid) AS up (relid)) AS every \
    GROUP BY every.oid) \
SELECT COALESCE(of_from.relations, '{}'), COALESCE(of_to.relations, '{}'), k.conname::pg_catalog.text, \
       fn.nspname::pg_catalog.text, f.relname::pg_catalog.text, \
       tn.nspname::pg_catalog.text, t.relname::pg_catalog.text, k.condeferrable, \
       ARRAY(SELECT pn.nspname::pg_catalog.text FROM PARENTS), \
       ARRAY(SELECT p.relname::pg_catalog.text FROM PARENTS) \
FROM pg_catalog.pg_constraint AS k \
LEFT JOIN line AS of_from ON of_from.oid = k.conrelid \
LEFT JOIN line AS of_to ON of_to.oid = k.confrelid \
JOIN pg_catalog.pg_class AS f ON f.oid = k.conrelid \
JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.relnamespace \
JOIN pg_catalog.pg_class AS t ON t.oid = k.confrelid \
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace \
WHERE k.contype = 'f' AND k.conparentid = 0 \
  AND (of_from.oid IS NOT NULL OR of_to.oid IS NOT NULL) \
ORDER BY 4, 5, 3, 6, 7";

const PARENTS: &str = "\
pg_catalog.pg_partition_ancestors(f.oid) WITH ORDINALITY AS up (oid, place) \
JOIN pg_catalog.pg_class AS p ON p.oid = up.oid \
JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace \
WHERE f.relispartition AND p.oid <> f.oid ORDER BY up.place";

/// One row a foreign key, as it was declared, if it points to the relations or to what keys that change
/// rows lead to from there. Partitions stand for the topmost table that they are part of.
const ACTIONS: &str = "\
WITH RECURSIVE keys AS MATERIALIZED ( \
    SELECT k.*, k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd') AS acts, \
           COALESCE(pg_catalog.pg_partition_root(k.conrelid), k.conrelid)::pg_catalog.oid AS from_top, \
           COALESCE(pg_catalog.pg_partition_root(k.confrelid), k.confrelid)::pg_catalog.oid AS to_top \
    FROM pg_catalog.pg_constraint AS k \
    WHERE k.contype = 'f' AND k.conparentid = 0 \
      AND EXISTS (SELECT FROM pg_catalog.pg_trigger AS g \
                   WHERE g.tgconstraint = k.oid AND g.tgrelid = k.confrelid AND ENABLED)), \
reached (top) AS ( \
    SELECT c.oid FROM pg_catalog.pg_class AS c WHERE c.oid = ANY ($1::pg_catalog.oid[]) \
    UNION \
    SELECT keys.from_top FROM reached JOIN keys ON keys.to_top = reached.top AND keys.acts), \
parts (top, oid) AS ( \
    SELECT DISTINCT keys.from_top, keys.from_top FROM keys JOIN reached ON reached.top = keys.to_top WHERE keys.acts \
    UNION ALL \
    SELECT parts.top, i.inhrelid FROM parts \
      JOIN pg_catalog.pg_inherits AS i ON i.inhparent = parts.oid \
      JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid AND c.relispartition) \
SELECT k.conname::pg_catalog.text, fn.nspname::pg_catalog.text, f.relname::pg_catalog.text, \
       on_.nspname::pg_catalog.text, o.relname::pg_catalog.text, tn.nspname::pg_catalog.text, t.relname::pg_catalog.text, \
       ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute AS a \
              WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)), \
       ARRAY(SELECT a.attname::pg_catalog.text FROM pg_catalog.pg_attribute AS a \
              WHERE a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey)), \
       EXISTS (SELECT FROM pg_catalog.pg_attribute AS a \
                WHERE a.attrelid = k.confrelid AND a.attnum = ANY (k.confkey) AND a.attgenerated <> ''), \
       k.confdeltype::pg_catalog.text, k.confupdtype::pg_catalog.text, \
       EXISTS (SELECT FROM parts JOIN pg_catalog.pg_trigger AS g ON g.tgrelid = parts.oid \
                WHERE parts.top = k.from_top AND FIRES) \
       OR EXISTS (SELECT FROM parts JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = parts.oid \
                   WHERE parts.top = k.from_top AND w.ev_enabled <> 'D') \
FROM keys AS k \
JOIN reached ON reached.top = k.to_top \
JOIN pg_catalog.pg_class AS f ON f.oid = k.conrelid \
JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.relnamespace \
JOIN pg_catalog.pg_class AS o ON o.oid = k.from_top \
JOIN pg_catalog.pg_namespace AS on_ ON on_.oid = o.relnamespace \
JOIN pg_catalog.pg_class AS t ON t.oid = k.to_top \
JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace \
ORDER BY 2, 3, 1";

/// The topmost table of each relation that is a partition, and of each other one itself.
const TOPS: &str = "\
SELECT top.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
       topn.nspname::pg_catalog.text, top.relname::pg_catalog.text \
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS wanted (schema, name) \
JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema \
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name \
JOIN pg_catalog.pg_class AS top ON top.oid = COALESCE(pg_catalog.pg_partition_root(c.oid), c.oid) \
JOIN pg_catalog.pg_namespace AS topn ON topn.oid = top.relnamespace";

/// Reads the foreign keys that may change rows, or look for rows, when rows of these relations are deleted or updated.
pub async fn key_actions(session: &Session, names: &[QualifiedName]) -> Result<KeyActions> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let relations: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let mut actions = KeyActions::default();
    let mut oids: Vec<u32> = Vec::new();
    let asked: [&dyn Param; 2] = [&schemas, &relations];
    for row in session.query(Phase::Inspect, TOPS, &asked).await? {
        oids.push(row.get(0));
        actions.tops.insert(name(&row, 1), name(&row, 3));
    }
    let sql = ACTIONS.replace("FIRES", FIRES).replace("ENABLED", ENABLED);
    let rows = session.query(Phase::Inspect, &sql, &[&oids]).await?;
    actions.keys = rows.iter().map(key_action).collect();
    Ok(actions)
}

fn key_action(row: &Row) -> KeyAction {
    let columns = |at: usize| -> Vec<Ident> {
        let names: Vec<String> = row.get(at);
        names.into_iter().map(Ident::new).collect()
    };
    let action = |at: usize| match row.get::<_, String>(at).as_str() {
        "c" => Some(ReferentialAction::Cascade),
        "n" => Some(ReferentialAction::SetNull),
        "d" => Some(ReferentialAction::SetDefault),
        _ => None,
    };
    KeyAction {
        name: row.get(0),
        table: name(row, 1),
        from: name(row, 3),
        to: name(row, 5),
        from_columns: columns(7),
        to_columns: columns(8),
        to_generated: row.get(9),
        on_delete: action(10),
        on_update: action(11),
        runs_code: row.get(12),
    }
}

fn name(row: &Row, schema: usize) -> QualifiedName {
    QualifiedName::new(
        row.get::<_, String>(schema),
        row.get::<_, String>(schema + 1),
    )
}

/// Adds foreign keys to the relations that have them, and to those that they point to.
pub(super) async fn read(
    session: &Session,
    oids: &[u32],
    found: &mut BTreeMap<u32, RelationDesc>,
) -> Result<()> {
    let sql = FOREIGN_KEYS.replace("PARENTS", PARENTS);
    for row in session.query(Phase::Inspect, &sql, &[&oids]).await? {
        let parent_schemas: Vec<String> = row.get(8);
        let parents: Vec<String> = row.get(9);
        let key = ForeignKey {
            name: row.get(2),
            from: name(&row, 3),
            to: name(&row, 5),
            from_ancestors: parent_schemas
                .into_iter()
                .zip(parents)
                .map(|(schema, name)| QualifiedName::new(schema, name))
                .collect(),
            deferrable: row.get(7),
        };
        for oid in row.get::<_, Vec<u32>>(0) {
            if let Some(relation) = found.get_mut(&oid) {
                relation.foreign_keys.push(key.clone());
            }
        }
        for oid in row.get::<_, Vec<u32>>(1) {
            if let Some(relation) = found.get_mut(&oid) {
                relation.referenced_by.push(key.clone());
            }
        }
    }
    Ok(())
}
