-- What keeps rows out of the target's tables and shows only when a statement runs. $1, $2 and $3 are the
-- schemas, tables and names of the copied columns, side by side.
WITH RECURSIVE copied AS (
    SELECT c.oid AS relid, a.attnum, a.atttypid
      FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]),
                      pg_catalog.unnest($3::pg_catalog.text[])) AS wanted (schema, name, attname)
      JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
      JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name
      JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = wanted.attname
     WHERE NOT a.attisdropped
), target AS (
    SELECT DISTINCT c.oid, c.relkind, n.nspname, c.relname
      FROM copied JOIN pg_catalog.pg_class AS c ON c.oid = copied.relid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
), part AS (
    SELECT t.oid AS relid, t.oid, t.relkind FROM target AS t
    UNION ALL
    SELECT part.relid, c.oid, c.relkind
      FROM part JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid AND part.relkind = 'p'
      JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
), used AS (
    -- Defaults of columns that are not copied, and expressions of generated ones.
    SELECT d.adrelid AS relid, 'pg_catalog.pg_attrdef'::pg_catalog.regclass AS classid, d.oid
      FROM target AS t JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = t.oid
     WHERE NOT EXISTS (SELECT FROM copied WHERE copied.relid = d.adrelid AND copied.attnum = d.adnum)
    UNION ALL
    SELECT part.relid, 'pg_catalog.pg_constraint', k.oid
      FROM part JOIN pg_catalog.pg_constraint AS k ON k.conrelid = part.oid AND k.contype = 'c'
    UNION ALL
    SELECT copied.relid, 'pg_catalog.pg_constraint', k.oid
      FROM copied JOIN pg_catalog.pg_constraint AS k ON k.contypid = copied.atttypid
    UNION ALL
    SELECT part.relid, 'pg_catalog.pg_class', x.indexrelid
      FROM part JOIN pg_catalog.pg_index AS x ON x.indrelid = part.oid
    UNION ALL
    SELECT part.relid, 'pg_catalog.pg_class', part.oid FROM part WHERE part.relkind = 'p'
), found AS (
    SELECT DISTINCT used.relid, 'function' AS kind, p.oid::pg_catalog.regprocedure::pg_catalog.text AS name
      FROM used JOIN pg_catalog.pg_depend AS d ON d.classid = used.classid AND d.objid = used.oid
      JOIN pg_catalog.pg_proc AS p ON p.oid = d.refobjid
     WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass
       AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
    UNION ALL
    SELECT DISTINCT used.relid, 'sequence', s.oid::pg_catalog.regclass::pg_catalog.text
      FROM used JOIN pg_catalog.pg_depend AS d ON d.classid = used.classid AND d.objid = used.oid
      JOIN pg_catalog.pg_class AS s ON s.oid = d.refobjid
     WHERE d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
       -- Asked of sequences only: of anything else it would be an error.
       AND CASE WHEN s.relkind = 'S' THEN NOT pg_catalog.has_sequence_privilege(s.oid, 'USAGE, UPDATE') END
    UNION ALL
    SELECT DISTINCT copied.relid, 'type', pg_catalog.format_type(COALESCE(element.oid, t.oid), NULL)
      FROM copied JOIN pg_catalog.pg_type AS t ON t.oid = copied.atttypid
      LEFT JOIN pg_catalog.pg_type AS element ON element.typarray = t.oid
     WHERE NOT pg_catalog.has_type_privilege(COALESCE(element.oid, t.oid), 'USAGE')
    UNION ALL
    SELECT t.oid, 'partition', ''
      FROM target AS t
     WHERE t.relkind = 'p' AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhparent = t.oid)
    UNION ALL
    SELECT DISTINCT part.relid, what.kind, pg_catalog.quote_ident(p.pubname)
      FROM part JOIN pg_catalog.pg_class AS c ON c.oid = part.oid AND c.relpersistence = 'p'
      CROSS JOIN pg_catalog.pg_publication AS p
      JOIN (VALUES ('deletions published'), ('updates published')) AS what (kind)
        ON CASE what.kind WHEN 'deletions published' THEN p.pubdelete ELSE p.pubupdate END
     WHERE c.relkind = 'r'
       AND NOT (c.relreplident = 'f' OR EXISTS (
           SELECT FROM pg_catalog.pg_index AS x
            WHERE x.indrelid = c.oid AND x.indisvalid AND x.indimmediate
              AND (c.relreplident = 'd' AND x.indisprimary OR c.relreplident = 'i' AND x.indisreplident)))
       AND (p.puballtables OR EXISTS (
           SELECT FROM (SELECT c.oid UNION SELECT pg_catalog.pg_partition_ancestors(c.oid)) AS up (oid)
            WHERE EXISTS (SELECT FROM pg_catalog.pg_publication_rel AS r WHERE r.prpubid = p.oid AND r.prrelid = up.oid)
               @PUBLISHED_SCHEMA@))
)
SELECT t.nspname::pg_catalog.text, t.relname::pg_catalog.text, found.kind, found.name
  FROM found JOIN target AS t ON t.oid = found.relid
 ORDER BY 1, 2, 3, 4
