#!/bin/sh
# What to use when a program has rows: the same rows by single INSERTs, INSERTs of many rows, unnest, COPY in text and
# COPY in binary, from Rust (COPY through the library) and from Python (psycopg), in turn. Writes the medians to
# benches/loading.md and a plot to benches/loading.svg. Then typed rows of the library beside psycopg's write_row in binary.
#
#   sh benches/loading.sh
#
# ROUNDS=5, ROWS=100000 and TYPED_ROWS=2000000 can be set.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

ROUNDS=${ROUNDS:-5}
ROWS=${ROWS:-100000}
TYPED_ROWS=${TYPED_ROWS:-2000000}

need_everything
[ -x /usr/bin/time ] || install_packages time time time
say "cargo bench --locked --no-run --bench loading"
loading=$(cargo bench --locked --no-run --bench loading 2>&1 | tee /dev/stderr | sed -n 's/.*Executable.*(\(.*\))$/\1/p')
[ -x "$loading" ] || die "cargo did not name the program"
make_work_directory
need_psycopg
start_server target shared_buffers=2GB min_wal_size=4GB max_wal_size=8GB autovacuum=off
export PGHOST=127.0.0.1 PGPORT="$TARGET_PORT" PGUSER=postgres PGDATABASE=postgres PGSSLMODE=disable

columns="n int, name text, price float8, at timestamptz"
# one CLIENT WAY ROWS: its wall seconds and CPU seconds.
one() {
    on target -c "TRUNCATE t" -c CHECKPOINT
    case $1 in rust) program=$loading ;; python) program="$python benches/loading.py" ;; esac
    # shellcheck disable=SC2086 # words
    /usr/bin/time -q -o "$WORK/time" -f '%e %U %S' $program "$2" "$3" || die "$1 $2 failed"
    [ "$(on target -At -c "SELECT count(DISTINCT id) FROM t")" = "$3" ] || die "$1 $2: not $3 rows"
    awk '{ printf "%s %.2f\n", $1, $2 + $3 }' "$WORK/time"
}

on target -c "CREATE TABLE t (id int PRIMARY KEY, $columns)"
one rust copy_binary 1000 >/dev/null
: >"$WORK/rounds"
round=1
while [ "$round" -le "$ROUNDS" ]; do
    for way in single multi unnest copy_text copy_binary; do
        for client in rust python; do
            echo "$client $way $(one "$client" "$way" "$ROWS")" >>"$WORK/rounds"
        done
    done
    round=$((round + 1))
done
psycopg=$("$python" -c 'import psycopg; print(psycopg.__version__, {"python": "pure Python"}.get(psycopg.pq.__impl__, psycopg.pq.__impl__), sep=", ")')
of="PostgreSQL $("$PG_BIN/postgres" --version | cut -d ' ' -f 3), $(nproc) processors, psycopg $psycopg, medians of $ROUNDS rounds"
python3 benches/loading.py table "$WORK/rounds" "$ROWS" "$of" >benches/loading.md
python3 benches/loading.py plot "$WORK/rounds" "$ROWS" "$of" >benches/loading.svg
cat benches/loading.md

on target -c "DROP TABLE t" -c "CREATE TABLE t (id int, $columns)"
: >"$WORK/rounds"
round=1
while [ "$round" -le "$ROUNDS" ]; do
    echo "$(one rust copy_binary "$TYPED_ROWS") $(one python copy_binary "$TYPED_ROWS")" >>"$WORK/rounds"
    round=$((round + 1))
done
printf '\n%s typed rows into a table without an index\n\n' "$TYPED_ROWS"
python3 - "$WORK/rounds" "$TYPED_ROWS" <<'PYTHON'
import statistics, sys
rounds = [[float(word) for word in line.split()] for line in open(sys.argv[1])]
median = lambda pick: statistics.median(pick(r) for r in rounds)
print("library: %.2f s wall, %.2f s CPU: %.2f M rows a second of CPU" % (
    median(lambda r: r[0]), median(lambda r: r[1]), int(sys.argv[2]) / median(lambda r: r[1]) / 1e6))
print("psycopg: %.2f s wall, %.2f s CPU" % (median(lambda r: r[2]), median(lambda r: r[3])))
print("ratio of wall times: %.2f" % median(lambda r: r[0] / r[2]))
PYTHON
