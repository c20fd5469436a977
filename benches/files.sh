#!/bin/sh
# Compares `tableferry copy` from and to CSV files, plain and `.zst`, with psql's `\copy` (piped through `zstd`), and an upsert
# from a CSV file with the same typed into psql: a temporary table, `\copy`, INSERT … ON CONFLICT. On two throw-away servers;
# wall time, and the resident memory of tableferry. tableferry syncs the files that it writes, psql does not.
#
#   sh benches/files.sh
#
# ROUNDS=5 and ROWS=2000000 can be set.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

ROUNDS=${ROUNDS:-5}
ROWS=${ROWS:-2000000}

start_bench
has zstd || install_packages zstd zstd zstd
{
    write_servers
    printf '[servers.files]\ndir = "%s"\n' "$WORK"
    printf '[jobs.upsert]\nsource = "files"\ntarget = "target"\nmode = "upsert"\nanalyze = false\n'
    printf '[jobs.upsert.table."public.t"]\nfile = "changes.csv"\n'
} >"$WORK/tableferry.toml"
export TABLEFERRY_CONFIG="$WORK/tableferry.toml"
mkdir "$WORK/files"

columns="id int PRIMARY KEY, n int, name text, price numeric(12,2), at timestamptz"
for side in source target; do on "$side" -c "CREATE TABLE t ($columns)"; done
values="i, i % 1000, 'name, ' || i, i * 1.5, timestamptz '2026-01-01' + i * interval '1 s'"
on source -c "INSERT INTO t SELECT $values FROM generate_series(1, $ROWS) i" -c "VACUUM ANALYZE t"
# Half of what the upsert reads is changed, half is new.
on source -c "CREATE TABLE changes AS SELECT * FROM t LIMIT 0" \
    -c "INSERT INTO changes SELECT i, -1, 'new', 0, now() FROM generate_series($ROWS * 3 / 4, $ROWS * 5 / 4) i" -c "VACUUM ANALYZE changes"
on source -c "\\copy t to '$WORK/in.csv' (format csv, header)" -c "\\copy changes to '$WORK/changes.csv' (format csv, header)"
zstd -q "$WORK/in.csv"

sql() {
    side=$1
    shift
    case $side in source) port=$SOURCE_PORT ;; target) port=$TARGET_PORT ;; esac
    psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U postgres -d postgres "$@"
}
psql_in() { sql target -c "\\copy t from '$WORK/in.csv' (format csv, header)"; }
psql_in_zst() { zstd -dcq "$WORK/in.csv.zst" | sql target -c "\\copy t from stdin (format csv, header)"; }
psql_out() { sql source -c "\\copy t to '$WORK/files/psql.csv' (format csv, header)"; }
psql_out_zst() { sql source -c "\\copy t to stdout (format csv, header)" | zstd -qfo "$WORK/files/psql.csv.zst"; }
psql_upsert() {
    sql target -1 -c "CREATE TEMPORARY TABLE s (LIKE t) ON COMMIT DROP" -c "\\copy s from '$WORK/changes.csv' (format csv, header)" \
        -c "INSERT INTO t SELECT * FROM s ON CONFLICT (id) DO UPDATE
            SET n = excluded.n, name = excluded.name, price = excluded.price, at = excluded.at"
}
# Its memory goes to a file.
ferry() { /usr/bin/time -o "$WORK/memory" -f %M "$tableferry" "$@"; }
ferry_in() { ferry copy "$WORK/in.csv" target#public.t; }
ferry_in_zst() { ferry copy "$WORK/in.csv.zst" target#public.t; }
ferry_out() { ferry copy source#public.t "$WORK/files/ferry.csv"; }
ferry_out_zst() { ferry copy source#public.t "$WORK/files/ferry.csv.zst"; }
# As a job, which can leave out ANALYZE of the target: the recipe has none.
ferry_upsert() { ferry run upsert; }

sum() { on "$1" -At -c "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM $2 t"; }
wanted_in=$(sum source t)
wanted_upsert=$(sum source "(SELECT * FROM t WHERE id < $ROWS * 3 / 4 UNION ALL SELECT * FROM changes)")
# one TOOL CASE: seconds, and kilobytes of memory
one() {
    case $2 in
        in*) on target -c "TRUNCATE t" -c CHECKPOINT ;;
        upsert) on target -c "TRUNCATE t" -c "\\copy t from '$WORK/in.csv' (format csv, header)" -c "VACUUM ANALYZE t" -c CHECKPOINT ;;
        out*) rm -f "$WORK"/files/* ;;
    esac
    # What earlier runs wrote must not be on its way to the disk meanwhile.
    sync
    echo 0 >"$WORK/memory"
    began=$(date +%s.%N)
    "$1_$2" >"$WORK/errors" 2>&1 || { cat "$WORK/errors" >&2; die "$1, $2 failed"; }
    ended=$(date +%s.%N)
    case $2 in
        in*) [ "$(sum target t)" = "$wanted_in" ] || die "$1, $2: the target's rows are not the file's" ;;
        upsert) [ "$(sum target t)" = "$wanted_upsert" ] || die "$1, $2: the target's rows are not the file's" ;;
        out) cmp "$WORK/in.csv" "$WORK/files/$1.csv" || die "$1, $2: the file is another" ;;
        out_zst) zstd -dcq "$WORK/files/$1.csv.zst" | cmp - "$WORK/in.csv" || die "$1, $2: the file is another" ;;
    esac
    awk "BEGIN { printf \"%.3f %d\n\", $ended - $began, $(cat "$WORK/memory") }"
}

one ferry upsert >/dev/null # makes the ledger
: >"$WORK/rounds"
round=1
while [ "$round" -le "$ROUNDS" ]; do
    for case in in in_zst out out_zst upsert; do
        # Each is first in every other round.
        if [ $((round % 2)) -eq 1 ]; then
            ours=$(one ferry "$case")
            theirs=$(one psql "$case")
        else
            theirs=$(one psql "$case")
            ours=$(one ferry "$case")
        fi
        echo "$case $ours $theirs" >>"$WORK/rounds"
    done
    round=$((round + 1))
done
printf '\n%s, %s rows, %s MB of CSV, %s rounds; medians, and medians of the ratios to psql of the same round\n\n' \
    "$("$PG_BIN/postgres" --version)" "$ROWS" "$(($(wc -c <"$WORK/in.csv") / 1000000))" "$ROUNDS"
python3 - "$WORK/rounds" <<'PYTHON'
import statistics, sys
rounds = [line.split() for line in open(sys.argv[1])]
names = {"in": "CSV in", "in_zst": ".csv.zst in", "out": "CSV out", "out_zst": ".csv.zst out", "upsert": "upsert from CSV"}
print("%-18s %12s %8s %8s %14s" % ("", "tableferry s", "psql s", "ratio", "resident MiB"))
for case, name in names.items():
    of = [[float(word) for word in words[1:]] for words in rounds if words[0] == case]
    median = lambda pick: statistics.median([pick(*r) for r in of])
    print("%-18s %12.2f %8.2f %8.2f %14.1f" % (
        name, median(lambda w, m, pw, pm: w), median(lambda w, m, pw, pm: pw), median(lambda w, m, pw, pm: w / pw),
        max(r[1] for r in of) / 1024))
PYTHON
