-- The shop's tables, the same on both sides but for :visits_type.
SET client_min_messages = warning;
CREATE SCHEMA shop;

CREATE TYPE shop.status AS ENUM ('new', 'paid', 'shipped', 'returned');
CREATE DOMAIN shop.sku AS text CHECK (VALUE ~ '^[A-Z]{2}-[0-9]{6}$');
CREATE TYPE shop.address AS (street text, house int, city varchar(40), verified bool);

CREATE TABLE shop.customers (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    email      text UNIQUE,
    home       shop.address,
    visits     :visits_type NOT NULL,
    tags       text[],
    settings   jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    shout      text GENERATED ALWAYS AS (upper(name)) STORED
);

CREATE TABLE shop.products (
    sku       shop.sku PRIMARY KEY,
    title     varchar(80) NOT NULL,
    price     numeric(10, 2) NOT NULL,
    weight    real,
    photo     bytea,
    words     tsvector,
    dimensions numeric[],
    available daterange
);

CREATE TABLE shop.orders (
    id          bigint NOT NULL,
    ordered_on  date NOT NULL,
    customer_id bigint NOT NULL REFERENCES shop.customers,
    status      shop.status NOT NULL,
    ship_to     shop.address,
    PRIMARY KEY (ordered_on, id)
) PARTITION BY RANGE (ordered_on);
SELECT format('CREATE TABLE shop.orders_%s PARTITION OF shop.orders FOR VALUES FROM (%L) TO (%L)',
    to_char(month, 'YYYY_MM'), month::date, (month + interval '1 month')::date)
FROM generate_series(timestamp '2025-01-01', '2025-12-01', '1 month') month
\gexec

CREATE TABLE shop.order_items (
    ordered_on date NOT NULL,
    order_id   bigint NOT NULL,
    line       smallint NOT NULL,
    sku        shop.sku NOT NULL REFERENCES shop.products,
    quantity   int NOT NULL,
    price      numeric(10, 2) NOT NULL,
    PRIMARY KEY (ordered_on, order_id, line),
    FOREIGN KEY (ordered_on, order_id) REFERENCES shop.orders
);

-- One column of every common type.
CREATE TABLE shop."Every type" (
    id serial PRIMARY KEY,
    a_bool bool, a_int2 int2, a_int4 int4, a_int8 int8, a_float4 float4, a_float8 float8,
    a_numeric numeric, a_money money, a_text text, a_varchar varchar(20), a_char char(5), a_name name,
    a_bytea bytea, a_date date, a_time time, a_timetz timetz, a_timestamp timestamp, a_timestamptz timestamptz,
    an_interval interval, a_uuid uuid, a_json json, a_jsonb jsonb, a_jsonpath jsonpath, an_xml xml,
    a_bit bit(8), a_varbit varbit, an_inet inet, a_cidr cidr, a_macaddr macaddr, a_macaddr8 macaddr8,
    a_point point, a_line line, a_lseg lseg, a_box box, a_path path, a_polygon polygon, a_circle circle,
    an_int4range int4range, an_int8range int8range, a_numrange numrange, a_tsrange tsrange, a_daterange daterange,
    a_tsvector tsvector, a_tsquery tsquery, an_lsn pg_lsn, an_oid oid,
    some_ints int[], some_texts text[], a_matrix float8[], some_dates date[],
    a_status shop.status, some_statuses shop.status[], an_address shop.address, some_addresses shop.address[]
);
