#!/bin/sh
# How long others wait while mode `swap` publishes: TABLES tables in one job, each with a foreign key to a table of its own. On
# each table a reader reads for 60 ms, again and again; a writer changes rows of the tables that the keys point to. Prints how
# long the swaps took, and the longest wait of a reader and of the writer.
#
#   sh benches/locks.sh
#
# SWAPS=20, TABLES=20, ROWS=1000 and PAUSE=20 (of a reader between two reads, in ms) can be set. With PAUSE=0 no table is ever
# free, and swaps may give up after `lock_timeout`.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

SWAPS=${SWAPS:-20}
TABLES=${TABLES:-20}
ROWS=${ROWS:-1000}
PAUSE=${PAUSE:-20}
READ=60

start_bench
[ -x "$PG_BIN/pgbench" ] || die "there is no pgbench beside $PG_BIN/postgres"
{
    printf '[daemon]\nhistory = "off"\n\n'
    write_servers
    printf '[jobs.all]\nsource = "source"\ntarget = "target"\nmode = "swap"\ntables = ["public.t*"]\nretry = { max = 0 }\n'
} >"$WORK/tableferry.toml"
export TABLEFERRY_CONFIG="$WORK/tableferry.toml"

i=1
while [ "$i" -le "$TABLES" ]; do
    echo "CREATE TABLE d$i (id int PRIMARY KEY, n int DEFAULT 0); INSERT INTO d$i SELECT generate_series(1, 100);"
    echo "CREATE TABLE t$i (id int PRIMARY KEY, d int REFERENCES d$i, v text); CREATE INDEX ON t$i (d);"
    echo "INSERT INTO t$i SELECT g, 1 + g % 100, 'x' FROM generate_series(1, $ROWS) g;"
    i=$((i + 1))
done >"$WORK/tables.sql"
for side in source target; do on "$side" -f "$WORK/tables.sql"; done

cat >"$WORK/read.sql" <<SQL
\\set i :client_id + 1
SELECT pg_sleep($READ / 1000.0) FROM t:i LIMIT 1;
SQL
[ "$PAUSE" = 0 ] || echo "\\sleep $PAUSE ms" >>"$WORK/read.sql"
cat >"$WORK/write.sql" <<SQL
\\set i random(1, $TABLES)
\\set id random(1, 100)
UPDATE d:i SET n = n + 1 WHERE id = :id;
\\sleep 1 ms
SQL
# load WHAT CLIENTS: until it is ended; pgbench writes how long each transaction took.
load() {
    exec "$PG_BIN/pgbench" -n -T 3600 -c "$2" -j 1 -f "$WORK/$1.sql" -l --log-prefix="$WORK/$1" \
        -h 127.0.0.1 -p "$TARGET_PORT" -U postgres postgres >"$WORK/$1.out" 2>&1
}
load read "$TABLES" & readers=$!
load write 1 & writer=$!
sleep 1

failed=0
swap=1
while [ "$swap" -le "$SWAPS" ]; do
    began=$(date +%s.%N)
    "$tableferry" run all >"$WORK/output" 2>&1 || { failed=$((failed + 1)); tail -n 2 "$WORK/output" >&2; }
    echo "$began $(date +%s.%N)" >>"$WORK/swaps"
    swap=$((swap + 1))
done
kill "$readers" "$writer"
wait "$readers" "$writer" 2>/dev/null || :

printf '%s, %s tables, %s swaps\n\n' "$("$PG_BIN/postgres" --version)" "$TABLES" "$SWAPS"
deadlocks=$(on target -At -c "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
python3 - "$WORK" "$READ" "$PAUSE" "$failed" "$deadlocks" <<'PYTHON'
import glob, statistics, sys
work, read, pause, failed, deadlocks = sys.argv[1], *map(int, sys.argv[2:])
def waits(what, own_ms):
    # The last line may be half a line: pgbench was ended while it wrote.
    lines = [line.split() for log in glob.glob(work + "/" + what + ".[0-9]*") for line in open(log)]
    took = [int(line[2]) / 1000 - own_ms for line in lines if len(line) > 3]
    return len(took), max(took), sorted(took)[int(len(took) * 0.999)]
swaps = [float(end) - float(began) for began, end in map(str.split, open(work + "/swaps"))]
print("swaps: median %.2f s, longest %.2f s, %d failed; %d deadlocks" % (statistics.median(swaps), max(swaps), failed, deadlocks))
for what, own_ms in (("read", read + pause), ("write", 1)):
    print("%-6s %7d times, longest wait %4.0f ms, 99.9 %% below %4.0f ms" % ((what,) + waits(what, own_ms)))
PYTHON
