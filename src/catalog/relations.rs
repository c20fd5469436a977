//! Reads relations, their columns and keys: a few queries for all relations of a job.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use crate::catalog::desc::{
    ColumnDesc, ColumnSequence, Identity, Privileges, RelationDesc, RelationKind,
};
use crate::catalog::types::Types;
use crate::catalog::{foreign_keys, keys};
use crate::error::{Phase, Result, Side};
use crate::pg::ident::{Ident, QualifiedName};
use crate::pg::session::Session;

/// One row a relation. `MAY_SET`, `MAINTAIN` and `ZERO_IS_KNOWN` are placeholders for what differs
/// between versions, `BYTES` and `BLOCKS` for what may be asked without waiting for a lock.
///
/// The leaves of a partitioned table are found through `pg_inherits`: `pg_partition_tree` would lock
/// them.
const RELATIONS: &str = "\
SELECT c.oid, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, c.relkind::pg_catalog.text, \
       pg_catalog.current_setting('lc_monetary'), \
       pg_catalog.row_security_active(c.oid), \
       heirs.schemas, \
       sizes.tuples, sizes.bytes, \
       ARRAY(SELECT a.attname::pg_catalog.text \
               FROM pg_catalog.pg_constraint AS k, \
                    pg_catalog.unnest(k.conkey) WITH ORDINALITY AS key (attnum, place) \
               JOIN pg_catalog.pg_attribute AS a ON a.attnum = key.attnum \
              WHERE k.conrelid = c.oid AND k.contype = 'p' AND a.attrelid = c.oid \
              ORDER BY key.place), \
       ARRAY(SELECT w.rulename::pg_catalog.text FROM pg_catalog.pg_rewrite AS w \
              WHERE w.ev_class = c.oid AND w.rulename <> '_RETURN' AND w.ev_enabled <> 'D' \
              ORDER BY 1), \
       ARRAY(SELECT DISTINCT g.tgname::pg_catalog.text FROM pg_catalog.pg_trigger AS g \
              WHERE g.tgrelid = ANY (sizes.parts) AND FIRES ORDER BY 1), \
       pg_catalog.has_table_privilege(c.oid, 'SELECT'), \
       pg_catalog.has_table_privilege(c.oid, 'INSERT'), \
       pg_catalog.has_table_privilege(c.oid, 'UPDATE'), \
       pg_catalog.has_table_privilege(c.oid, 'DELETE'), \
       pg_catalog.has_table_privilege(c.oid, 'TRUNCATE'), \
       pg_catalog.pg_has_role(c.relowner, 'USAGE'), \
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'), \
       pg_catalog.pg_has_role(c.relowner, 'USAGE') \
         OR (SELECT pg_catalog.pg_has_role(d.datdba, 'USAGE') FROM pg_catalog.pg_database AS d \
              WHERE d.datname = pg_catalog.current_database()) MAINTAIN, \
       MAY_SET, \
       pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMPORARY'), \
       BLOCKS, \
       heirs.names, \
       above.schemas, above.names \
FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) AS wanted (schema, name) \
JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema \
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name \
LEFT JOIN LATERAL ( \
    WITH RECURSIVE part (oid) AS ( \
        SELECT c.oid \
        UNION ALL \
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN part ON i.inhparent = part.oid \
         WHERE c.relkind = 'p') \
    SELECT CASE WHEN c.relkind IN ('r', 'p', 'm') AND pg_catalog.bool_and( \
                     p.relkind = 'p' OR p.reltuples > 0 OR p.reltuples = 0 AND (ZERO_IS_KNOWN OR p.relpages > 0)) \
                THEN pg_catalog.sum(p.reltuples) FILTER (WHERE p.relkind <> 'p')::pg_catalog.float8 \
           END AS tuples, \
           COALESCE(pg_catalog.sum(BYTES), 0)::pg_catalog.int8 AS bytes, \
           pg_catalog.array_agg(p.oid) AS parts \
    FROM part JOIN pg_catalog.pg_class AS p ON p.oid = part.oid \
) AS sizes ON true \
LEFT JOIN LATERAL ( \
    WITH RECURSIVE heir (oid) AS ( \
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i \
         WHERE i.inhparent = c.oid AND c.relkind IN ('r', 'f') \
        UNION \
        SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i JOIN heir ON i.inhparent = heir.oid) \
    SELECT pg_catalog.array_agg(hn.nspname::pg_catalog.text ORDER BY hn.nspname, h.relname) AS schemas, \
           pg_catalog.array_agg(h.relname::pg_catalog.text ORDER BY hn.nspname, h.relname) AS names \
    FROM heir JOIN pg_catalog.pg_class AS h ON h.oid = heir.oid \
    JOIN pg_catalog.pg_namespace AS hn ON hn.oid = h.relnamespace \
) AS heirs ON true \
LEFT JOIN LATERAL ( \
    SELECT pg_catalog.array_agg(un.nspname::pg_catalog.text ORDER BY up.place) AS schemas, \
           pg_catalog.array_agg(u.relname::pg_catalog.text ORDER BY up.place) AS names \
    FROM pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY AS up (oid, place) \
    JOIN pg_catalog.pg_class AS u ON u.oid = up.oid \
    JOIN pg_catalog.pg_namespace AS un ON un.oid = u.relnamespace \
    WHERE c.relispartition AND up.oid <> c.oid \
) AS above ON true \
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f')";

/// The source holds locks on what it reads, so reading the size does not wait.
const BYTES_NOW: &str = "pg_catalog.pg_table_size(p.oid)";
/// System columns such as ctid need the privilege for the whole table. With another access method, ctid may
/// have another meaning.
const BLOCKS_NOW: &str = "\
CASE WHEN c.relkind IN ('r', 'm') AND pg_catalog.has_table_privilege(c.oid, 'SELECT') \
          AND c.relam = (SELECT m.oid FROM pg_catalog.pg_am AS m WHERE m.amname = 'heap') \
     THEN pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::pg_catalog.int8 \
END";
const BYTES_AT_LAST_ANALYZE: &str =
    "p.relpages::pg_catalog.int8 * pg_catalog.current_setting('block_size')::pg_catalog.int8";

/// One row a column, in `attnum` order. `SIDE` is the privilege that the side needs.
const COLUMNS: &str = "\
SELECT a.attrelid, a.attname::pg_catalog.text, a.atttypid, a.atttypmod, \
       pg_catalog.format_type(a.atttypid, a.atttypmod), \
       a.attnotnull OR t.typnotnull, \
       a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, \
       (SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid) FROM pg_catalog.pg_attrdef AS d \
         WHERE a.attgenerated <> '' AND d.adrelid = a.attrelid AND d.adnum = a.attnum), \
       a.attidentity::pg_catalog.text, \
       pg_catalog.has_column_privilege(a.attrelid, a.attnum, 'SIDE') \
FROM pg_catalog.pg_attribute AS a \
JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid \
WHERE a.attrelid = ANY ($1::pg_catalog.oid[]) AND a.attnum > 0 AND NOT a.attisdropped \
ORDER BY a.attrelid, a.attnum";

/// One row a sequence of a column, or of the same column of whatever its table is a partition of: those
/// that the column owns, and the one that is all of its default.
const SEQUENCES: &str = "\
WITH place (attrelid, relation) AS ( \
    SELECT c.oid, c.oid FROM pg_catalog.pg_class AS c WHERE c.oid = ANY ($1::pg_catalog.oid[]) \
    UNION \
    SELECT c.oid, up.oid FROM pg_catalog.pg_class AS c \
    CROSS JOIN LATERAL pg_catalog.pg_partition_ancestors(c.oid) AS up (oid) \
    WHERE c.oid = ANY ($1::pg_catalog.oid[]) AND c.relispartition \
), feeding (attrelid, relation, attnum, sequence) AS ( \
    SELECT place.attrelid, place.relation, d.refobjsubid, d.objid \
    FROM place JOIN pg_catalog.pg_depend AS d ON d.refobjid = place.relation \
    WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjsubid > 0 \
      AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i') \
    UNION \
    SELECT place.attrelid, place.relation, def.adnum, d.refobjid \
    FROM place JOIN pg_catalog.pg_attrdef AS def ON def.adrelid = place.relation \
    JOIN pg_catalog.pg_depend AS d ON d.objid = def.oid \
    JOIN pg_catalog.pg_class AS s ON s.oid = d.refobjid AND s.relkind = 'S' \
    JOIN pg_catalog.pg_attribute AS f ON f.attrelid = def.adrelid AND f.attnum = def.adnum \
    CROSS JOIN LATERAL (SELECT pg_catalog.format('nextval(%L::regclass)', s.oid::pg_catalog.regclass)) AS call (sql) \
    WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass \
      AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
      AND pg_catalog.pg_get_expr(def.adbin, def.adrelid) IN (call.sql, \
          pg_catalog.format('(%s)::%s', call.sql, pg_catalog.format_type(f.atttypid, f.atttypmod))) \
) \
SELECT DISTINCT feeding.attrelid, f.attname::pg_catalog.text, n.nspname::pg_catalog.text, s.relname::pg_catalog.text, \
       pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
       AND pg_catalog.has_sequence_privilege(s.oid, 'SELECT') \
       AND pg_catalog.has_sequence_privilege(s.oid, 'UPDATE') \
       AND pg_catalog.has_column_privilege(feeding.attrelid, f.attname, 'SELECT') \
FROM feeding \
JOIN pg_catalog.pg_class AS s ON s.oid = feeding.sequence AND s.relkind = 'S' \
JOIN pg_catalog.pg_namespace AS n ON n.oid = s.relnamespace \
JOIN pg_catalog.pg_attribute AS f ON f.attrelid = feeding.relation AND f.attnum = feeding.attnum \
ORDER BY 3, 4";

/// Reads the descriptions of these relations. A relation that does not exist is not in the result.
pub async fn read(
    session: &Session,
    names: &[QualifiedName],
) -> Result<BTreeMap<QualifiedName, RelationDesc>> {
    let schemas: Vec<&str> = names.iter().map(|name| name.schema.as_str()).collect();
    let relations: Vec<&str> = names.iter().map(|name| name.name.as_str()).collect();
    let sql = relations_sql(session);
    let mut found: BTreeMap<u32, RelationDesc> = BTreeMap::new();
    for row in session
        .query(Phase::Inspect, &sql, &[&schemas, &relations])
        .await?
    {
        found.insert(row.get(0), relation(session, &row));
    }
    let oids: Vec<u32> = found.keys().copied().collect();
    columns(session, &oids, &mut found).await?;
    sequences(session, &oids, &mut found).await?;
    foreign_keys::read(session, &oids, &mut found).await?;
    keys::read(session, &oids, &mut found).await?;
    Ok(found
        .into_values()
        .map(|relation| (relation.name.clone(), relation))
        .collect())
}

fn relations_sql(session: &Session) -> String {
    let version = session.version();
    let maintain = if version >= 170_000 {
        "OR pg_catalog.has_table_privilege(c.oid, 'MAINTAIN')"
    } else {
        ""
    };
    let may_set = if version >= 150_000 {
        "pg_catalog.has_parameter_privilege('session_replication_role', 'SET')"
    } else {
        "(SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER)"
    };
    let (bytes, blocks) = match session.side() {
        Side::Source => (BYTES_NOW, BLOCKS_NOW),
        Side::Target | Side::Local => (BYTES_AT_LAST_ANALYZE, "NULL::pg_catalog.int8"),
    };
    RELATIONS
        .replace("MAINTAIN,", &format!("{maintain},"))
        .replace("MAY_SET", may_set)
        .replace("FIRES", &foreign_keys::fires())
        // Before version 14, 0 tuples may also mean that the table was never analyzed.
        .replace(
            "ZERO_IS_KNOWN",
            if version >= 140_000 { "true" } else { "false" },
        )
        .replace("BYTES", bytes)
        .replace("BLOCKS", blocks)
}

fn relation(session: &Session, row: &Row) -> RelationDesc {
    let kind: String = row.get(3);
    let idents = |at: usize| -> Vec<Ident> {
        let names: Vec<String> = row.get(at);
        names.into_iter().map(Ident::new).collect()
    };
    RelationDesc {
        name: QualifiedName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        kind: match kind.as_str() {
            "p" => RelationKind::Partitioned,
            "v" => RelationKind::View,
            "m" => RelationKind::MaterializedView,
            "f" => RelationKind::Foreign,
            _ => RelationKind::Table,
        },
        server_version: session.version(),
        columns: Vec::new(),
        primary_key: idents(9),
        unique_indexes: Vec::new(),
        foreign_keys: Vec::new(),
        referenced_by: Vec::new(),
        rules: row.get(10),
        triggers: row.get(11),
        row_security_applies: row.get(5),
        children: names(row, 6, 23),
        ancestors: names(row, 24, 25),
        rows_estimate: row.get::<_, Option<f64>>(7).map(|rows| rows as u64),
        bytes_estimate: u64::try_from(row.get::<_, i64>(8)).unwrap_or(0),
        blocks: row
            .get::<_, Option<i64>>(22)
            .and_then(|blocks| u64::try_from(blocks).ok()),
        privileges: Privileges {
            select: row.get(12),
            insert: row.get(13),
            update: row.get(14),
            delete: row.get(15),
            truncate: row.get(16),
            owner: row.get(17),
            usage: row.get(18),
            analyze: row.get(19),
            skip_triggers: row.get(20),
            temporary: row.get(21),
        },
        lc_monetary: row.get(4),
    }
}

/// Two arrays of schemas and names; NULL for none.
fn names(row: &Row, schemas: usize, names: usize) -> Vec<QualifiedName> {
    let texts = |at: usize| row.get::<_, Option<Vec<String>>>(at).unwrap_or_default();
    let pairs = texts(schemas).into_iter().zip(texts(names));
    pairs
        .map(|(schema, name)| QualifiedName::new(schema, name))
        .collect()
}

async fn columns(
    session: &Session,
    oids: &[u32],
    found: &mut BTreeMap<u32, RelationDesc>,
) -> Result<()> {
    let privilege = match session.side() {
        Side::Source | Side::Local => "SELECT",
        Side::Target => "INSERT",
    };
    let sql = COLUMNS.replace("SIDE", privilege);
    let rows = session.query(Phase::Inspect, &sql, &[&oids]).await?;
    let types = Types::read(session, rows.iter().map(|row| row.get::<_, u32>(2))).await?;
    for row in &rows {
        let Some(relation) = found.get_mut(&row.get::<_, u32>(0)) else {
            continue;
        };
        let identity: String = row.get(8);
        relation.columns.push(ColumnDesc {
            name: Ident::new(row.get::<_, String>(1)),
            ty: types.describe(session, row.get(2))?,
            typmod: row.get(3),
            type_text: row.get(4),
            not_null: row.get(5),
            has_default: row.get(6),
            generated: row.get(7),
            identity: match identity.as_str() {
                "a" => Some(Identity::Always),
                "d" => Some(Identity::ByDefault),
                _ => None,
            },
            sequences: Vec::new(),
            privileged: row.get(9),
        });
    }
    Ok(())
}

/// What gives columns their values.
async fn sequences(
    session: &Session,
    oids: &[u32],
    found: &mut BTreeMap<u32, RelationDesc>,
) -> Result<()> {
    for row in session.query(Phase::Inspect, SEQUENCES, &[&oids]).await? {
        let text = |at: usize| row.get::<_, String>(at);
        let relation = found.get_mut(&row.get::<_, u32>(0));
        let columns = relation.map(|relation| relation.columns.iter_mut());
        let column = columns.and_then(|mut all| all.find(|c| c.name.as_str() == text(1)));
        if let Some(column) = column {
            column.sequences.push(ColumnSequence {
                name: QualifiedName::new(text(2), text(3)),
                may_set: row.get(4),
            });
        }
    }
    Ok(())
}
