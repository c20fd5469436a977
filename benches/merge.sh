#!/bin/sh
# Compares a merge of a table in which 1 % differs with emptying and copying it by `psql | psql` (binary), on two throw-away
# servers: wall time, and bytes of WAL that the target writes.
#
#   sh benches/merge.sh
#
# ROUNDS=5 and ROWS=1000000 can be set.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

ROUNDS=${ROUNDS:-5}
ROWS=${ROWS:-1000000}

# Without full page images: they depend on when the last checkpoint was, not on who writes.
start_bench full_page_writes=off
{
    write_servers
    printf '[jobs.merge]\nsource = "source"\ntarget = "target"\nmode = "merge"\ntables = ["public.t"]\nanalyze = false\n'
} >"$WORK/tableferry.toml"
export TABLEFERRY_CONFIG="$WORK/tableferry.toml"

for side in source target; do
    on "$side" -c "CREATE TABLE t (id int PRIMARY KEY, n int, name text, price numeric(12,2), at timestamptz)"
    on "$side" -c "INSERT INTO t SELECT i, i % 1000, 'name ' || i, i * 1.5, timestamptz '2026-01-01' + i * interval '1 s'
        FROM generate_series(1, $ROWS) i" -c "VACUUM ANALYZE t" -c CHECKPOINT
done

# 1 % changed, 0.1 % deleted, 0.1 % new, all over the table.
change() {
    on source -c "UPDATE t SET n = n + 1 WHERE id % 100 = $1" -c "DELETE FROM t WHERE id % 1000 = 550 + $1" \
        -c "INSERT INTO t SELECT i + $ROWS * (1 + $1), 0, 'new', 0, now() FROM generate_series(1, $ROWS / 1000) i" -c "VACUUM ANALYZE t"
}
run_tableferry() { "$tableferry" run merge --json >"$WORK/report" 2>"$WORK/errors"; }
run_psql() {
    psql -X -q -h 127.0.0.1 -U postgres -d postgres -p "$SOURCE_PORT" -c "\copy t TO STDOUT (FORMAT binary)" |
        psql -X -q -h 127.0.0.1 -U postgres -d postgres -p "$TARGET_PORT" -1 -c "TRUNCATE t" \
            -c "\copy t FROM STDIN (FORMAT binary)" 2>"$WORK/errors"
}
position() { on target -At -c "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"; }
sums() { on "$1" -At -c "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM t"; }
# one TOOL: seconds and bytes of WAL
one() {
    on target -c "VACUUM ANALYZE t" -c CHECKPOINT
    before=$(position)
    began=$(date +%s.%N)
    "run_$1" || { cat "$WORK/errors" >&2; die "$1 failed"; }
    ended=$(date +%s.%N)
    after=$(position)
    [ "$(sums source)" = "$(sums target)" ] || die "$1: the target's rows are not the source's"
    awk "BEGIN { printf \"%.3f %d\n\", $ended - $began, $after - $before }"
}

run_tableferry || { cat "$WORK/errors" >&2; die "the first run, which makes the ledger, failed"; }
: >"$WORK/rounds"
round=1
while [ "$round" -le "$ROUNDS" ]; do
    change "$round"
    merged=$(one tableferry)
    cat "$WORK/report"
    echo "$merged $(one psql)" >>"$WORK/rounds"
    round=$((round + 1))
done
printf '\n%s, %s rows, %s rounds; ratio: tableferry / psql, median of the rounds\n\n' "$("$PG_BIN/postgres" --version)" "$ROWS" "$ROUNDS"
python3 - "$WORK/rounds" <<'PYTHON'
import statistics, sys
rounds = [[float(word) for word in line.split()] for line in open(sys.argv[1])]
median = lambda numbers: statistics.median(list(numbers))
print("%-22s %8s %12s" % ("", "wall s", "WAL MiB"))
mib = 1 << 20
print("%-22s %8.2f %12.1f" % ("tableferry, merge", median(r[0] for r in rounds), median(r[1] for r in rounds) / mib))
print("%-22s %8.2f %12.1f" % ("psql, truncate + copy", median(r[2] for r in rounds), median(r[3] for r in rounds) / mib))
print("%-22s %8.2f %12.2f" % ("ratio", median(r[0] / r[2] for r in rounds), median(r[1] / r[3] for r in rounds)))
PYTHON
