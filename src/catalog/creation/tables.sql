-- What tables and their partitions are made of, one row and one JSON object a table, partitions after the tables
-- above them. $1 and $2 are the schemas and names of the tables. Definitions are the server's own texts, in which
-- every name is qualified, because the search path is empty. @NAMES@ stand for what differs between versions.
WITH RECURSIVE tree (oid, root_schema, root_name, depth) AS (
    SELECT c.oid, n.nspname, c.relname, 0
      FROM ROWS FROM (unnest($1::text[]), unnest($2::text[])) AS wanted (schema, name)
      JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
      JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name
     WHERE c.relkind IN ('r', 'p')
     UNION ALL
    SELECT i.inhrelid, tree.root_schema, tree.root_name, tree.depth + 1
      FROM tree JOIN pg_catalog.pg_class AS up ON up.oid = tree.oid AND up.relkind = 'p'
      JOIN pg_catalog.pg_inherits AS i ON i.inhparent = tree.oid @ATTACHED@
)
SELECT json_build_object(
  'root', json_build_object('schema', tree.root_schema, 'name', tree.root_name),
  'schema', n.nspname,
  'name', c.relname,
  'kind', c.relkind,
  'depth', tree.depth,
  'parent', (SELECT json_build_object('schema', pn.nspname, 'name', p.relname)
               FROM pg_catalog.pg_inherits AS i
               JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
               JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
              WHERE i.inhrelid = c.oid AND c.relispartition),
  'bound', pg_get_expr(c.relpartbound, c.oid),
  'partition_key', CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
  'unlogged', c.relpersistence = 'u',
  'temporary', c.relpersistence = 't',
  'access_method', (SELECT m.amname FROM pg_catalog.pg_am AS m WHERE m.oid = c.relam),
  'tablespace', (SELECT s.spcname FROM pg_catalog.pg_tablespace AS s WHERE s.oid = c.reltablespace),
  'options', COALESCE(c.reloptions, '{}'),
  'toast_options', COALESCE((SELECT t.reloptions FROM pg_catalog.pg_class AS t WHERE t.oid = c.reltoastrelid), '{}'),
  'comment', (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = c.oid AND e.classoid = 1259 AND e.objsubid = 0),

  'columns', (SELECT COALESCE(json_agg(k ORDER BY k.attnum), '[]') FROM (
      SELECT a.attnum, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, json_build_object('schema', tn.nspname, 'name', t.typname) AS type_name,
             (SELECT json_build_object('schema', cn.nspname, 'name', co.collname)
                FROM pg_catalog.pg_collation AS co
                JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace
               WHERE co.oid = a.attcollation AND a.attcollation <> t.typcollation) AS collation,
             a.attnotnull AND @NOT_NULL_IS_VALID@ AS not_null,
             @NOT_NULL@ AS not_null_constraint,
             pg_get_expr(d.adbin, d.adrelid) AS expression,
             a.attgenerated AS generated,
             a.attidentity AS identity,
             CASE WHEN a.attstorage <> t.typstorage THEN
               CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
                                 WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END AS storage,
             @COMPRESSION@ AS compression,
             (SELECT e.description FROM pg_catalog.pg_description AS e
               WHERE e.objoid = c.oid AND e.classoid = 1259 AND e.objsubid = a.attnum) AS comment,
             -- Those that it owns, and those that its default takes numbers from.
             (SELECT COALESCE(json_agg(json_build_object(
                       'schema', sn.nspname, 'name', s.relname, 'internal', own.kind = 'i', 'owned', own.kind IN ('i', 'a'),
                       'literal', quote_literal(format('%I.%I', sn.nspname, s.relname)),
                       'type', format_type(q.seqtypid, NULL), 'unlogged', s.relpersistence = 'u',
                       'start', q.seqstart, 'increment', q.seqincrement, 'min', q.seqmin, 'max', q.seqmax,
                       'cache', q.seqcache, 'cycle', q.seqcycle,
                       'comment', (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = s.oid AND e.classoid = 1259 AND e.objsubid = 0))
                       ORDER BY sn.nspname, s.relname), '[]')
                FROM (SELECT feeding.oid, min(feeding.kind) AS kind FROM (
                          SELECT dep.objid AS oid, CASE dep.deptype WHEN 'i' THEN 'i' ELSE 'b' END AS kind
                            FROM pg_catalog.pg_depend AS dep
                           WHERE dep.classid = 1259 AND dep.refclassid = 1259 AND dep.refobjid = c.oid
                             AND dep.refobjsubid = a.attnum AND dep.deptype = 'i'
                           UNION ALL
                          SELECT dep.objid, 'a'
                            FROM pg_catalog.pg_depend AS dep
                           WHERE dep.classid = 1259 AND dep.refclassid = 1259 AND dep.refobjid = c.oid
                             AND dep.refobjsubid = a.attnum AND dep.deptype = 'a'
                           UNION ALL
                          SELECT dep.refobjid, 'z'
                            FROM pg_catalog.pg_depend AS dep
                           WHERE dep.classid = 2604 AND dep.objid = d.oid AND dep.refclassid = 1259) AS feeding
                       GROUP BY feeding.oid) AS own
                JOIN pg_catalog.pg_class AS s ON s.oid = own.oid AND s.relkind = 'S'
                JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.relnamespace
                JOIN pg_catalog.pg_sequence AS q ON q.seqrelid = s.oid) AS sequences
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.typnamespace
        LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS k),

  'checks', (SELECT COALESCE(json_agg(k ORDER BY k.name), '[]') FROM (
      SELECT con.conname AS name, pg_get_constraintdef(con.oid) AS definition, con.convalidated AS validated,
             ARRAY(SELECT a.attname FROM pg_catalog.pg_attribute AS a
                    WHERE a.attrelid = c.oid AND a.attnum = ANY (con.conkey) ORDER BY a.attnum) AS columns,
             (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = con.oid AND e.classoid = 2606 AND e.objsubid = 0) AS comment
        FROM pg_catalog.pg_constraint AS con
       WHERE con.conrelid = c.oid AND con.contype = 'c') AS k),

  -- Without those that a partition has because the table above it has them.
  'foreign_keys', (SELECT COALESCE(json_agg(k ORDER BY k.name), '[]') FROM (
      SELECT con.conname AS name,
             (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = con.oid AND e.classoid = 2606 AND e.objsubid = 0) AS comment,
             json_build_object('schema', rn.nspname, 'name', r.relname) AS references,
             own.head, con.condeferrable AS deferrable,
             CASE WHEN starts_with(own.definition, own.head || format('%I.%I', rn.nspname, r.relname))
                  THEN substr(own.definition, length(own.head || format('%I.%I', rn.nspname, r.relname)) + 1)
             END AS tail,
             own.columns,
             ARRAY(SELECT a.attname FROM unnest(con.confkey) WITH ORDINALITY AS key (attnum, place)
                     JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attnum = key.attnum
                    ORDER BY key.place) AS referenced_columns
        FROM pg_catalog.pg_constraint AS con
        JOIN pg_catalog.pg_class AS r ON r.oid = con.confrelid
        JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
       CROSS JOIN LATERAL (
          SELECT pg_get_constraintdef(con.oid) AS definition, array_agg(a.attname ORDER BY key.place) AS columns,
                 format('FOREIGN KEY (%s) REFERENCES ', string_agg(@PERIOD@ || quote_ident(a.attname), ', ' ORDER BY key.place)) AS head
            FROM unnest(con.conkey) WITH ORDINALITY AS key (attnum, place)
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = key.attnum) AS own
       WHERE con.conrelid = c.oid AND con.contype = 'f' AND con.conparentid = 0) AS k),

  'indexes', (SELECT COALESCE(json_agg(k ORDER BY k.is_primary DESC, k.name), '[]') FROM (
      SELECT i.relname AS name, x.indisunique AS "unique", x.indisprimary AS is_primary,
             CASE WHEN starts_with(own.definition, own.head) THEN
               CASE WHEN starts_with(substr(own.definition, length(own.head) + 1), own.only_name)
                    THEN substr(own.definition, length(own.head || own.only_name) + 1)
                    WHEN starts_with(substr(own.definition, length(own.head) + 1), own.full_name)
                    THEN substr(own.definition, length(own.head || own.full_name) + 1) END END AS tail,
             (SELECT s.spcname FROM pg_catalog.pg_tablespace AS s WHERE s.oid = i.reltablespace) AS tablespace,
             COALESCE(i.reloptions, '{}') AS options,
             -- Those of its expressions and condition, too.
             ARRAY(SELECT DISTINCT a.attname FROM pg_catalog.pg_attribute AS a
                    WHERE a.attrelid = c.oid AND (a.attnum = ANY (x.indkey) OR a.attnum IN (
                        SELECT dep.refobjsubid FROM pg_catalog.pg_depend AS dep
                         WHERE dep.classid = 1259 AND dep.objid = i.oid AND dep.refclassid = 1259 AND dep.refobjid = c.oid))
                      AND a.attnum > 0 ORDER BY 1) AS columns,
             (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = i.oid AND e.classoid = 1259 AND e.objsubid = 0) AS comment,
             (SELECT json_build_object(
                       'definition', pg_get_constraintdef(con.oid),
                       'comment', (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = con.oid AND e.classoid = 2606 AND e.objsubid = 0))
                FROM pg_catalog.pg_constraint AS con
               WHERE con.conrelid = c.oid AND con.conindid = i.oid AND con.contype IN ('p', 'u', 'x')) AS "constraint"
        FROM pg_catalog.pg_index AS x
        JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
       CROSS JOIN LATERAL (
          SELECT pg_get_indexdef(i.oid) AS definition,
                 format('CREATE %sINDEX %I ON ', CASE WHEN x.indisunique THEN 'UNIQUE ' END, i.relname) AS head,
                 format('ONLY %I.%I ', n.nspname, c.relname) AS only_name,
                 format('%I.%I ', n.nspname, c.relname) AS full_name) AS own
       WHERE x.indrelid = c.oid AND x.indisvalid) AS k),

  -- What is not made, as a person says it.
  'left_out', ARRAY(
      SELECT 'trigger ' || quote_ident(g.tgname) FROM pg_catalog.pg_trigger AS g
       WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgparentid = 0
       UNION ALL
      SELECT 'rule ' || quote_ident(w.rulename) FROM pg_catalog.pg_rewrite AS w WHERE w.ev_class = c.oid
       UNION ALL
      SELECT 'policy ' || quote_ident(p.polname) FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid
       UNION ALL
      SELECT 'row security' WHERE c.relrowsecurity OR c.relforcerowsecurity
       UNION ALL
      SELECT 'extended statistics ' || format('%I.%I', sn.nspname, s.stxname)
        FROM pg_catalog.pg_statistic_ext AS s JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.stxnamespace
       WHERE s.stxrelid = c.oid
       UNION ALL
      SELECT 'inheritance from ' || format('%I.%I', pn.nspname, p.relname)
        FROM pg_catalog.pg_inherits AS i
        JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
        JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
       WHERE i.inhrelid = c.oid AND (NOT c.relispartition OR tree.depth = 0)
       UNION ALL
      SELECT 'its type ' || format_type(c.reloftype, NULL) WHERE c.reloftype <> 0
       UNION ALL
      SELECT 'NOT NULL of ' || quote_ident(a.attname) || ', which is NOT VALID' FROM pg_catalog.pg_attribute AS a
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull AND NOT (@NOT_NULL_IS_VALID@)
       UNION ALL
      SELECT 'index ' || quote_ident(xi.relname) || ', which is invalid'
        FROM pg_catalog.pg_index AS x JOIN pg_catalog.pg_class AS xi ON xi.oid = x.indexrelid
       WHERE x.indrelid = c.oid AND NOT x.indisvalid
       ORDER BY 1)
)::text
FROM tree
JOIN pg_catalog.pg_class AS c ON c.oid = tree.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
ORDER BY tree.depth, n.nspname, c.relname
