#!/bin/sh
# Makes every table of PostgreSQL's regression database in an empty database by `create = "missing"`. Compares the rows, and what
# pg_dump says of the tables, their indexes, constraints and types. Lists the tables that the target cannot have, with the reason.
#
#   REGRESS=…/src/test/regress sh tests/create.sh
#
# $REGRESS is that directory of PostgreSQL's source. Without it, Debian's source package is fetched. $TABLEFERRY is the program;
# without it, `cargo build` makes it. $SOURCE_BIN and $TARGET_BIN are directories of initdb and postgres, for other versions; they need
# what is beside them (../lib, ../share).
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
# shellcheck source=tests/regression-lib.sh
. tests/regression-lib.sh

# Reasons for which the target cannot have a table: what is not made (functions, types in C, tables of other kinds), and what only
# some tables of the job lack.
EXPECTED="function .* does not exist|operator .* does not exist|operator class .* does not exist|access method .* does not exist|needs (type|range type|the row type)|access method|is a foreign table|has collation|collation .* does not exist|which PostgreSQL [0-9]+ of the target does not have|column that could be written|the target has rules|has inheritance children|cannot be created|row security applies"

make_regression_database
if [ -n "${TARGET_BIN:-}" ]; then
    readable_bin "$TARGET_BIN" target
    PG_BIN=$READABLE
else
    PG_BIN=$DEBIAN_BIN
fi
start_server target shared_buffers=64MB autovacuum=off
# pg_dump reads no server that is newer than itself.
newest=$(printf '%s\n' "$(major_of "$SOURCE_BIN")" "$(major_of "$PG_BIN")" | sort -n | tail -1)
CLIENTS=$DEBIAN_BIN
[ "$newest" -le "$(major_of "$DEBIAN_BIN")" ] || fetch_clients "$newest"
say "from $(major_of "$SOURCE_BIN") to $(major_of "$PG_BIN")"
on target -c "CREATE DATABASE regression TEMPLATE template0"
for setting in "lc_monetary TO 'C'" "bytea_output TO 'hex'"; do
    on target -c "ALTER DATABASE regression SET $setting"
done

python3 - "$WORK" "$SOURCE_PORT" "$TARGET_PORT" "$TABLEFERRY" "$EXPECTED" "$CLIENTS" <<'PYTHON'
import json, os, re, subprocess, sys
work, source_port, target_port, program, expected, clients = sys.argv[1:]
conninfo = lambda port: f"host=127.0.0.1 port={port} user=postgres dbname=regression sslmode=disable"
source, target = conninfo(source_port), conninfo(target_port)

def sql(where, query):
    done = subprocess.run(["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", where, "-F", "\t", "-c", query],
                          check=True, stdout=subprocess.PIPE, text=True)
    return [line.split("\t") for line in done.stdout.splitlines()]

sql(source, "DO $$ DECLARE x record; BEGIN FOR x IN SELECT evtname FROM pg_event_trigger LOOP EXECUTE format('DROP EVENT TRIGGER %I', x.evtname); END LOOP; END $$")
tables = [name for name, in sql(source, """
    SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' AND n.nspname !~ '^pg_|^information_schema$'
    ORDER BY 1""")]
refused = {}

def configure():
    toml = lambda name: json.dumps(name, ensure_ascii=False)
    with open(f"{work}/tableferry.toml", "w") as file:
        file.write(f"""
[daemon]
state_dir = "{work}/state"
history = "off"
[servers.source]
conninfo = "{source}"
[servers.target]
conninfo = "{target}"
[jobs.j]
source = "source"
target = "target"
mode = "truncate"
create = "missing"
analyze = false
guard = {{ allow_empty = true, max_shrink = "100%" }}
retry = {{ max = 0 }}
tables = [{", ".join(toml(name) for name in tables if name not in refused)}]
""")

os.environ["TABLEFERRY_CONFIG"] = f"{work}/tableferry.toml"
rounds = 0
while True:
    configure()
    done = subprocess.run([program, "plan", "j", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode == 0:
        break
    rounds += 1
    found = json.loads(done.stdout).get("refusals") if done.stdout.strip() else None
    if not found or rounds > 20:
        sys.exit(f"plan failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    before = len(refused)
    for refusal in found:
        name = refusal["relation"]
        refused.setdefault(name, refusal["message"])
    if len(refused) == before:
        sys.exit(f"refused, and not a table of the job: {found}")
done = subprocess.run([program, "run", "j", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
if done.returncode != 0:
    sys.exit(f"the run failed:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
made = [name for name in tables if name not in refused]
wrong = []

# Rows.
rows = 0
for name in made:
    [[kind]] = sql(source, f"SELECT relkind FROM pg_class WHERE oid = '{name.replace(chr(39), chr(39) * 2)}'::regclass")
    only = "" if kind == "p" else "ONLY"
    query = f"SELECT count(*), COALESCE(sum(('x' || substr(md5(x::text), 1, 15))::bit(60)::bigint), 0) FROM {only} {name} x"
    one, two = sql(source, query), sql(target, query)
    rows += int(one[0][0])
    if one != two:
        wrong.append(f"{name}: the rows differ: {one} {two}")

# Definitions.
def dump(where):
    done = subprocess.run([*f"{clients}/pg_dump".split(), "-s", "--no-owner", "--no-privileges", "--no-publications", "--no-security-labels", "-d", where],
                          check=True, stdout=subprocess.PIPE, text=True)
    sections, key = {}, None
    for line in done.stdout.splitlines():
        head = re.match(r"-- Name: (.*); Type: (.*); Schema: (.*); Owner:", line)
        if head:
            name, kind, schema = head.groups()
            key = (kind, schema, name)
            sections[key] = []
        elif key and line and not line.startswith(("--", "SET ", "\\")) :
            sections[key].append(line)
    return {key: "\n".join(lines) for key, lines in sections.items()}

dumps = dump(source), dump(target)
made_names = {tuple(row) for row in sql(target, """
    SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname !~ '^pg_|^information_schema$'""")}
inheriting = {tuple(row) for row in sql(source, """
    SELECT n.nspname, c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE NOT c.relispartition UNION SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE reloftype <> 0""")}
left_out = {"TRIGGER", "RULE", "POLICY", "ROW SECURITY", "STATISTICS", "VIEW", "FUNCTION", "EVENT TRIGGER"}
compared = 0
for key, text in dumps[1].items():
    kind, schema, name = key
    if kind in left_out or kind == "SCHEMA" or (schema, name) in inheriting or (schema, name.split(" ")[0]) in inheriting:
        continue
    compared += 1
    # Attributes that are left out by design.
    clean = lambda text: "\n".join(line for line in text.splitlines() if not re.search(
        r"SET STATISTICS|CLUSTER ON|FORCE ROW LEVEL|REPLICA IDENTITY|ATTACH PARTITION|SET \(n_distinct", line))
    theirs, ours = clean(dumps[0].get(key, "")), clean(text)
    if "multirange_type_name" not in theirs:  # Before version 14 there are none.
        ours = re.sub(r",?\n    multirange_type_name = \S+?(?=,?\n)", "", ours)
    if theirs != ours:
        wrong.append(f"{key} differs:\n-- source\n{dumps[0].get(key)}\n-- target\n{text}")
for key, text in dumps[0].items():
    kind, schema, name = key
    of_made = (schema, name) in made_names or kind in ("CONSTRAINT", "CHECK CONSTRAINT", "DEFAULT", "SEQUENCE OWNED BY") \
        and (schema, name.split(" ")[0]) in made_names
    if kind == "INDEX ATTACH" and tuple(re.search(r"ALTER INDEX (\S+)\.(\S+) ATTACH", text).groups()) not in made_names:
        continue  # The index of the table above is invalid.
    if kind == "CONSTRAINT" and re.search(r" NOT NULL \S+ NOT VALID;$", text):
        continue  # Left out by design.
    if of_made and kind not in left_out and key not in dumps[1] and (schema, name.split(" ")[0]) not in inheriting:
        wrong.append(f"{key} is missing:\n{text}")
print(f"{len(tables)} tables: {len(made)} are made with {rows} rows; {compared} definitions are the same. {len(refused)} are refused:")
for name, why in sorted(refused.items(), key=lambda item: item[1]):
    print(f"  {name}: {why}")
    if not re.search(expected, why):
        wrong.append(f"{name} is refused: {why}")
for line in wrong:
    print(f"WRONG: {line}")
sys.exit(1 if wrong else 0)
PYTHON
