#!/bin/sh
# Compares mode `swap` with mode `truncate`, and with TRUNCATE and `psql | psql` (binary), on a table with a primary key and
# two more indexes that is full before each round: wall time, and WAL written by the target. They take turns, so that what
# disturbs one round disturbs all.
#
#   sh benches/swap.sh
#
# ROUNDS=5 and ROWS=2000000 can be set.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

ROUNDS=${ROUNDS:-5}
ROWS=${ROWS:-2000000}

start_bench
{
    printf '[daemon]\nhistory = "off"\n\n'
    write_servers
    for mode in swap truncate; do
        printf '[jobs.%s]\nsource = "source"\ntarget = "target"\nmode = "%s"\ntables = ["public.t"]\n\n' $mode $mode
    done
} >"$WORK/tableferry.toml"
export TABLEFERRY_CONFIG="$WORK/tableferry.toml"

for side in source target; do
    on "$side" -c "CREATE TABLE t (id int PRIMARY KEY, n int, at timestamptz, label text)" \
        -c "CREATE INDEX t_at ON t (at, n)" -c "CREATE INDEX t_label ON t (label)"
done
on source -c "INSERT INTO t SELECT i, i % 1000, timestamptz '2026-01-01' - i * interval '7 s', md5(i::text) FROM generate_series(1, $ROWS) i" \
    -c "VACUUM ANALYZE t" -c CHECKPOINT

run_swap() { "$tableferry" run swap; }
run_truncate() { "$tableferry" run truncate; }
run_psql() {
    psql -X -q -h 127.0.0.1 -U postgres -d postgres -p "$SOURCE_PORT" -c '\copy t TO STDOUT (FORMAT binary)' |
        psql -X -q -h 127.0.0.1 -U postgres -d postgres -p "$TARGET_PORT" -v ON_ERROR_STOP=1 -1 \
            -c 'TRUNCATE t' -c '\copy t FROM STDIN (FORMAT binary)' -c 'ANALYZE t'
}
now() { date +%s.%N; }
# one TOOL: prints its wall seconds and the MiB of WAL.
one() {
    on target -c CHECKPOINT
    lsn=$(on target -At -c "SELECT pg_current_wal_insert_lsn()")
    began=$(now)
    "run_$1" >"$WORK/output" 2>"$WORK/errors" || { cat "$WORK/errors" >&2; die "$1 failed"; }
    ended=$(now)
    wal=$(on target -At -c "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '$lsn') / 1048576")
    [ "$(on target -At -c "SELECT count(*) FROM t")" = "$ROWS" ] || die "$1 did not copy all rows"
    printf '%s %s %s ' "$began" "$ended" "$wal"
}

printf '%s, %s rows, %s rounds; medians\n\n' "$("$PG_BIN/postgres" --version)" "$ROWS" "$ROUNDS"
one psql >/dev/null
round=1
while [ "$round" -le "$ROUNDS" ]; do
    { one swap; one truncate; one psql; echo; } >>"$WORK/rounds"
    round=$((round + 1))
done
python3 - "$WORK/rounds" <<'PYTHON'
import statistics, sys
rounds = [[float(word) for word in line.split()] for line in open(sys.argv[1])]
wall = lambda r, tool: r[3 * tool + 1] - r[3 * tool]
print("%-12s %8s %9s %18s %18s" % ("", "wall s", "WAL MiB", "to truncate", "to psql | psql"))
for tool, name in enumerate(("swap", "truncate", "psql | psql")):
    median = lambda of: statistics.median([of(r) for r in rounds])
    print("%-12s %8.2f %9.0f %17.2fx %17.2fx" % (
        name, median(lambda r: wall(r, tool)), median(lambda r: r[3 * tool + 2]),
        median(lambda r: wall(r, tool) / wall(r, 1)), median(lambda r: wall(r, tool) / wall(r, 2))))
PYTHON
