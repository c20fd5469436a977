-- Everything that is attached to tables, one row and one JSON object a table. Definitions are the
-- server's own texts. Relations are qualified; functions and operators need not be, because nothing
-- but pg_catalog is searched for those with an empty search_path. @NAMES@ stand for what differs
-- between versions. It is asked while others wait for the tables: obj_description() takes longer than all
-- the rest, and an EXISTS with OR would read a whole catalogue for each table.
SELECT c.oid, json_build_object(
  'schema', n.nspname,
  'name', c.relname,
  'sql_name', format('%I.%I', n.nspname, c.relname),
  'owner', pg_get_userbyid(c.relowner),
  'unlogged', c.relpersistence = 'u',
  'temporary', c.relpersistence = 't',
  'access_method', (SELECT m.amname FROM pg_catalog.pg_am AS m WHERE m.oid = c.relam),
  'tablespace', (SELECT s.spcname FROM pg_catalog.pg_tablespace AS s WHERE s.oid = c.reltablespace),
  'options', COALESCE(c.reloptions, '{}'),
  'toast_options', COALESCE((SELECT t.reloptions FROM pg_catalog.pg_class AS t WHERE t.oid = c.reltoastrelid), '{}'),
  'row_security', c.relrowsecurity,
  'force_row_security', c.relforcerowsecurity,
  'replica_identity', c.relreplident,
  'comment', (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = c.oid AND e.classoid = 1259 AND e.objsubid = 0),
  'typed', c.reloftype <> 0,
  'acl_is_default', c.relacl IS NULL,
  'may_create', has_schema_privilege(n.oid, 'CREATE'),
  'owner_may_create', has_schema_privilege(c.relowner, n.oid, 'CREATE') OR me.rolsuper,
  'superuser', me.rolsuper,
  'may_set_owner', pg_has_role(c.relowner, '@SET@'),
  'denied_tablespaces', ARRAY(SELECT s.spcname FROM pg_catalog.pg_tablespace AS s
                               WHERE NOT has_tablespace_privilege(s.oid, 'CREATE')
                                 AND s.oid IN (SELECT c.reltablespace UNION ALL
                                               SELECT i.reltablespace FROM pg_catalog.pg_index AS x
                                                 JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
                                                WHERE x.indrelid = c.oid) ORDER BY 1),
  -- Who granted something, whom our role cannot become.
  'denied_grantors', ARRAY(
      SELECT DISTINCT pg_get_userbyid(x.grantor)
        FROM (SELECT aclexplode(c.relacl) UNION ALL SELECT aclexplode(row_type.typacl) UNION ALL
              SELECT aclexplode(a.attacl) FROM pg_catalog.pg_attribute AS a WHERE a.attrelid = c.oid AND NOT a.attisdropped
               UNION ALL
              SELECT aclexplode(s.relacl) FROM @IDENTITIES@ JOIN pg_catalog.pg_class AS s ON s.oid = own.oid) AS acl (item)
       CROSS JOIN LATERAL (SELECT (acl.item).*) AS x
       WHERE x.grantor <> c.relowner AND NOT pg_has_role(x.grantor, '@SET@') ORDER BY 1),
  'extension', (SELECT e.extname FROM pg_catalog.pg_depend AS d
                  JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
                 WHERE d.classid = 1259 AND d.objid = c.oid AND d.deptype = 'e' AND d.refclassid = 3079),
  'published_unnamed', current_setting('wal_level') = 'logical'
      AND EXISTS (SELECT FROM pg_catalog.pg_publication AS p WHERE p.puballtables @PUBLISHED_SCHEMA@),

  'inherits', ARRAY(SELECT format('%I.%I', pn.nspname, p.relname)
                      FROM pg_catalog.pg_inherits AS i
                      JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
                      JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
                     WHERE i.inhrelid = c.oid AND NOT c.relispartition ORDER BY i.inhseqno),
  'partition', (SELECT json_build_object(
                         'schema', pn.nspname, 'name', p.relname,
                         'owned', pg_has_role(p.relowner, 'USAGE'),
                         'detaching', @DETACHING@,
                         'default', (SELECT json_build_object('schema', dn.nspname, 'name', dp.relname)
                                       FROM pg_catalog.pg_partitioned_table AS pt
                                       JOIN pg_catalog.pg_class AS dp ON dp.oid = pt.partdefid
                                       JOIN pg_catalog.pg_namespace AS dn ON dn.oid = dp.relnamespace
                                      WHERE pt.partrelid = p.oid AND dp.oid <> c.oid),
                         -- A CHECK of the DEFAULT partition that spares ATTACH PARTITION from reading it.
                         'default_excludes', EXISTS (
                             SELECT FROM pg_catalog.pg_partitioned_table AS pt
                               JOIN pg_catalog.pg_constraint AS k ON k.conrelid = pt.partdefid AND k.contype = 'c'
                              WHERE pt.partrelid = p.oid AND k.convalidated
                                AND translate(pg_get_constraintdef(k.oid), ' ()', '')
                                  = translate('CHECK NOT ' || pg_get_partition_constraintdef(c.oid), ' ()', '')),
                         'bound', pg_get_expr(c.relpartbound, c.oid),
                         'condition', pg_get_partition_constraintdef(c.oid))
                  FROM pg_catalog.pg_inherits AS i
                  JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
                  JOIN pg_catalog.pg_namespace AS pn ON pn.oid = p.relnamespace
                 WHERE i.inhrelid = c.oid AND c.relispartition),

  'row_type', json_build_object(
      'comment', (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = row_type.oid AND e.classoid = 1247 AND e.objsubid = 0),
      'array_comment', (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = row_type.typarray AND e.classoid = 1247 AND e.objsubid = 0),
      'acl_is_default', row_type.typacl IS NULL,
      'grants', (SELECT COALESCE(json_agg(json_build_object(
                            'column', NULL,
                            'grantor', pg_get_userbyid(x.grantor),
                            'grantee', CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
                            'privilege', x.privilege_type, 'grantable', x.is_grantable) ORDER BY x.place), '[]')
                   FROM aclexplode(COALESCE(row_type.typacl, acldefault('T', c.relowner)))
                        WITH ORDINALITY AS x (grantor, grantee, privilege_type, is_grantable, place))),

  -- Whom ALTER DEFAULT PRIVILEGES of our role would give something on what we make.
  'default_grantees', ARRAY(SELECT DISTINCT CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END
                              FROM pg_catalog.pg_default_acl AS d
                             CROSS JOIN aclexplode(d.defaclacl) AS x
                             WHERE d.defaclrole = me.oid AND d.defaclobjtype IN ('r', 'S') ORDER BY 1),
  'grants', (SELECT COALESCE(json_agg(g ORDER BY g.attnum, g.place), '[]') FROM (
      SELECT 0 AS attnum, x.place, NULL AS "column", pg_get_userbyid(x.grantor) AS grantor,
             CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END AS grantee,
             x.privilege_type AS privilege, x.is_grantable AS grantable
        FROM aclexplode(COALESCE(c.relacl, acldefault('r', c.relowner)))
             WITH ORDINALITY AS x (grantor, grantee, privilege_type, is_grantable, place)
       UNION ALL
      SELECT a.attnum, x.place, a.attname, pg_get_userbyid(x.grantor),
             CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
             x.privilege_type, x.is_grantable
        FROM pg_catalog.pg_attribute AS a,
             aclexplode(a.attacl) WITH ORDINALITY AS x (grantor, grantee, privilege_type, is_grantable, place)
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS g),

  'columns', (SELECT COALESCE(json_agg(k ORDER BY k.attnum), '[]') FROM (
      SELECT a.attnum, a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
             (SELECT format('%I.%I', cn.nspname, co.collname)
                FROM pg_catalog.pg_collation AS co
                JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace
               WHERE co.oid = a.attcollation AND a.attcollation <> t.typcollation) AS collation,
             has_type_privilege(a.atttypid, 'USAGE') AND has_schema_privilege(t.typnamespace, 'USAGE') AS may_use_type,
             a.attnotnull AS not_null,
             pg_get_expr(d.adbin, d.adrelid) AS expression,
             a.attgenerated AS generated,
             a.attidentity AS identity,
             CASE WHEN a.attstorage <> t.typstorage THEN
               CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL'
                                 WHEN 'm' THEN 'MAIN' ELSE 'EXTENDED' END END AS storage,
             @COMPRESSION@ AS compression,
             NULLIF(a.attstattarget, -1) AS statistics,
             COALESCE(a.attoptions, '{}') AS options,
             (SELECT e.description FROM pg_catalog.pg_description AS e
               WHERE e.objoid = c.oid AND e.classoid = 1259 AND e.objsubid = a.attnum) AS comment,
             (SELECT json_build_object(
                       'schema', sn.nspname, 'name', s.relname,
                       'start', q.seqstart, 'increment', q.seqincrement, 'min', q.seqmin, 'max', q.seqmax,
                       'cache', q.seqcache, 'cycle', q.seqcycle,
                       'type', format_type(q.seqtypid, NULL), 'unlogged', s.relpersistence = 'u',
                       'comment', (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = s.oid AND e.classoid = 1259 AND e.objsubid = 0),
                       'acl_is_default', s.relacl IS NULL,
                       'grants', (SELECT json_agg(json_build_object(
                                    'column', NULL,
                                    'grantor', pg_get_userbyid(x.grantor),
                                    'grantee', CASE WHEN x.grantee <> 0 THEN pg_get_userbyid(x.grantee) END,
                                    'privilege', x.privilege_type, 'grantable', x.is_grantable) ORDER BY x.place)
                                  FROM aclexplode(COALESCE(s.relacl, acldefault('s', s.relowner)))
                                       WITH ORDINALITY AS x (grantor, grantee, privilege_type, is_grantable, place)))
                FROM pg_catalog.pg_depend AS dep
                JOIN pg_catalog.pg_class AS s ON s.oid = dep.objid AND s.relkind = 'S'
                JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.relnamespace
                JOIN pg_catalog.pg_sequence AS q ON q.seqrelid = s.oid
               WHERE dep.classid = 1259 AND dep.refclassid = 1259 AND dep.refobjid = c.oid
                 AND dep.refobjsubid = a.attnum AND dep.deptype = 'i') AS identity_sequence,
             (SELECT COALESCE(json_agg(json_build_object('schema', sn.nspname, 'name', s.relname)
                                       ORDER BY sn.nspname, s.relname), '[]')
                FROM pg_catalog.pg_depend AS dep
                JOIN pg_catalog.pg_class AS s ON s.oid = dep.objid AND s.relkind = 'S'
                JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.relnamespace
               WHERE dep.classid = 1259 AND dep.refclassid = 1259 AND dep.refobjid = c.oid
                 AND dep.refobjsubid = a.attnum AND dep.deptype = 'a') AS sequences
        FROM pg_catalog.pg_attribute AS a
        JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
        LEFT JOIN pg_catalog.pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS k),

  -- CHECK, and since version 18 NOT NULL.
  'checks', (SELECT COALESCE(json_agg(k ORDER BY k.name), '[]') FROM (
      SELECT con.conname AS name, pg_get_constraintdef(con.oid) AS definition,
             con.contype = 'n' AS not_null,
             COALESCE(con.conbin::text LIKE '%:varattno 0 %', false) AS whole_row,
             (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = con.oid AND e.classoid = 2606 AND e.objsubid = 0) AS comment
        FROM pg_catalog.pg_constraint AS con
       WHERE con.conrelid = c.oid AND con.contype IN ('c', 'n')) AS k),

  -- What a partition has because its parent refers to a partitioned table is not its own.
  'foreign_keys', (SELECT COALESCE(json_agg(k ORDER BY k.name), '[]') FROM (
      SELECT con.conname AS name, (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = con.oid AND e.classoid = 2606 AND e.objsubid = 0) AS comment,
             rn.nspname AS to_schema, r.relname AS to_name,
             own.head,
             CASE WHEN starts_with(own.definition, own.head || format('%I.%I', rn.nspname, r.relname))
                  THEN substr(own.definition, length(own.head || format('%I.%I', rn.nspname, r.relname)) + 1)
             END AS tail,
             (has_table_privilege(r.oid, 'REFERENCES') OR has_any_column_privilege(r.oid, 'REFERENCES'))
               AND has_schema_privilege(rn.oid, 'USAGE') AS may_reference,
             con.convalidated AS validated,
             -- Partitions of the table that it points to, which are locked with it.
             ARRAY(WITH RECURSIVE part (oid) AS (
                       SELECT i.inhrelid FROM pg_catalog.pg_inherits AS i WHERE r.relkind = 'p' AND i.inhparent = r.oid
                        UNION ALL
                       SELECT i.inhrelid FROM part JOIN pg_catalog.pg_inherits AS i ON i.inhparent = part.oid)
                   SELECT json_build_array(tn.nspname, t.relname) FROM part
                     JOIN pg_catalog.pg_class AS t ON t.oid = part.oid
                     JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace ORDER BY tn.nspname, t.relname) AS to_parts,
             -- States of its triggers on the table that it points to.
             ARRAY(SELECT DISTINCT g.tgenabled FROM pg_catalog.pg_trigger AS g
                    WHERE g.tgconstraint = con.oid AND g.tgrelid <> c.oid ORDER BY 1) AS states_there
        FROM pg_catalog.pg_constraint AS con
        JOIN pg_catalog.pg_class AS r ON r.oid = con.confrelid
        JOIN pg_catalog.pg_namespace AS rn ON rn.oid = r.relnamespace
       CROSS JOIN LATERAL (
          SELECT pg_get_constraintdef(con.oid) AS definition,
                 format('FOREIGN KEY (%s) REFERENCES ', string_agg(quote_ident(a.attname), ', ' ORDER BY key.place)) AS head
            FROM unnest(con.conkey) WITH ORDINALITY AS key (attnum, place)
            JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = key.attnum) AS own
       WHERE con.conrelid = c.oid AND con.contype = 'f'
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS up
                          WHERE up.oid = con.conparentid AND up.conrelid = con.conrelid)) AS k),

  'indexes', (SELECT COALESCE(json_agg(k ORDER BY k.name), '[]') FROM (
      SELECT i.relname AS name, x.indisunique AS "unique",
             CASE WHEN starts_with(own.definition, own.head)
                  THEN substr(own.definition, length(own.head) + 1) END AS tail,
             (SELECT s.spcname FROM pg_catalog.pg_tablespace AS s WHERE s.oid = i.reltablespace) AS tablespace,
             COALESCE(i.reloptions, '{}') AS options,
             (SELECT format('%I.%I', un.nspname, up.relname)
                FROM pg_catalog.pg_inherits AS h
                JOIN pg_catalog.pg_class AS up ON up.oid = h.inhparent
                JOIN pg_catalog.pg_namespace AS un ON un.oid = up.relnamespace
               WHERE h.inhrelid = i.oid) AS parent,
             COALESCE(x.indexprs::text || x.indpred::text, x.indexprs::text, x.indpred::text, '')
               LIKE '%:varattno 0 %' AS whole_row,
             x.indisclustered AS clustered, x.indisreplident AS replica_identity,
             (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = i.oid AND e.classoid = 1259 AND e.objsubid = 0) AS comment,
             ARRAY(SELECT json_build_array(a.attnum, a.attstattarget)
                     FROM pg_catalog.pg_attribute AS a
                    WHERE a.attrelid = i.oid AND NULLIF(a.attstattarget, -1) IS NOT NULL
                    ORDER BY a.attnum) AS statistics,
             (SELECT json_build_object(
                       'kind', con.contype, 'definition', pg_get_constraintdef(con.oid),
                       'plain', con.contype IN ('p', 'u') AND am.amname = 'btree',
                       'deferrable', con.condeferrable, 'deferred', con.condeferred,
                       'comment', (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = con.oid AND e.classoid = 2606 AND e.objsubid = 0))
                FROM pg_catalog.pg_constraint AS con
               WHERE con.conrelid = c.oid AND con.conindid = i.oid AND con.contype IN ('p', 'u', 'x')) AS "constraint"
        FROM pg_catalog.pg_index AS x
        JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
        JOIN pg_catalog.pg_am AS am ON am.oid = i.relam
       CROSS JOIN LATERAL (
          SELECT pg_get_indexdef(i.oid) AS definition,
                 format('CREATE %sINDEX %I ON %I.%I ', CASE WHEN x.indisunique THEN 'UNIQUE ' END,
                        i.relname, n.nspname, c.relname) AS head) AS own
       WHERE x.indrelid = c.oid AND x.indisvalid) AS k),
  'invalid_indexes', ARRAY(SELECT i.relname FROM pg_catalog.pg_index AS x
                             JOIN pg_catalog.pg_class AS i ON i.oid = x.indexrelid
                            WHERE x.indrelid = c.oid AND NOT x.indisvalid ORDER BY 1),

  'triggers', (SELECT COALESCE(json_agg(k ORDER BY k.name), '[]') FROM (
      SELECT g.tgname AS name, pg_get_triggerdef(g.oid) AS definition, g.tgenabled AS enabled,
             (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = g.oid AND e.classoid = 2620 AND e.objsubid = 0) AS comment,
             (SELECT up.tgenabled FROM pg_catalog.pg_trigger AS up WHERE up.oid = g.tgparentid) AS parent_enabled,
             format('%I.%I', fn.nspname, f.proname) AS function,
             has_function_privilege(f.oid, 'EXECUTE') AND has_schema_privilege(fn.oid, 'USAGE') AS may_execute
        FROM pg_catalog.pg_trigger AS g
        JOIN pg_catalog.pg_proc AS f ON f.oid = g.tgfoid
        JOIN pg_catalog.pg_namespace AS fn ON fn.oid = f.pronamespace
        -- Before version 15 a partition's copy of its parent's trigger is called internal.
       WHERE g.tgrelid = c.oid AND (NOT g.tgisinternal OR g.tgparentid <> 0)
         AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint AS k
                          WHERE k.oid = g.tgconstraint AND k.contype <> 't')) AS k),
  -- Those of constraints: of foreign keys on either side, and of deferrable keys.
  'constraint_trigger_states', ARRAY(
      SELECT DISTINCT g.tgenabled FROM pg_catalog.pg_trigger AS g
        JOIN pg_catalog.pg_constraint AS k ON k.oid = g.tgconstraint AND k.contype <> 't'
       WHERE g.tgrelid = c.oid ORDER BY 1),

  'policies', (SELECT COALESCE(json_agg(k ORDER BY k.name), '[]') FROM (
      SELECT p.polname AS name, p.polpermissive AS permissive, p.polcmd AS command,
             ARRAY(SELECT CASE WHEN r.oid <> 0 THEN pg_get_userbyid(r.oid) END
                     FROM unnest(p.polroles) WITH ORDINALITY AS r (oid, place) ORDER BY r.place) AS roles,
             pg_get_expr(p.polqual, p.polrelid) AS "using",
             pg_get_expr(p.polwithcheck, p.polrelid) AS "check",
             (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = p.oid AND e.classoid = 3256 AND e.objsubid = 0) AS comment
        FROM pg_catalog.pg_policy AS p WHERE p.polrelid = c.oid) AS k),

  'statistics', (SELECT COALESCE(json_agg(k ORDER BY k.schema, k.name), '[]') FROM (
      SELECT sn.nspname AS schema, s.stxname AS name, pg_get_userbyid(s.stxowner) AS owner,
             pg_has_role(s.stxowner, 'USAGE') AND pg_has_role(s.stxowner, '@SET@') AS owned,
             has_schema_privilege(sn.oid, 'CREATE')
               AND (me.rolsuper OR has_schema_privilege(s.stxowner, sn.oid, 'CREATE')) AS may_create,
             @STATISTICS_OF_ROWS@ AS whole_row,
             NULLIF(s.stxstattarget, -1) AS target,
             (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = s.oid AND e.classoid = 3381 AND e.objsubid = 0) AS comment,
             CASE WHEN starts_with(own.definition, own.head) AND right(own.definition, length(own.tail)) = own.tail
                  THEN substr(own.definition, length(own.head) + 1,
                              length(own.definition) - length(own.head) - length(own.tail)) END AS middle
        FROM pg_catalog.pg_statistic_ext AS s
        JOIN pg_catalog.pg_namespace AS sn ON sn.oid = s.stxnamespace
       CROSS JOIN LATERAL (
          SELECT pg_get_statisticsobjdef(s.oid) AS definition,
                 format('CREATE STATISTICS %I.%I ', sn.nspname, s.stxname) AS head,
                 format(' FROM %I.%I', n.nspname, c.relname) AS tail) AS own
       WHERE s.stxrelid = c.oid) AS k),

  'publications', (SELECT COALESCE(json_agg(k ORDER BY k.name), '[]') FROM (
      SELECT p.pubname AS name, pg_has_role(p.pubowner, 'USAGE') AS owned,
             @PUBLISHED_COLUMNS@ AS columns, @PUBLISHED_ROWS@ AS filter
        FROM pg_catalog.pg_publication_rel AS r
        JOIN pg_catalog.pg_publication AS p ON p.oid = r.prpubid
       WHERE r.prrelid = c.oid) AS k),

  'labels', (SELECT COALESCE(json_agg(k ORDER BY k.provider, k.objsubid), '[]') FROM (
      SELECT l.provider, l.label, l.objsubid, a.attname AS "column"
        FROM pg_catalog.pg_seclabel AS l
        LEFT JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = l.objsubid AND l.objsubid > 0
       WHERE l.classoid = 1259 AND l.objoid = c.oid) AS k),

  'views', (SELECT COALESCE(json_agg(k ORDER BY k.schema, k.name), '[]') FROM (
      SELECT DISTINCT vn.nspname AS schema, v.relname AS name, pg_get_userbyid(v.relowner) AS owner,
             pg_has_role(v.relowner, 'USAGE') AS owned,
             v.relpersistence = 't' AS temporary,
             to_jsonb(COALESCE(v.reloptions, '{}')) AS options,
             pg_get_viewdef(v.oid) AS definition
        FROM @OWN@
        JOIN pg_catalog.pg_depend AS d ON d.refclassid = own.classid AND d.refobjid = own.oid
        JOIN pg_catalog.pg_rewrite AS w ON d.classid = 2618 AND w.oid = d.objid AND w.rulename = '_RETURN'
        JOIN pg_catalog.pg_class AS v ON v.oid = w.ev_class AND v.relkind = 'v'
        JOIN pg_catalog.pg_namespace AS vn ON vn.oid = v.relnamespace) AS k),

  -- Whatever else depends on the table, its row type, indexes or constraints, and is not part of it.
  -- Foreign keys that point here are known from elsewhere.
  'bound', ARRAY(
      SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid)
        FROM (SELECT * FROM @OWN@ UNION ALL SELECT * FROM @IDENTITIES@) AS own
        JOIN pg_catalog.pg_depend AS d ON d.refclassid = own.classid AND d.refobjid = own.oid
        LEFT JOIN pg_catalog.pg_class AS o ON d.classid = 1259 AND o.oid = d.objid
        LEFT JOIN pg_catalog.pg_rewrite AS w ON d.classid = 2618 AND w.oid = d.objid
        LEFT JOIN pg_catalog.pg_class AS v ON v.oid = w.ev_class
       WHERE CASE d.classid
           WHEN 1259 THEN o.oid = c.oid OR o.relkind = 't' OR o.relkind = 'S' AND d.deptype IN ('a', 'i')
                       OR (SELECT x.indrelid FROM pg_catalog.pg_index AS x WHERE x.indexrelid = o.oid) = c.oid
           WHEN 1247 THEN d.objid IN (c.reltype, row_type.typarray) OR own.is_identity AND d.deptype = 'i'
           WHEN 2604 THEN (SELECT a.adrelid FROM pg_catalog.pg_attrdef AS a WHERE a.oid = d.objid) = c.oid
           WHEN 2606 THEN (SELECT k.conrelid = c.oid OR k.contype = 'f'
                             FROM pg_catalog.pg_constraint AS k WHERE k.oid = d.objid)
           WHEN 2620 THEN (SELECT g.tgrelid = c.oid OR g.tgisinternal
                             FROM pg_catalog.pg_trigger AS g WHERE g.oid = d.objid)
           WHEN 2618 THEN w.rulename = '_RETURN' AND v.relkind = 'v' AND NOT own.is_identity
           WHEN 3256 THEN (SELECT p.polrelid FROM pg_catalog.pg_policy AS p WHERE p.oid = d.objid) = c.oid
           WHEN 3381 THEN (SELECT s.stxrelid FROM pg_catalog.pg_statistic_ext AS s WHERE s.oid = d.objid) = c.oid
           WHEN 6106 THEN (SELECT r.prrelid FROM pg_catalog.pg_publication_rel AS r WHERE r.oid = d.objid) = c.oid
           END IS NOT TRUE
       UNION
      -- Known by the table's OID, and no dependency. pg_subscription itself is not for everybody.
      SELECT pg_describe_object(6100, s.srsubid, 0) FROM pg_catalog.pg_subscription_rel AS s WHERE s.srrelid = c.oid
       UNION
      -- … DEPENDS ON EXTENSION, of an index or a trigger.
      SELECT pg_describe_object(d.classid, d.objid, d.objsubid) || ', which depends on an extension,'
        FROM (SELECT 1259::oid AS classid, x.indexrelid AS oid FROM pg_catalog.pg_index AS x WHERE x.indrelid = c.oid
               UNION ALL
              SELECT 2620, g.oid FROM pg_catalog.pg_trigger AS g WHERE g.tgrelid = c.oid) AS part
        JOIN pg_catalog.pg_depend AS d ON d.classid = part.classid AND d.objid = part.oid AND d.deptype = 'x'
       ORDER BY 1)
)::text
FROM ROWS FROM (@WANTED@) AS wanted (schema, name)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name AND c.relkind = 'r'
JOIN pg_catalog.pg_type AS row_type ON row_type.oid = c.reltype
JOIN pg_catalog.pg_roles AS me ON me.rolname = current_user
