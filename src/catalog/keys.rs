//! Unique indexes, with the equality operator of each column.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use crate::catalog::desc::{KeyColumn, OperatorName, RelationDesc, UniqueIndex};
use crate::error::{Phase, Result};
use crate::pg::ident::{Ident, QualifiedName};
use crate::pg::session::Session;

/// One row a column of a unique index or exclusion constraint, those that only a partition has
/// included. Strategy 3 of a B-tree is its
/// equality, support function 4 tells whether equal values are the same bytes.
const INDEXES: &str = "\
WITH RECURSIVE down (relation, oid) AS ( \
    SELECT w.oid, w.oid FROM pg_catalog.unnest($1::pg_catalog.oid[]) AS w (oid) \
    UNION ALL \
    SELECT down.relation, h.inhrelid FROM down \
      JOIN pg_catalog.pg_inherits AS h ON h.inhparent = down.oid \
      JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid AND c.relispartition) \
SELECT down.relation, ic.relname::pg_catalog.text, \
       down.oid = down.relation AND i.indisvalid AND i.indisready AND i.indpred IS NULL AND i.indexprs IS NULL AND NOT i.indisexclusion, \
       i.indimmediate, \
       a.attname::pg_catalog.text, opn.nspname::pg_catalog.text, op.oprname::pg_catalog.text, \
       con.nspname::pg_catalog.text, co.collname::pg_catalog.text, \
       EXISTS (SELECT FROM pg_catalog.pg_amproc AS ap \
                WHERE ap.amprocfamily = oc.opcfamily AND ap.amproclefttype = oc.opcintype \
                  AND ap.amprocrighttype = oc.opcintype AND ap.amprocnum = 4 \
                  AND (ap.amproc = 'pg_catalog.btequalimage'::pg_catalog.regproc \
                    OR ap.amproc = 'pg_catalog.btvarstrequalimage'::pg_catalog.regproc \
                   AND COALESCE((SELECT d.collisdeterministic FROM pg_catalog.pg_collation AS d \
                                  WHERE d.oid = k.coll), true))), \
       op.oprcanhash, op.oprcanmerge \
FROM down JOIN pg_catalog.pg_index AS i ON i.indrelid = down.oid \
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
WHERE (i.indisunique OR i.indisexclusion) AND (down.oid = down.relation OR NOT ic.relispartition) \
ORDER BY down.relation, down.oid <> down.relation, NOT i.indisprimary, ic.relname, i.indexrelid, k.place";

/// Adds unique indexes to the relations.
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
            hashes: row.get::<_, Option<bool>>(10).unwrap_or(false),
            merges: row.get::<_, Option<bool>>(11).unwrap_or(false),
            equal_is_identical: row.get(9),
        });
    }
}
