-- Which of these names the target has: schemas ($1), types ($2, $3), collations ($4, $5), sequences ($6, $7),
-- access methods ($8), tablespaces ($9).
SELECT json_build_object(
  'schemas', ARRAY(SELECT n.nspname FROM pg_catalog.pg_namespace AS n WHERE n.nspname = ANY ($1::text[])),
  'types', (SELECT COALESCE(json_agg(json_build_object('schema', n.nspname, 'name', t.typname)), '[]')
              FROM ROWS FROM (unnest($2::text[]), unnest($3::text[])) AS wanted (schema, name)
              JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
              JOIN pg_catalog.pg_type AS t ON t.typnamespace = n.oid AND t.typname = wanted.name AND t.typisdefined),
  'collations', (SELECT COALESCE(json_agg(json_build_object('schema', n.nspname, 'name', co.collname)), '[]')
              FROM ROWS FROM (unnest($4::text[]), unnest($5::text[])) AS wanted (schema, name)
              JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
              JOIN pg_catalog.pg_collation AS co ON co.collnamespace = n.oid AND co.collname = wanted.name
             WHERE co.collencoding IN (-1, (SELECT d.encoding FROM pg_catalog.pg_database AS d
                                             WHERE d.datname = current_database()))),
  'sequences', (SELECT COALESCE(json_agg(json_build_object('schema', n.nspname, 'name', c.relname)), '[]')
              FROM ROWS FROM (unnest($6::text[]), unnest($7::text[])) AS wanted (schema, name)
              JOIN pg_catalog.pg_namespace AS n ON n.nspname = wanted.schema
              JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = wanted.name AND c.relkind = 'S'),
  'access_methods', ARRAY(SELECT m.amname FROM pg_catalog.pg_am AS m WHERE m.amname = ANY ($8::text[])),
  'tablespaces', ARRAY(SELECT s.spcname FROM pg_catalog.pg_tablespace AS s WHERE s.spcname = ANY ($9::text[]))
)::text
