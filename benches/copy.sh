#!/bin/sh
# Copies tables of four shapes into tables that have a primary key: by tableferry, `psql | psql` (binary and text), psycopg (binary,
# block by block), pgcopydb, and postgres_fdw. Beside them the server's own floor, which no client can go below: COPY FROM a
# local file. And with the index built after the load: `swap`, and the floor again. Wall time, CPU of the clients and of both
# servers, WAL of the target, and memory.
#
#   sh benches/copy.sh [SHAPE…]      narrow pgbench wide big; default: all
#
# ROUNDS=3, and the numbers of rows NARROW_ROWS=3000000 PGBENCH_ROWS=1000000 WIDE_ROWS=500000 BIG_ROWS=10000 can be set;
# WRITE=1 writes the tables and the plot to benches/README.md and benches/copy.svg. PYTHON names a Python that has psycopg.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

start_bench
has pgcopydb || ! has apt-get || install_packages pgcopydb pgcopydb pgcopydb || say "pgcopydb is left out"
[ -e "$("$PG_BIN/pg_config" --sharedir 2>/dev/null || pg_config --sharedir)/extension/postgres_fdw.control" ] ||
    install_packages postgresql-contrib postgresql-contrib postgresql-contrib
need_psycopg
PYTHON=$python
export PYTHON
measure benches/copying.py "$@"
