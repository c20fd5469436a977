-- What decides which rows a table takes, as one JSON object a table. $1 and $2 are schemas and names, side
-- by side.
WITH RECURSIVE target AS (
    SELECT c.oid, n.nspname, c.relname, c.relkind, c.relispartition
      FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[]))
           AS wanted (schema, name)
      JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
      JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name
), part AS (
    SELECT i.inhparent AS root, i.inhrelid AS oid
      FROM target AS t JOIN pg_catalog.pg_inherits AS i ON i.inhparent = t.oid
      JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid AND c.relispartition
    UNION ALL
    SELECT part.root, i.inhrelid
      FROM part JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid
)
SELECT t.nspname::pg_catalog.text, t.relname::pg_catalog.text, pg_catalog.jsonb_build_object(
    -- Those that fire once for each COPY.
    'statement_triggers', ARRAY(
        SELECT g.tgname FROM pg_catalog.pg_trigger AS g
         WHERE g.tgrelid = t.oid AND NOT g.tgisinternal AND g.tgtype & 1 = 0 AND g.tgtype & 4 <> 0
           AND g.tgenabled IN ('A', CASE pg_catalog.current_setting('session_replication_role')
                                         WHEN 'replica' THEN 'R' ELSE 'O' END)
         ORDER BY 1),
    'checks', (
        SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', k.conname, 'columns', ARRAY(
                   SELECT a.attname FROM pg_catalog.pg_attribute AS a
                    WHERE a.attrelid = t.oid AND a.attnum = ANY (k.conkey) ORDER BY a.attnum)) ORDER BY k.conname), '[]')
          FROM pg_catalog.pg_constraint AS k WHERE k.conrelid = t.oid AND k.contype = 'c'),
    'foreign_keys', (
        SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                   'name', k.conname, 'schema', n.nspname, 'table', c.relname,
                   'partitioned', c.relkind = 'p', 'full', k.confmatchtype = 'f',
                   'readable', pg_catalog.has_table_privilege(c.oid, 'SELECT')
                               AND pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
                   'columns', (
                       SELECT pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                  'from', fa.attname, 'to', ta.attname, 'schema', opn.nspname, 'operator', op.oprname,
                                  'equal', op.oprname = '=' AND fa.attcollation = ta.attcollation)
                                  ORDER BY m.place)
                         FROM ROWS FROM (pg_catalog.unnest(k.conkey), pg_catalog.unnest(k.confkey),
                                         pg_catalog.unnest(k.conpfeqop))
                              WITH ORDINALITY AS m (from_, to_, operator, place)
                         JOIN pg_catalog.pg_attribute AS fa ON fa.attrelid = k.conrelid AND fa.attnum = m.from_
                         JOIN pg_catalog.pg_attribute AS ta ON ta.attrelid = k.confrelid AND ta.attnum = m.to_
                         JOIN pg_catalog.pg_operator AS op ON op.oid = m.operator
                         JOIN pg_catalog.pg_namespace AS opn ON opn.oid = op.oprnamespace))
                   ORDER BY k.conname), '[]')
          FROM pg_catalog.pg_constraint AS k
          JOIN pg_catalog.pg_class AS c ON c.oid = k.confrelid
          JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
          -- Of a key to a partitioned table there is a copy for each of its partitions.
          LEFT JOIN pg_catalog.pg_constraint AS above ON above.oid = k.conparentid
         WHERE k.conrelid = t.oid AND k.contype = 'f'
           -- NOT ENFORCED is known since version 18.
           AND pg_catalog.to_jsonb(k) ->> 'conenforced' IS DISTINCT FROM 'false'
           AND (above.oid IS NULL OR above.conrelid <> k.conrelid)),
    -- What makes another table unique in the same way: the tail of CREATE UNIQUE INDEX, or a constraint.
    'uniques', (
        SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('name', u.name, 'is_constraint', u.own IS NOT NULL,
                   'definition', COALESCE(u.own, pg_catalog.substr(u.definition, pg_catalog.length(u.head) + 1)))
                   ORDER BY u.name), '[]')
          FROM (SELECT i.relname AS name, pg_catalog.pg_get_indexdef(i.oid) AS definition,
                       pg_catalog.format('CREATE UNIQUE INDEX %I ON %s%I.%I', i.relname,
                           CASE i.relkind WHEN 'I' THEN 'ONLY ' ELSE '' END, t.nspname, t.relname) AS head,
                       (SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint AS k
                         WHERE k.conindid = i.oid AND k.conrelid = t.oid
                           AND (k.contype = 'x' OR k.contype IN ('p', 'u') AND am.amname <> 'btree')) AS own
                  FROM pg_catalog.pg_index AS x
                  JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
                  JOIN pg_catalog.pg_am AS am ON am.oid = i.relam
                 WHERE x.indrelid = t.oid AND (x.indisunique OR x.indisexclusion) AND x.indisready) AS u),
    -- The conditions of the partitions that hold rows; NULL for a table that is neither partitioned nor a
    -- partition, and NULL in the list for a partition that takes every row.
    'leaves', CASE WHEN t.relkind = 'p' OR t.relispartition THEN ARRAY(
        SELECT pg_catalog.pg_get_partition_constraintdef(c.oid)
          FROM (SELECT t.oid UNION SELECT part.oid FROM part WHERE part.root = t.oid) AS p
          JOIN pg_catalog.pg_class AS c ON c.oid = p.oid AND c.relkind <> 'p'
         ORDER BY c.oid) END,
    -- The same partitions of a partitioned table, by name.
    'leaf_tables', CASE WHEN t.relkind = 'p' THEN (
        SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object('schema', n.nspname, 'name', c.relname,
                   'is_table', c.relkind = 'r',
                   'may_truncate', pg_catalog.has_table_privilege(c.oid, 'TRUNCATE'),
                   'condition', pg_catalog.pg_get_partition_constraintdef(c.oid)) ORDER BY c.oid), '[]')
          FROM part
          JOIN pg_catalog.pg_class AS c ON c.oid = part.oid AND c.relkind <> 'p'
          JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
         WHERE part.root = t.oid) END,
    'partition_columns', (
        SELECT CASE WHEN pg_catalog.bool_and(k.number <> 0)
                    THEN pg_catalog.jsonb_agg(DISTINCT a.attname) END
          FROM (SELECT t.oid UNION SELECT part.oid FROM part WHERE part.root = t.oid
                UNION SELECT up.oid FROM pg_catalog.pg_partition_ancestors(t.oid) AS up (oid)) AS p (oid)
          JOIN pg_catalog.pg_partitioned_table AS pt ON pt.partrelid = p.oid
          CROSS JOIN LATERAL pg_catalog.unnest(pt.partattrs) AS k (number)
          LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = p.oid AND a.attnum = k.number),
    -- Equal texts have the same bytes, at all levels of its partition keys.
    'equal_by_bytes', (
        SELECT COALESCE(pg_catalog.bool_and(l.collisdeterministic), true)
          FROM (SELECT t.oid UNION SELECT part.oid FROM part WHERE part.root = t.oid
                UNION SELECT up.oid FROM pg_catalog.pg_partition_ancestors(t.oid) AS up (oid)) AS p (oid)
          JOIN pg_catalog.pg_partitioned_table AS pt ON pt.partrelid = p.oid
          CROSS JOIN LATERAL pg_catalog.unnest(pt.partcollation) AS k (oid)
          JOIN pg_catalog.pg_collation AS l ON l.oid = k.oid),
    -- How its rows are spread over its own partitions, and what a new partition like these needs.
    'partitioning', (
        SELECT pg_catalog.jsonb_build_object(
                   'strategy', pt.partstrat,
                   'column', a.attname,
                   'ty', pg_catalog.format_type(a.atttypid, NULL),
                   'is_owner', pg_catalog.pg_has_role(parent.relowner, 'USAGE'),
                   'partitions', (
                       SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                  'schema', n.nspname, 'name', c.relname,
                                  'bound', pg_catalog.pg_get_expr(c.relpartbound, c.oid),
                                  'is_table', c.relkind = 'r',
                                  'may_create', pg_catalog.has_schema_privilege(n.oid, 'CREATE'),
                                  'unlogged', c.relpersistence = 'u',
                                  'options', (SELECT pg_catalog.string_agg(pg_catalog.format('%I = %L', o.option_name, o.option_value), ', ')
                                                FROM pg_catalog.pg_options_to_table(c.reloptions) AS o),
                                  'tablespace', s.spcname,
                                  'owner', NULLIF(pg_catalog.pg_get_userbyid(c.relowner), CURRENT_USER),
                                  'grants', (SELECT COALESCE(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_object(
                                                        'privilege', x.privilege_type, 'grantable', x.is_grantable,
                                                        'grantee', CASE x.grantee WHEN 0 THEN 'PUBLIC'
                                                                   ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) END)), '[]')
                                               FROM pg_catalog.aclexplode(c.relacl) AS x WHERE x.grantee <> c.relowner),
                                  'own', ARRAY(
                                      SELECT 'constraint ' || k.conname FROM pg_catalog.pg_constraint AS k
                                       WHERE k.conrelid = c.oid AND k.coninhcount = 0 AND k.conparentid = 0 AND k.contype <> 'n'
                                      UNION ALL
                                      SELECT 'index ' || i.relname FROM pg_catalog.pg_index AS x
                                        JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
                                       WHERE x.indrelid = c.oid AND NOT i.relispartition
                                         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k WHERE k.conindid = i.oid)
                                      UNION ALL
                                      SELECT 'trigger ' || g.tgname FROM pg_catalog.pg_trigger AS g
                                       WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgparentid = 0
                                      UNION ALL
                                      SELECT 'rule ' || r.rulename FROM pg_catalog.pg_rewrite AS r WHERE r.ev_class = c.oid
                                      UNION ALL
                                      SELECT 'row security' WHERE c.relrowsecurity
                                      UNION ALL
                                      SELECT 'privileges on column ' || p.attname FROM pg_catalog.pg_attribute AS p
                                       WHERE p.attrelid = c.oid AND p.attacl IS NOT NULL
                                      UNION ALL
                                      SELECT 'publication ' || b.pubname FROM pg_catalog.pg_publication_rel AS r
                                        JOIN pg_catalog.pg_publication AS b ON b.oid = r.prpubid WHERE r.prrelid = c.oid))
                                  ORDER BY c.oid), '[]')
                         FROM pg_catalog.pg_inherits AS h
                         JOIN pg_catalog.pg_class AS c ON c.oid = h.inhrelid AND c.relispartition
                         JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
                         LEFT JOIN pg_catalog.pg_tablespace AS s ON s.oid = c.reltablespace
                        WHERE h.inhparent = t.oid))
          FROM pg_catalog.pg_partitioned_table AS pt
          JOIN pg_catalog.pg_class AS parent ON parent.oid = pt.partrelid
          LEFT JOIN pg_catalog.pg_attribute AS a
                 ON pt.partnatts = 1 AND a.attrelid = pt.partrelid AND a.attnum = pt.partattrs[0] AND a.attnum <> 0
         WHERE pt.partrelid = t.oid),
    -- What only partitions ask of their rows.
    'of_partitions', ARRAY(
        SELECT k.conname FROM part JOIN pg_catalog.pg_constraint AS k ON k.conrelid = part.oid
         WHERE part.root = t.oid AND k.contype = 'c' AND k.coninhcount = 0
        UNION
        SELECT k.conname FROM part JOIN pg_catalog.pg_constraint AS k ON k.conrelid = part.oid
         WHERE part.root = t.oid AND k.contype = 'f' AND k.conparentid = 0
        UNION
        SELECT c.relname FROM part JOIN pg_catalog.pg_index AS x ON x.indrelid = part.oid
          JOIN pg_catalog.pg_class AS c ON c.oid = x.indexrelid
         WHERE part.root = t.oid AND (x.indisunique OR x.indisexclusion)
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS i WHERE i.inhrelid = x.indexrelid)
        UNION
        SELECT a.attname FROM part JOIN pg_catalog.pg_attribute AS a ON a.attrelid = part.oid AND a.attnotnull AND a.attnum > 0
         WHERE part.root = t.oid AND EXISTS (
             SELECT FROM pg_catalog.pg_attribute AS ra
              WHERE ra.attrelid = t.oid AND ra.attname = a.attname AND NOT ra.attnotnull)
         ORDER BY 1)
)::pg_catalog.text
  FROM target AS t
