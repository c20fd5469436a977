#!/bin/sh
# Compares loads with `on_error = "quarantine"` with the same loads with "abort", on two throw-away servers, from a table and
# from a CSV file: wall time with no bad row and with 0.01 % of bad rows, in turn.
#
#   sh benches/quarantine.sh
#
# ROUNDS=5 and ROWS=1000000 can be set.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

ROUNDS=${ROUNDS:-5}
ROWS=${ROWS:-1000000}

start_bench
# job NAME MODE TABLE MORE
job() {
    printf '[jobs.%s]\nsource = "source"\ntarget = "target"\nmode = "%s"\nanalyze = false\n%s\n' "$1" "$2" "$4"
    printf '[jobs.%s.table."public.t"]\nsource = "public.%s"\n' "$1" "$3"
}
# file_job NAME MODE TABLE MORE: the same from the table's file
file_job() { job "$@" | sed 's/^source = "source"/source = "files"/; s/^source = "public.\(.*\)"/file = "\1.csv"/'; }
quarantine='on_error = "quarantine"
reject_limit = "1%"'
{
    write_servers
    printf '[servers.files]\ndir = "%s"\n' "$WORK"
    for mode in truncate merge; do
        job "plain_$mode" "$mode" good ''
        job "good_$mode" "$mode" good "$quarantine"
        job "bad_$mode" "$mode" bad "$quarantine"
        file_job "plain_csv_$mode" "$mode" good ''
        file_job "good_csv_$mode" "$mode" good "$quarantine"
        file_job "bad_csv_$mode" "$mode" bad "$quarantine"
    done
} >"$WORK/tableferry.toml"
export TABLEFERRY_CONFIG="$WORK/tableferry.toml"

columns="id int PRIMARY KEY, n int, name text, price numeric(12,2), at timestamptz"
on target -c "CREATE TABLE t ($columns, CHECK (n >= 0))"
for table in good bad; do
    on source -c "CREATE TABLE $table ($columns)" -c "INSERT INTO $table SELECT i, i % 1000, 'name ' || i, i * 1.5,
        timestamptz '2026-01-01' + i * interval '1 s' FROM generate_series(1, $ROWS) i"
done
on source -c "UPDATE bad SET n = -1 WHERE id % 10000 = 5000" -c "VACUUM FULL ANALYZE bad" -c "VACUUM ANALYZE good"

for table in good bad; do on source -c "\\copy $table to '$WORK/$table.csv' (format csv, header)"; done

# one JOB: seconds. The target has one other row, so that a merge stages its rows, and writes every one.
one() {
    on target -c "TRUNCATE t" -c "INSERT INTO t VALUES (-1, 0)" -c "ANALYZE t" -c CHECKPOINT
    began=$(date +%s.%N)
    "$tableferry" run "$1" --json >"$WORK/report" 2>"$WORK/errors" || { cat "$WORK/errors" >&2; die "$1 failed"; }
    ended=$(date +%s.%N)
    case $1 in bad_*) wanted=$((ROWS - ROWS / 10000)) ;; *) wanted=$ROWS ;; esac
    [ "$(on target -At -c "SELECT count(*) FROM t")" = "$wanted" ] || die "$1: not $wanted rows"
    awk "BEGIN { printf \"%.3f\n\", $ended - $began }"
}

one plain_truncate >/dev/null # makes the ledger
: >"$WORK/rounds"
round=1
while [ "$round" -le "$ROUNDS" ]; do
    for mode in truncate merge csv_truncate csv_merge; do
        plain=$(one "plain_$mode")
        good=$(one "good_$mode")
        echo "$mode $plain $good $(one "bad_$mode")" >>"$WORK/rounds"
    done
    round=$((round + 1))
done
printf '\n%s, %s rows, %s rounds; seconds, and ratios to "abort": medians of the rounds\n\n' \
    "$("$PG_BIN/postgres" --version)" "$ROWS" "$ROUNDS"
python3 - "$WORK/rounds" <<'PYTHON'
import statistics, sys
rounds = [line.split() for line in open(sys.argv[1])]
print("%-12s %8s %8s %8s %12s %12s" % ("", "abort", "no bad", "0.01 %", "no bad, x", "0.01 %, x"))
for mode in ("truncate", "merge", "csv_truncate", "csv_merge"):
    of = [[float(word) for word in words[1:]] for words in rounds if words[0] == mode]
    median = lambda pick: statistics.median([pick(r) for r in of])
    print("%-12s %8.2f %8.2f %8.2f %12.2f %12.2f" % (
        mode, *(median(lambda r, at=at: r[at]) for at in range(3)),
        median(lambda r: r[1] / r[0]), median(lambda r: r[2] / r[0])))
PYTHON
