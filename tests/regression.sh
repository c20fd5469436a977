#!/bin/sh
# Copies all tables of PostgreSQL's regression database to `.csv.zst` files and back: into the same tables by `merge`, which must
# change nothing, and, without a primary key, into an empty copy of the table, whose rows are then compared. Lists the tables
# that cannot be copied, with the reason.
#
#   REGRESS=…/src/test/regress sh tests/regression.sh
#
# $REGRESS is that directory of PostgreSQL's source, of the server's version. Without it, Debian's source package is fetched.
# $TABLEFERRY is the program; without it, `cargo build` makes it.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
# shellcheck source=tests/regression-lib.sh
. tests/regression-lib.sh

# The reasons for which a table may not be copied: it has no columns, or only generated ones; its key is generated; it has rules.
EXPECTED="has no column that could be written|key column [a-z]+ is not copied|the target has rules"

make_regression_database

mkdir "$WORK/files"
export DATABASE=regression
python3 - "$WORK" "$SOURCE_PORT" "$TABLEFERRY" "$EXPECTED" <<'PYTHON'
import json, os, re, subprocess, sys
work, port, program, expected = sys.argv[1:]
conninfo = f"host=127.0.0.1 port={port} user=postgres dbname=regression sslmode=disable"

def sql(query):
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", conninfo, "-F", "\t", "-c", query],
                          check=True, stdout=subprocess.PIPE, text=True)
    return [line.split("\t") for line in done.stdout.splitlines()]

# What the tests leave behind and no copy is to meet.
sql("DO $$ DECLARE x record; BEGIN FOR x IN SELECT evtname FROM pg_event_trigger LOOP EXECUTE format('DROP EVENT TRIGGER %I', x.evtname); END LOOP; END $$")
tables = sql("""
    SELECT c.oid, format('%I.%I', n.nspname, c.relname), c.relkind,
           EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary),
           c.relkind = 'r' AND EXISTS (SELECT FROM pg_inherits WHERE inhparent = c.oid)
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_|^information_schema$|^tableferry$'
    ORDER BY 2""")
sql("CREATE SCHEMA copies")
refused = {}
config = ["[daemon]", f'state_dir = "{work}/state"', "[servers.db]", f'conninfo = "{conninfo}"', "[servers.files]",
          f'dir = "{work}/files"']
# A parent is read with its children into one file, which has no one place to be merged into.
parents = {oid for oid, _, _, _, is_parent in tables if is_parent == "t"}
tables = [(oid, name, keyed == "t" and oid not in parents) for oid, name, _, keyed, _ in tables]
whole = parents | {oid for oid, in sql("SELECT oid FROM pg_class WHERE relkind = 'p'")}
for oid, name, keyed in tables:
    key = json.dumps(name, ensure_ascii=False)
    config += [f"[jobs.out_{oid}]", 'source = "db"', 'target = "files"', 'mode = "truncate"',
               f"[jobs.out_{oid}.table.{key}]", f'file = "{oid}.csv.zst"']
    if oid in parents:
        config += ["children = true"]
    if keyed:
        mode, target = "merge", key
    else:
        mode, target = "append", f'"copies.c{oid}"'
        sql(f"CREATE TABLE copies.c{oid} (LIKE {name} INCLUDING GENERATED)")
    config += [f"[jobs.in_{oid}]", 'source = "files"', 'target = "db"', f'mode = "{mode}"', "analyze = false",
               f"[jobs.in_{oid}.table.{target}]", f'file = "{oid}.csv.zst"']
with open(f"{work}/tableferry.toml", "w") as file:
    file.write("\n".join(config) + "\n")
os.environ["TABLEFERRY_CONFIG"] = f"{work}/tableferry.toml"
names = {oid: name for oid, name, _ in tables}

def run(way, oids):
    """The reports of the jobs that committed; the others are noted."""
    done = subprocess.run([program, "run", "--json"] + [f"{way}_{oid}" for oid in oids], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True)
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if len(reports) != len(oids):
        sys.exit(f"{len(reports)} reports of {len(oids)} jobs:\n{done.stderr[-3000:]}")
    good = {}
    for report in reports:
        oid = report["job"].split("_")[1]
        if report["outcome"] == "committed":
            good[oid] = report["tables"][0]
        else:
            refused[oid] = f'{way}: {report["error"]["message"]}'
    return good

exported = run("out", [oid for oid, *_ in tables])
imported = run("in", list(exported))
wrong = []
for oid, name, keyed in tables:
    if oid not in imported:
        continue
    report = imported[oid]
    if report["rows_read"] != exported[oid]["rows_written"]:
        wrong.append(f"{name}: {exported[oid]['rows_written']} rows were written and {report['rows_read']} read")
    if keyed:
        changed = [report[key] for key in ("rows_inserted", "rows_updated", "rows_deleted")]
        if any(changed):
            wrong.append(f"{name}: merged back with changes: {changed}")
    else:
        only = "" if oid in whole else "ONLY"
        one, two = f"SELECT x::text FROM {only} {name} x", f"SELECT x::text FROM copies.c{oid} x"
        [[differing]] = sql(f"SELECT count(*) FROM (({one} EXCEPT ALL {two}) UNION ALL ({two} EXCEPT ALL {one})) d")
        if differing != "0":
            wrong.append(f"{name}: {differing} rows of its copy differ")
merged = sum(1 for oid, _, keyed in tables if oid in imported and keyed)
rows = sum(report["rows_read"] for report in imported.values())
print(f"{len(tables)} tables: {merged} merged back without a change, {len(imported) - merged} without a primary key are the same "
      f"in an empty copy; {rows} rows in all. {len(refused)} cannot be copied:")
for oid, why in sorted(refused.items(), key=lambda item: item[1]):
    print(f"  {names[oid]}: {why}")
    if not re.search(expected, why):
        wrong.append(f"{names[oid]} is refused: {why}")
for line in wrong:
    print(f"WRONG: {line}")
sys.exit(1 if wrong else 0)
PYTHON
