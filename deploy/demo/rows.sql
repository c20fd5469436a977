-- Rows that look real, and are the same each time.
INSERT INTO shop.customers (name, email, home, visits, tags, settings, created_at)
SELECT 'Customer ' || i, CASE WHEN i % 7 <> 0 THEN 'c' || i || '@example.com' END,
    CASE WHEN i % 5 <> 0 THEN ROW('Harbour "Lane", ' || i % 90, i % 200, 'Øresund', i % 2 = 0)::shop.address END,
    i * 3, CASE WHEN i % 3 = 0 THEN ARRAY['vip', NULL, 'a,b "c" \ d'] WHEN i % 3 = 1 THEN '{}'::text[] END,
    jsonb_build_object('newsletter', i % 2 = 0, 'depth', jsonb_build_array(i, NULL, 'x')),
    timestamptz '2024-01-01 UTC' + i * interval '37 minutes 11.123456 seconds'
FROM generate_series(1, 20000) i;

INSERT INTO shop.products
SELECT 'TF-' || lpad(i::text, 6, '0'), 'Product ' || i, (i * 7919 % 100000)::numeric / 100, i::real / 7,
    CASE WHEN i % 4 <> 0 THEN decode(repeat(md5(i::text), 1 + i % 100), 'hex') END,
    to_tsvector('simple', 'product number ' || i), ARRAY[i, i * 1.5, NULL],
    daterange(date '2025-01-01' + i % 300, CASE WHEN i % 6 <> 0 THEN date '2026-01-01' + i % 300 END)
FROM generate_series(1, 3000) i;

INSERT INTO shop.orders
SELECT i, date '2025-01-01' + i % 365, 1 + i::bigint * 7919 % 20000,
    (enum_range(NULL::shop.status))[1 + i % 4],
    CASE WHEN i % 9 = 0 THEN ROW('Quay', NULL, NULL, NULL)::shop.address END
FROM generate_series(1, 40000) i;

INSERT INTO shop.order_items
SELECT ordered_on, id, line, 'TF-' || lpad((1 + (id * 31 + line) % 3000)::text, 6, '0'), 1 + (id + line) % 9,
    ((id * line) % 9999)::numeric / 100
FROM shop.orders, generate_series(1, 3) line WHERE id % 3 < line;

INSERT INTO shop."Every type"
SELECT i, i % 2 = 0, i % 32767, -i, i::int8 * 1234567890123, i / 3.0, 'NaN', i * 1.000000000000000000001,
    i::money, E'tab\t newline\n backslash \\ \\. é ✓ ' || i, 'v' || i, 'c', 'n' || i, decode(md5(i::text), 'hex'),
    date '2000-02-29' + i, time '23:59:59.999999', timetz '12:00+02', 'infinity', timestamptz '1999-12-31 UTC' + i * interval '1 s',
    interval '1 year -2 months 3 days' * i, md5(i::text)::uuid, '{"a" : 1,  "a": 2}', '{"a": [1, null, "é"]}', '$.a[*] ? (@ > 1)',
    '<a b="c">d</a>', B'10101010', (i % 16)::bit(4)::varbit, '192.168.0.1/24', '2001:db8::/32', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05',
    point(i, -i), '{1,2,3}', '[(0,0),(1,1)]', box(point(0, 0), point(i, i)), '((0,0),(1,1),(2,0))', '((0,0),(1,1),(2,0))', '<(0,0),5>',
    int4range(i, i + 5), '[1,)', 'empty', tsrange('2025-01-01', '2025-06-01'), '(,2025-01-01]',
    'a:1A fat:2B,4C cat:5D', 'fat & (rat | !cat)', '16/B374D848', i,
    ARRAY[i, NULL, i + 1], ARRAY['', 'NULL', NULL, '{}', '"'], ARRAY[[1.5, 'Infinity'], [NULL, -0.0]], '{}',
    'paid', ARRAY['new', NULL, 'returned']::shop.status[], ROW('', NULL, 'x', true)::shop.address,
    ARRAY[ROW('a,b', 1, '"', NULL)::shop.address, NULL]
FROM generate_series(1, 5000) i;
-- A row that holds nothing at all.
INSERT INTO shop."Every type" (id) VALUES (0);
