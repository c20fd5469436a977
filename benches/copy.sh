#!/bin/sh
# Compares `tableferry run` with `psql | psql` (binary) on two throw-away servers: wall time, CPU time of the client
# processes, and their peak memory. The two take turns, so that what disturbs one round disturbs both.
#
#   sh benches/copy.sh [SHAPE…]      narrow pgbench wide big; default: all
#
# ROUNDS=5, and the numbers of rows NARROW_ROWS=3000000 PGBENCH_ROWS=1000000 WIDE_ROWS=500000 BIG_ROWS=10000 can be set.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

ROUNDS=${ROUNDS:-5}
SHAPES=${*:-narrow pgbench wide big}

columns_of() {
    case $1 in
        narrow) echo "id int PRIMARY KEY, n int, t text" ;;
        pgbench) echo "aid int PRIMARY KEY, bid int, abalance int, filler char(84)" ;;
        wide)
            printf 'id bigint PRIMARY KEY'
            for i in 1 2 3 4 5 6; do
                printf ', i%s int, t%s text, f%s float8, d%s timestamptz' $i $i $i $i
            done
            echo ", n1 numeric(12,2), n2 numeric(12,2), u1 uuid, u2 uuid, b1 bool"
            ;;
        big) echo "id int PRIMARY KEY, payload bytea" ;;
        *) die "no shape $1: narrow, pgbench, wide or big" ;;
    esac
}

rows_of() {
    case $1 in
        narrow) echo "SELECT i, i % 1000, 'row ' || i FROM generate_series(1, ${NARROW_ROWS:-3000000}) i" ;;
        pgbench) echo "SELECT i, 1 + i / 100000, 0, '' FROM generate_series(1, ${PGBENCH_ROWS:-1000000}) i" ;;
        wide)
            printf 'SELECT i'
            for k in 1 2 3 4 5 6; do
                printf ", i * %s %% 99991, 'text %s of ' || i, i / %s.0, timestamptz '2025-01-01' + i * interval '%s s'" $k $k $k $k
            done
            echo ", i / 7.0, i / 9.0, md5(i::text)::uuid, md5((-i)::text)::uuid, i % 2 = 0 FROM generate_series(1, ${WIDE_ROWS:-500000}) i"
            ;;
        # 50 kB that do not compress well, and are stored as they are.
        big) echo "SELECT i, decode((SELECT string_agg(md5(i::text || k), '') FROM generate_series(1, 3200) k), 'hex')
            FROM generate_series(1, ${BIG_ROWS:-10000}) i" ;;
    esac
}

# meter COMMAND…: prints its wall seconds, CPU seconds and largest resident set in MiB, its children's included. GNU time,
# because it is small: a child's peak is never less than that of whoever forks it.
meter() {
    /usr/bin/time -q -o "$WORK/time" -f '%e %U %S %M' "$@" >"$WORK/output"
    awk '{ printf "%s %.2f %.1f\n", $1, $2 + $3, $4 / 1024 }' "$WORK/time"
}

start_bench
{
    write_servers
    for shape in narrow pgbench wide big; do
        printf '[jobs.%s]\nsource = "source"\ntarget = "target"\nmode = "append"\ntables = ["public.%s"]\nanalyze = false\n\n' \
            $shape $shape
    done
} >"$WORK/tableferry.toml"
export TABLEFERRY_CONFIG="$WORK/tableferry.toml"

run_tableferry() { meter "$tableferry" run "$1" 2>"$WORK/errors"; }
run_psql() {
    meter sh -c '
        psql -X -q -h 127.0.0.1 -U postgres -d postgres -p "$1" -c "\copy (SELECT * FROM $3) TO STDOUT (FORMAT binary)" |
            psql -X -q -h 127.0.0.1 -U postgres -d postgres -p "$2" -c "\copy $3 FROM STDIN (FORMAT binary)"
    ' sh "$SOURCE_PORT" "$TARGET_PORT" "$1" 2>"$WORK/errors"
}
empty_target() { on target -c "TRUNCATE $1" -c CHECKPOINT; }
# one TOOL SHAPE: empties the target, copies, and checks that all rows came.
one() {
    empty_target "$2"
    "run_$1" "$2" >"$WORK/measured" || { cat "$WORK/errors" >&2; die "$1 failed on $2"; }
    [ "$(on target -At -c "SELECT count(*) FROM $2")" = "$(on source -At -c "SELECT count(*) FROM $2")" ] ||
        die "$1 did not copy all rows of $2"
}

printf '%s, %s rounds; ratio: tableferry / psql, median of the rounds\n\n' "$("$PG_BIN/postgres" --version)" "$ROUNDS"
printf '%-8s %9s  %-11s %8s %8s %9s\n' shape rows client "wall s" "CPU s" "RSS MiB"
for shape in $SHAPES; do
    for side in source target; do on "$side" -c "CREATE TABLE $shape ($(columns_of "$shape"))"; done
    [ "$shape" != big ] || on source -c "ALTER TABLE big ALTER payload SET STORAGE external"
    [ "$shape" != big ] || on target -c "ALTER TABLE big ALTER payload SET STORAGE external"
    on source -c "INSERT INTO $shape $(rows_of "$shape")" -c "VACUUM ANALYZE $shape" -c CHECKPOINT
    rows=$(on source -At -c "SELECT count(*) FROM $shape")
    one tableferry "$shape"
    one psql "$shape"
    : >"$WORK/rounds"
    round=1
    while [ "$round" -le "$ROUNDS" ]; do
        one tableferry "$shape"
        measured=$(cat "$WORK/measured")
        one psql "$shape"
        echo "$measured $(cat "$WORK/measured")" >>"$WORK/rounds"
        round=$((round + 1))
    done
    python3 - "$shape" "$rows" "$WORK/rounds" <<'PYTHON'
import statistics, sys
shape, rows, path = sys.argv[1:]
rounds = [[float(word) for word in line.split()] for line in open(path)]
median = lambda numbers: statistics.median(list(numbers))
line = "%-8s %9s  %-11s %8.2f %8.2f %9.1f"
print(line % (shape, rows, "tableferry", *(median(r[i] for r in rounds) for i in (0, 1, 2))))
print(line % ("", "", "psql", *(median(r[i] for r in rounds) for i in (3, 4, 5))))
print(line % ("", "", "ratio", *(median(r[i] / max(r[i + 3], 0.001) for r in rounds) for i in (0, 1, 2))))
PYTHON
    for side in source target; do on "$side" -c "DROP TABLE $shape"; done
done
