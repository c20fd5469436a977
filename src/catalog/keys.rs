//! Unique indexes, with the equality that each of them means by "the same key"; and what a DELETE
//! does to other tables.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use crate::catalog::desc::{DeleteAction, KeyColumn, OperatorName, RelationDesc, UniqueIndex};
use crate::error::{Phase, Result};
use crate::pg::ident::{Ident, QualifiedName};
use crate::pg::session::Session;

/// One row a column of a unique index or exclusion constraint. Strategy 3 of a B-tree is its
/// equality, support function 4 tells whether equal values are the same bytes.
const INDEXES: &str = "\
SELECT i.indrelid, ic.relname::pg_catalog.text, \
       i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT i.indisexclusion, \
       i.indimmediate, \
       a.attname::pg_catalog.text, opn.nspname::pg_catalog.text, op.oprname::pg_catalog.text, \
       con.nspname::pg_catalog.text, co.collname::pg_catalog.text, \
       EXISTS (SELECT FROM pg_catalog.pg_amproc AS ap \
                WHERE ap.amprocfamily = oc.opcfamily AND ap.amproclefttype = oc.opcintype \
                  AND ap.amprocrighttype = oc.opcintype AND ap.amprocnum = 4 \
                  AND (ap.amproc = 'pg_catalog.btequalimage'::pg_catalog.regproc \
                    OR ap.amproc = 'pg_catalog.btvarstrequalimage'::pg_catalog.regproc \
                   AND COALESCE((SELECT d.collisdeterministic FROM pg_catalog.pg_collation AS d \
                                  WHERE d.oid = k.coll), true))) \
FROM pg_catalog.pg_index AS i \
JOIN pg_catalog.pg_class AS ic ON ic.oid = i.indexrelid \
LEFT JOIN LATERAL ROWS FROM ( \
          pg_catalog.unnest(i.indkey::pg_catalog.int2[]), pg_catalog.unnest(i.indclass::pg_catalog.oid[]), \
          pg_catalog.unnest(i.indcollation::pg_catalog.oid[])) \
     WITH ORDINALITY AS k (attnum, opclass, coll, place) ON k.place <= i.indnkeyatts \
LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum \
LEFT JOIN pg_catalog.pg_opclass AS oc ON oc.oid = k.opclass \
LEFT JOIN pg_catalog.pg_amop AS ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype \
     AND ao.amoprighttype = oc.opcintype AND ao.amopstrategy = 3 \
LEFT JOIN pg_catalog.pg_operator AS op ON op.oid = ao.amopopr \
LEFT JOIN pg_catalog.pg_namespace AS opn ON opn.oid = op.oprnamespace \
LEFT JOIN pg_catalog.pg_collation AS co ON co.oid = k.coll AND k.coll <> a.attcollation \
LEFT JOIN pg_catalog.pg_namespace AS con ON con.oid = co.collnamespace \
WHERE i.indrelid = ANY ($1::pg_catalog.oid[]) AND (i.indisunique OR i.indisexclusion) \
ORDER BY i.indrelid, NOT i.indisprimary, ic.relname, k.place";

const DELETE_ACTIONS: &str = "\
SELECT k.confrelid, k.conname::pg_catalog.text, n.nspname::pg_catalog.text, c.relname::pg_catalog.text, \
       CASE k.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' ELSE 'SET DEFAULT' END \
FROM pg_catalog.pg_constraint AS k \
JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid \
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace \
WHERE k.contype = 'f' AND k.confrelid = ANY ($1::pg_catalog.oid[]) \
  AND k.confdeltype IN ('c', 'n', 'd') AND k.conparentid = 0 \
ORDER BY 3, 4, 2";

/// Adds unique indexes and delete actions to the relations.
pub(super) async fn read(
    session: &Session,
    oids: &[u32],
    found: &mut BTreeMap<u32, RelationDesc>,
) -> Result<()> {
    for row in session.query(Phase::Inspect, INDEXES, &[&oids]).await? {
        if let Some(relation) = found.get_mut(&row.get::<_, u32>(0)) {
            add(&mut relation.unique_indexes, &row);
        }
    }
    let actions = session
        .query(Phase::Inspect, DELETE_ACTIONS, &[&oids])
        .await?;
    for row in actions {
        if let Some(relation) = found.get_mut(&row.get::<_, u32>(0)) {
            relation.delete_actions.push(DeleteAction {
                constraint: row.get(1),
                table: QualifiedName::new(row.get::<_, String>(2), row.get::<_, String>(3)),
                action: row.get(4),
            });
        }
    }
    Ok(())
}

fn add(indexes: &mut Vec<UniqueIndex>, row: &Row) {
    let name: String = row.get(1);
    if indexes.last().is_none_or(|index| index.name != name) {
        indexes.push(UniqueIndex {
            name,
            is_plain: row.get(2),
            immediate: row.get(3),
            columns: Vec::new(),
        });
    }
    let text = |at: usize| row.get::<_, Option<String>>(at);
    if let (Some(index), Some(column), Some(schema), Some(operator)) =
        (indexes.last_mut(), text(4), text(5), text(6))
    {
        index.columns.push(KeyColumn {
            name: Ident::new(column),
            equality: OperatorName {
                schema: Ident::new(schema),
                symbol: operator,
            },
            collation: text(7)
                .zip(text(8))
                .map(|(schema, name)| QualifiedName::new(schema, name)),
            equal_is_identical: row.get(9),
        });
    }
}
