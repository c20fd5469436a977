#!/bin/sh
# Compares `workers = 4` with `workers = 1` in mode swap, on two throw-away servers: a table of 50 kB values, and a table with
# a primary key and three more indexes. They take turns, so that what disturbs one round disturbs both.
#
#   sh benches/workers.sh [SHAPE…]      big indexed; default: both
#
# ROUNDS=5, WORKERS=4, BIG_ROWS=8000 and INDEXED_ROWS=1000000 can be set.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

ROUNDS=${ROUNDS:-5}
WORKERS=${WORKERS:-4}
SHAPES=${*:-big indexed}

start_bench
{
    printf '[daemon]\nhistory = "off"\n\n'
    write_servers
    for shape in big indexed; do
        for workers in 1 "$WORKERS"; do
            printf '[jobs.%s_by%s]\nsource = "source"\ntarget = "target"\nmode = "swap"\ntables = ["public.%s"]\nworkers = %s\n\n' \
                $shape "$workers" $shape "$workers"
        done
    done
} >"$WORK/tableferry.toml"
export TABLEFERRY_CONFIG="$WORK/tableferry.toml"
export TABLEFERRY__SERVERS__SOURCE__MAX_CONNECTIONS=$((WORKERS + 1))
export TABLEFERRY__SERVERS__TARGET__MAX_CONNECTIONS=$((WORKERS + 1))

# make SHAPE: the table on both sides, its rows on the source.
make() {
    case $1 in
        big)
            for side in source target; do
                on "$side" -c "CREATE TABLE big (id int PRIMARY KEY, payload bytea)" \
                    -c "ALTER TABLE big ALTER payload SET STORAGE external"
            done
            # 50 kB that do not compress well, and are stored as they are.
            on source -c "INSERT INTO big SELECT i, decode((SELECT string_agg(md5(i::text || k), '') FROM generate_series(1, 3200) k), 'hex')
                FROM generate_series(1, ${BIG_ROWS:-8000}) i"
            ;;
        indexed)
            for side in source target; do
                on "$side" -c "CREATE TABLE indexed (id int PRIMARY KEY, n int, at timestamptz, label text)" \
                    -c "CREATE INDEX ON indexed (at, n)" -c "CREATE INDEX ON indexed (label)" -c "CREATE INDEX ON indexed (n)"
            done
            on source -c "INSERT INTO indexed SELECT i, i % 1000, timestamptz '2026-01-01' - i * interval '7 s', md5(i::text)
                FROM generate_series(1, ${INDEXED_ROWS:-1000000}) i"
            ;;
        *) die "no shape $1: big or indexed" ;;
    esac
    on source -c "VACUUM ANALYZE $1" -c CHECKPOINT
}
now() { date +%s.%N; }
# one SHAPE WORKERS: prints its wall seconds.
one() {
    on target -c CHECKPOINT
    began=$(now)
    "$tableferry" run "$1_by$2" --json >"$WORK/output" 2>"$WORK/errors" || { cat "$WORK/errors" >&2; die "$2 workers failed on $1"; }
    ended=$(now)
    [ "$(on target -At -c "SELECT count(*) FROM $1")" = "$(on source -At -c "SELECT count(*) FROM $1")" ] || die "not all rows of $1"
    printf '%s %s ' "$began" "$ended"
}

printf '%s, %s cores, %s rounds; medians\n\n' "$("$PG_BIN/postgres" --version)" "$(nproc)" "$ROUNDS"
printf '%-8s %12s %12s %8s\n' shape "1 worker, s" "$WORKERS workers, s" ratio
for shape in $SHAPES; do
    make "$shape"
    one "$shape" 1 >/dev/null
    one "$shape" "$WORKERS" >/dev/null
    : >"$WORK/rounds"
    round=1
    while [ "$round" -le "$ROUNDS" ]; do
        { one "$shape" 1; one "$shape" "$WORKERS"; echo; } >>"$WORK/rounds"
        round=$((round + 1))
    done
    python3 - "$shape" "$WORK/rounds" <<'PYTHON'
import statistics, sys
rounds = [[float(word) for word in line.split()] for line in open(sys.argv[2])]
median = lambda of: statistics.median([of(r) for r in rounds])
print("%-8s %12.2f %12.2f %7.2fx" % (sys.argv[1], median(lambda r: r[1] - r[0]), median(lambda r: r[3] - r[2]),
                                     median(lambda r: (r[3] - r[2]) / (r[1] - r[0]))))
PYTHON
    for side in source target; do on "$side" -c "DROP TABLE $shape"; done
done
