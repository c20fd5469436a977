#!/bin/sh
# Demonstrates tableferry: installs what is missing, builds, starts two temporary servers,
# copies a shop's tables from one to the other, and compares both sides.
# Removes everything except the packages. Exits with 1 if anything differs.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

need_everything
say "cargo build --release --locked"
cargo build --release --locked
tableferry=${CARGO_TARGET_DIR:-target}/release/tableferry

make_work_directory
DATABASE=demo
say "starting two PostgreSQL servers ($("$PG_BIN/postgres" --version)) in $WORK"
start_server source
start_server target
for side in source target; do
    DATABASE=postgres on "$side" -c 'CREATE DATABASE demo'
done

say "creating a shop's tables on both sides, and rows on the source"
# The target differs in one column: visits is a bigint there, which only the text format can carry.
on source -v visits_type=int -f deploy/demo/schema.sql
on target -v visits_type=bigint -f deploy/demo/schema.sql
on source -f deploy/demo/rows.sql

config=$WORK/tableferry.toml
{
    write_servers
    cat <<'TOML'
[jobs.demo]
source = "source"
target = "target"
mode   = "truncate"
tables = ["shop.*"]
TOML
} >"$config"
export TABLEFERRY_CONFIG="$config"

for command in "check --connect" "plan demo"; do
    say "tableferry $command"
    # shellcheck disable=SC2086 # words
    "$tableferry" $command
done
say "tableferry run demo --json"
"$tableferry" run demo --json >"$WORK/report.json"

say "comparing both sides, row by row, with psql"
rows_of() { # SIDE RELATION: its rows as text, sorted
    on "$1" -At -c "SET timezone = 'UTC'" -c "SELECT t::text FROM $2 t ORDER BY t::text COLLATE \"C\""
}
format_of() { # RELATION: as the report says it; one object a table, so one a line after tr
    tr '{' '\n' <"$WORK/report.json" | sed 's/\\"/"/g' | grep -F "\"target\":\"$1\"," |
        sed 's/.*"format":"\([a-z]*\)".*/\1/'
}
on source -At -c "SELECT c.oid::regclass FROM pg_catalog.pg_class c WHERE c.relnamespace = 'shop'::regnamespace
    AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1::text" >"$WORK/relations"
[ -s "$WORK/relations" ] || die "there is nothing to compare"
echo 'relation|rows|format|identical' >"$WORK/table"
while IFS= read -r relation; do
    # Files, not a pipeline: a psql that fails must stop this script, not make two empty sides equal.
    rows_of source "$relation" >"$WORK/source.rows"
    rows_of target "$relation" >"$WORK/target.rows"
    rows=$(on source -At -c "SELECT count(*) FROM $relation")
    if cmp -s "$WORK/source.rows" "$WORK/target.rows"; then identical=yes; else identical=NO; fi
    printf '%s|%s|%s|%s\n' "$relation" "$rows" "$(format_of "$relation")" "$identical" >>"$WORK/table"
done <"$WORK/relations"
echo
awk -F'|' '{ printf "%-24s %9s  %-7s %s\n", $1, $2, $3, $4 }' "$WORK/table"
echo
if grep -q '|NO$' "$WORK/table"; then die "source and target differ"; fi
say "all tables are identical; removing the servers"
