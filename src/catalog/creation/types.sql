-- The types of these schemas ($1) and names ($2), and all that they are made of, down to base types; one row and one JSON object a type.
WITH RECURSIVE used (oid) AS (
    SELECT t.oid
      FROM ROWS FROM (unnest($1::text[]), unnest($2::text[])) AS wanted (schema, name)
      JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
      JOIN pg_catalog.pg_type AS t ON t.typnamespace = n.oid AND t.typname = wanted.name
     UNION
    SELECT part.oid FROM used JOIN pg_catalog.pg_type AS t ON t.oid = used.oid
     CROSS JOIN LATERAL (
        SELECT t.typelem AS oid WHERE t.typelem <> 0 AND t.typtype = 'b'
         UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd'
         UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range AS r WHERE r.rngtypid = t.oid
         @RANGE@
         UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
                    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS part
)
SELECT json_build_object(
  'oid', t.oid::int8,
  'schema', n.nspname,
  'name', t.typname,
  'kind', CASE WHEN element.typarray = t.oid THEN 'array'
               WHEN t.typtype = 'c' AND c.relkind <> 'c' THEN 'row'
               ELSE t.typtype::text END,
  'extension', (SELECT e.extname FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_extension AS e ON e.oid = d.refobjid
                 WHERE d.classid = 1247 AND d.objid = t.oid AND d.deptype = 'e' AND d.refclassid = 3079 LIMIT 1),
  'parts', ARRAY(SELECT x.oid::int8 FROM (
        SELECT t.typelem AS oid WHERE t.typelem <> 0 AND t.typtype = 'b'
         UNION ALL SELECT t.typbasetype WHERE t.typtype = 'd'
         UNION ALL SELECT r.rngsubtype FROM pg_catalog.pg_range AS r WHERE r.rngtypid = t.oid
         @RANGE@
         UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute AS a
                    WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped) AS x),
  'labels', ARRAY(SELECT l.enumlabel FROM pg_catalog.pg_enum AS l WHERE l.enumtypid = t.oid ORDER BY l.enumsortorder),
  'base', CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
  'not_null', t.typnotnull,
  'default', CASE WHEN t.typtype = 'd' THEN pg_get_expr(t.typdefaultbin, 1247) END,
  'collation', CASE WHEN t.typtype = 'd' THEN (
        SELECT format('%I.%I', cn.nspname, co.collname) FROM pg_catalog.pg_collation AS co
          JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace
          JOIN pg_catalog.pg_type AS b ON b.oid = t.typbasetype
         WHERE co.oid = t.typcollation AND t.typcollation <> b.typcollation) END,
  'checks', (SELECT COALESCE(json_agg(json_build_object(
                    'name', con.conname, 'definition', pg_get_constraintdef(con.oid), 'validated', con.convalidated,
                    'comment', (SELECT e.description FROM pg_catalog.pg_description AS e WHERE e.objoid = con.oid AND e.classoid = 2606)) ORDER BY con.conname), '[]')
               FROM pg_catalog.pg_constraint AS con WHERE con.contypid = t.oid AND con.contype = 'c'),
  'attributes', (SELECT COALESCE(json_agg(json_build_object(
                    'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
                    'collation', (SELECT format('%I.%I', cn.nspname, co.collname) FROM pg_catalog.pg_collation AS co
                                    JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace
                                    JOIN pg_catalog.pg_type AS b ON b.oid = a.atttypid
                                   WHERE co.oid = a.attcollation AND a.attcollation <> b.typcollation)) ORDER BY a.attnum), '[]')
                   FROM pg_catalog.pg_attribute AS a
                  WHERE t.typtype = 'c' AND c.relkind = 'c' AND a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'row_of', CASE WHEN t.typtype = 'c' AND c.relkind <> 'c' THEN json_build_object('schema', n.nspname, 'name', c.relname) END,
  'range', (SELECT json_build_object(
                   'subtype', format_type(r.rngsubtype, -1),
                   'operator_class', format('%I.%I', ocn.nspname, oc.opcname),
                   'collation', (SELECT format('%I.%I', cn.nspname, co.collname) FROM pg_catalog.pg_collation AS co
                                   JOIN pg_catalog.pg_namespace AS cn ON cn.oid = co.collnamespace
                                   JOIN pg_catalog.pg_type AS b ON b.oid = r.rngsubtype
                                  WHERE co.oid = r.rngcollation AND r.rngcollation <> b.typcollation),
                   'canonical', CASE WHEN r.rngcanonical <> 0 THEN r.rngcanonical::text END,
                   'difference', CASE WHEN r.rngsubdiff <> 0 THEN r.rngsubdiff::text END,
                   'multirange', @MULTIRANGE@)
              FROM pg_catalog.pg_range AS r
              JOIN pg_catalog.pg_opclass AS oc ON oc.oid = r.rngsubopc
              JOIN pg_catalog.pg_namespace AS ocn ON ocn.oid = oc.opcnamespace
             WHERE r.rngtypid = t.oid),
  'comment', (SELECT e.description FROM pg_catalog.pg_description AS e
               WHERE e.objoid = t.oid AND e.classoid = 1247 AND e.objsubid = 0)
)::text
FROM used
JOIN pg_catalog.pg_type AS t ON t.oid = used.oid
JOIN pg_catalog.pg_namespace AS n ON n.oid = t.typnamespace
LEFT JOIN pg_catalog.pg_type AS element ON element.oid = t.typelem
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = t.typrelid
ORDER BY t.oid
