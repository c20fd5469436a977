#!/bin/sh
# Compares merges of a table in which 1 % differs, and in which nothing differs, with emptying and copying it by `psql | psql`
# (binary), on two throw-away servers: wall time, and bytes of WAL that the target writes. The table's primary key is in place.
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
    for compare in changed stream full; do
        printf '[jobs.%s]\nsource = "source"\ntarget = "target"\nmode = "merge"\ntables = ["public.t"]\nanalyze = false\n' "$compare"
        printf 'compare = "%s"\n' "$compare"
    done
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
run_tableferry() { "$tableferry" run "$1" --json >>"$WORK/reports" 2>"$WORK/errors"; }
run_psql() {
    psql -X -q -h 127.0.0.1 -U postgres -d postgres -p "$SOURCE_PORT" -c "\copy t TO STDOUT (FORMAT binary)" |
        psql -X -q -h 127.0.0.1 -U postgres -d postgres -p "$TARGET_PORT" -1 -c "TRUNCATE t" \
            -c "\copy t FROM STDIN (FORMAT binary)" 2>"$WORK/errors"
}
position() { on target -At -c "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"; }
sums() { on "$1" -At -c "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM t"; }
# one TOOL [JOB]: seconds and bytes of WAL
one() {
    on target -c "VACUUM ANALYZE t" -c CHECKPOINT
    before=$(position)
    began=$(date +%s.%N)
    "run_$1" "${2:-}" || { cat "$WORK/errors" >&2; die "$1 failed"; }
    ended=$(date +%s.%N)
    after=$(position)
    [ "$(sums source)" = "$(sums target)" ] || die "$1: the target's rows are not the source's"
    awk "BEGIN { printf \"%.3f %d\n\", $ended - $began, $after - $before }"
}

# psql's TRUNCATE makes a new file of the table, so that the first run by `changed` compares all rows.
run_tableferry full || { cat "$WORK/errors" >&2; die "the first run, which makes the ledger, failed"; }
: >"$WORK/rounds"
round=1
while [ "$round" -le "$ROUNDS" ]; do
    change "$((3 * round))"
    changed_stream=$(one tableferry stream)
    same_stream=$(one tableferry stream)
    change "$((3 * round + 1))"
    changed_full=$(one tableferry full)
    same_full=$(one tableferry full)
    one tableferry changed >/dev/null
    change "$((3 * round + 2))"
    changed_changed=$(one tableferry changed)
    same_changed=$(one tableferry changed)
    echo "$changed_changed $same_changed $changed_stream $same_stream $changed_full $same_full $(one psql)" >>"$WORK/rounds"
    round=$((round + 1))
done
cat "$WORK/reports"
printf '\n%s, %s rows, %s rounds; medians, and medians of the ratios to psql of the same round\n\n' "$("$PG_BIN/postgres" --version)" "$ROWS" "$ROUNDS"
python3 - "$WORK/rounds" <<'PYTHON'
import statistics, sys
rounds = [[float(word) for word in line.split()] for line in open(sys.argv[1])]
mib = 1 << 20
names = ["merge by changed, 1 % differs", "merge by changed, nothing differs", "merge by stream, 1 % differs", "merge by stream, nothing differs", "merge by full, 1 % differs",
         "merge by full, nothing differs", "psql, truncate + copy"]
print("%-34s %8s %8s %10s %8s" % ("", "wall s", "ratio", "WAL MiB", "ratio"))
for at, name in enumerate(names):
    def median(value):
        return statistics.median([value(r[2 * at], r[2 * at + 1], r[-2], r[-1]) for r in rounds])
    print("%-34s %8.2f %8.2f %10.1f %8.2f" % (name, median(lambda w, b, pw, pb: w), median(lambda w, b, pw, pb: w / pw),
          median(lambda w, b, pw, pb: b / mib), median(lambda w, b, pw, pb: b / pb)))
PYTHON
