"""The measuring part of benches/must_hold.sh."""

import json
import sys

import bench
import wire
from bench import SOURCE, TARGET, size, tableferry

ROWS = size("ROWS", 3_000_000)
TABLES = size("TABLES", 1000)
COLUMNS = bench.NARROW
FILE = f"{bench.WORK}/rows"
# Each has a target table of its own, so that none sees what another did; `stable` never changes.
TARGETS = ("copied", "by_changed", "by_stream", "by_full", "empty", "swapped", "floor", "piped", "appended", "refreshed")


def job(mode, target, source="stable", more=""):
    return f'mode = "{mode}"\n{more}\n[jobs.{target}.table."public.{target}"]\nsource = "public.{source}"'


def prepare():
    jobs = {f"by_{way}": job("merge", f"by_{way}", more=f'compare = "{way}"') for way in ("changed", "stream", "full")}
    jobs["refreshed"] = job("merge", "refreshed", "moving", 'compare = "changed"')
    jobs["empty"] = job("merge", "empty")
    jobs["swapped"] = job("swap", "swapped")
    jobs["appended"] = job("append", "appended")
    for mode in ("merge", "truncate"):
        jobs[f"many_{mode}"] = f'mode = "{mode}"\ntables = ["many.*"]'
    bench.write_config(jobs)
    values = bench.narrow_rows(ROWS)
    for table in ("stable", "moving"):
        SOURCE.sql(f"CREATE TABLE {table} ({COLUMNS})", f"INSERT INTO {table} {values}", f"VACUUM ANALYZE {table}")
    for table in TARGETS:
        TARGET.sql(f"CREATE TABLE {table} ({COLUMNS})")
    SOURCE.sql(f"\\copy stable TO '{FILE}' (FORMAT binary)")
    bench.make_tables("many", TABLES)
    for name in ("by_changed", "by_stream", "by_full", "refreshed"):
        tableferry(name)
    tableferry("many_merge")
    TARGET.sql("VACUUM ANALYZE")


def emptied(table, run):
    def empty_and_run():
        TARGET.sql(f"TRUNCATE {table}", "CHECKPOINT")
        measured = run()
        if int(TARGET.sql(f"SELECT count(*) FROM {table}")) != ROWS:
            sys.exit(f"error: {table} does not have all rows")
        return measured

    return empty_and_run


def same(job):
    def run():
        TARGET.sql("CHECKPOINT")
        return tableferry(job)

    return run


turn = 0


def one_percent():
    """Updates 1 % of the rows, all over the table."""
    global turn
    turn += 1
    SOURCE.sql(f"UPDATE moving SET n = n + 1 WHERE id % 100 = {turn}", "VACUUM moving")
    TARGET.sql("VACUUM refreshed", "CHECKPOINT")


def refresh():
    one_percent()
    measured = tableferry("refreshed")
    report = json.loads(measured.output)["tables"][0]
    if report["compare"] != "changed" or report["rows_updated"] != ROWS // 100 + (turn <= ROWS % 100):
        sys.exit(f"error: {measured.output}")
    return measured


def copy(ports=(None, None)):
    return bench.run(*bench.psql_pipe("stable", "copied", ports=ports))


def without_key(table):
    """Statements around a load that build the primary key after it."""
    return [f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey"], [f"ALTER TABLE {table} ADD PRIMARY KEY (id)"]


def floor():
    before, after = without_key("floor")
    return bench.run(TARGET.psql("-1", *bench.words([*before, f"COPY floor FROM '{FILE}' (FORMAT binary)", *after])))


def piped():
    """The floor, but from the source: what the machine leaves to whoever fetches the rows from a server."""
    before, after = without_key("piped")
    return bench.run(*bench.psql_pipe("stable", "piped", before=before, after=after))


def line(what, values, wanted, unit):
    """A line of the table: the median of what was measured, beside what is to be reached."""
    is_ = bench.median(values)
    first, third = bench.middle_half(values)
    spread = f"{first:.2f}–{third:.2f}{unit}" if len(values) > 1 else ""
    return what, f"{is_:.2f}{unit}", spread, f"≤ {wanted}{unit}", "yes" if is_ <= wanted else "**no**"


def main():
    prepare()
    # Beside each other stands what is close to its limit.
    tools = {
        "copied": emptied("copied", copy),
        "appended": emptied("appended", lambda: tableferry("appended")),
        "by_changed": same("by_changed"),
        "refreshed": refresh,
        "by_stream": same("by_stream"),
        "empty": emptied("empty", lambda: tableferry("empty")),
        "by_full": same("by_full"),
        "swapped": emptied("swapped", lambda: tableferry("swapped")),
        "floor": emptied("floor", floor),
        "piped": emptied("piped", piped),
    }
    measured = bench.in_turn(tools)
    many = bench.in_turn({name: same(name) for name in ("many_merge", "many_truncate")})
    nothing = wire.moved(lambda ports: tableferry("refreshed")) / bench.MIB
    one_percent()
    few = wire.moved(lambda ports: tableferry("refreshed")) / bench.MIB
    TARGET.sql("TRUNCATE copied")
    whole = wire.moved(copy) / bench.MIB
    # psql reports no bytes: a load of all rows does.
    rows_of = [json.loads(measured[name][0].output)["tables"][0]["bytes"] for name in ("refreshed", "appended")]
    memory = max(m.memory for name in tools if name not in ("copied", "floor", "piped") for m in measured[name])

    def to_copy(name, what=lambda m: m.wall):
        return bench.ratios(measured[name], measured["copied"], what)

    lines = [
        ("`changed`, nothing changed", to_copy("by_changed"), 0.20, "×"),
        ("`changed`, 1 % scattered", to_copy("refreshed"), 0.35, "×"),
        ("`stream`, nothing changed", to_copy("by_stream"), 0.45, "×"),
        ("`merge` into an empty table", to_copy("empty"), 1.10, "×"),
        ("`full`, nothing changed", to_copy("by_full"), 1.2, "×"),
        ("`swap`, to COPY FROM a local file that then builds the index", bench.ratios(measured["swapped"], measured["floor"]), 1.08, "×"),
        ("`append`", to_copy("appended"), 1.00, "×"),
        ("`append`, the client's CPU", to_copy("appended", lambda m: m.client_cpu), 0.65, "×"),
        (f"{TABLES} tables of 100 rows: `merge`, nothing changed, to `truncate`", bench.ratios(many["many_merge"], many["many_truncate"]), 1.0, "×"),
        ("`changed`, 1 % scattered: bytes of rows that the source sends, to those of the table", [rows_of[0] / rows_of[1] * 100], 2, " %"),
        ("resident memory", [memory], 24, " MiB"),
    ]
    rows = [line(*entry) for entry in lines]
    text = (
        f"{ROWS:,} rows, {bench.machine()}; {bench.rounds_said()}{bench.launched()}. `psql | psql` took "
        f"{bench.median(m.wall for m in measured['copied']):.2f} s. Over the network, both servers together, it moved {whole:.1f} MiB; a run by "
        f"`changed` moved {few:.1f} MiB with 1 % changed, and {nothing:.1f} MiB, which are counts of ranges of keys, with nothing changed. "
        f"What `swap` is compared with took {bench.median(m.wall for m in measured['floor']):.2f} s; "
        f"`psql | psql` that builds the index afterwards, too, took {bench.ratio(measured['piped'], measured['floor']):.2f}× of that, "
        f"and `swap` {bench.ratio(measured['swapped'], measured['piped']):.2f}× of `psql | psql`.\n\n"
    )
    bench.publish("must hold", text + bench.markdown(("", "is", "middle half of the rounds", "to reach", "holds"), rows))
    return any(bench.median(values) > wanted for _, values, wanted, _ in lines)


if __name__ == "__main__":
    sys.exit(main())
