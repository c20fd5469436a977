"""The measuring part of benches/refresh.sh."""

import json
import sys

import bench
import plot
import wire
from bench import SOURCE, TARGET, size, tableferry

ROWS = size("ROWS", 1_000_000)
WAYS = ("changed", "stream", "full")
TOOLS = {
    "changed": "merge, changed",
    "stream": "merge, stream",
    "full": "merge, full",
    "swap": "swap",
    "psql": "psql: TRUNCATE, COPY",
}
SHARES = (0, 0.1, 1, 10, 100)  # per cent
PATTERNS = ("scattered", "clustered")
round_of = 0


def change(share, pattern):
    """Updates this share of the rows, deletes a tenth as many, and inserts as many as it deletes; of 100 %, updates all."""
    global round_of
    round_of += 1
    if share == 100:
        SOURCE.sql("UPDATE t SET n = n + 1")
    elif share > 0:
        every = int(100 / share)
        part = ROWS // every
        at = round_of * 7919 % (ROWS - 2 * part)
        if pattern == "scattered":
            updated, deleted = f"id % {every} = {round_of % every}", f"id % {every * 10} = {(round_of + every // 2) % (every * 10)}"
        else:
            updated, deleted = f"id BETWEEN {at} AND {at + part - 1}", f"id BETWEEN {at + part} AND {at + part + part // 10 - 1}"
        SOURCE.sql(
            f"UPDATE t SET n = n + 1 WHERE {updated}",
            # What was deleted comes back in the next round, so that the table stays as large.
            "INSERT INTO t SELECT * FROM gone ON CONFLICT DO NOTHING",
            "TRUNCATE gone",
            f"WITH d AS (DELETE FROM t WHERE {deleted} RETURNING *) INSERT INTO gone SELECT id, n, 'new', price, at FROM d",
        )
    SOURCE.sql("VACUUM ANALYZE t")


def run(tool, ports=(None, None)):
    if tool == "psql":
        return bench.run(*bench.psql_pipe("t", "t_psql", ports=ports, before=["TRUNCATE t_psql"]))
    return tableferry(tool)


def sums(server, table):
    return server.sql(f"SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {table} t")


def refresh(tool, share):
    """One measured run, and a look whether it did what it should."""
    TARGET.sql(f"VACUUM ANALYZE t_{tool}", "CHECKPOINT")
    measured = run(tool)
    if tool in WAYS:
        report = json.loads(measured.output)["tables"][0]
        if report["compare"] != tool:
            sys.exit(f"error: {tool} was not used: {measured.output}")
    if sums(TARGET, f"t_{tool}") != sums(SOURCE, "t"):
        sys.exit(f"error: {tool}, {share} %: the target's rows are not the source's")
    return measured


def prepare():
    columns = "id int PRIMARY KEY, n int, name text, price numeric(12,2), at timestamptz"
    jobs = {}
    for tool in TOOLS:
        TARGET.sql(f"CREATE TABLE t_{tool} ({columns})")
        mode = f'mode = "merge"\ncompare = "{tool}"' if tool in WAYS else 'mode = "swap"'
        jobs[tool] = f'{mode}\n[jobs.{tool}.table."public.t_{tool}"]\nsource = "public.t"'
    del jobs["psql"]
    bench.write_config(jobs)
    SOURCE.sql(
        f"CREATE TABLE t ({columns})",
        f"""INSERT INTO t SELECT i, i % 1000, 'name ' || i, i * 1.5, timestamptz '2026-01-01' + i * interval '1 s'
            FROM generate_series(1, {ROWS}) i""",
        "CREATE TABLE gone AS SELECT * FROM t LIMIT 0",
        "VACUUM ANALYZE t",
        "CHECKPOINT",
    )
    for tool in TOOLS:
        run(tool)
    # The first run by `changed` has loaded an empty table; the next one knows what it loaded.
    run("changed")


def situation(share, pattern):
    """Each tool's median, and its bytes over the network, after a change like this."""
    moved, rounds = {}, {tool: [] for tool in TOOLS}
    for number in range(bench.ROUNDS + 1):
        change(share, pattern)
        for tool in list(TOOLS)[:: 1 if number % 2 else -1]:
            if number == 0:
                moved[tool] = wire.moved(lambda ports: run(tool, ports))  # noqa: B023 (called at once)
                continue
            measured = refresh(tool, share)
            bench.progress(f"{share} % {pattern}, round {number} of {bench.ROUNDS}: {tool}: {measured.wall:.2f} s")
            rounds[tool].append(measured)
    found = {}
    for tool, of in rounds.items():
        reported = json.loads(of[-1].output)["tables"][0]["bytes"] / bench.MIB if tool in WAYS or tool == "swap" else None
        found[tool] = {
            "wall": bench.median(m.wall for m in of),
            "ratio": bench.ratio(of, rounds["psql"]),
            "client": bench.median(m.client_cpu for m in of),
            "servers": bench.median(m.source_cpu + m.target_cpu for m in of),
            "wal": bench.median(m.wal for m in of),
            "memory": max(m.memory for m in of),
            "moved": moved[tool] / bench.MIB,
            "reported": reported,
        }
    return found


def draw(found, note):
    chart = plot.Plot("A refresh, by how much has changed", note, 960, 640)
    names = [f"{share:g} %" for share in SHARES]
    colors = dict(zip(TOOLS, (0, 2, 3, 1, 4)))
    rows = (
        (100, 300, "ratio", "wall time ÷ TRUNCATE and COPY by psql", False),
        (390, 580, "moved", "MiB over the network, both servers together", True),
    )
    for top, bottom, what, unit, log in rows:
        of = {pattern: [found[share, pattern] for share in SHARES] for pattern in PATTERNS}
        bounds = plot.around((one[tool][what] for many in of.values() for one in many for tool in TOOLS), log)
        for pattern, left in zip(PATTERNS, (60, 530)):
            series = {tool: (colors[tool], [one[tool][what] for one in of[pattern]]) for tool in TOOLS}
            chart.lines((left, top, left + 330, bottom), f"rows {pattern}", names, series, unit, "rows that have changed", log, bounds)
    return chart.svg()


def main():
    prepare()
    found = {}
    for share in SHARES:
        for pattern in PATTERNS:
            # All rows, and none, lie the same in both patterns.
            same = share in (0, 100) and pattern != PATTERNS[0]
            found[share, pattern] = found[share, PATTERNS[0]] if same else situation(share, pattern)
    rows = []
    for (share, pattern), of in found.items():
        if share in (0, 100) and pattern != PATTERNS[0]:
            continue
        for tool, name in TOOLS.items():
            m = of[tool]
            reported = "" if m["reported"] is None else f"{m['reported']:.2f}"
            rows.append((
                f"{share:g} %" + (f" {pattern}" if 0 < share < 100 else "") + f": {name}",
                f"{m['wall']:.2f}", f"{m['ratio']:.2f}×", f"{m['client']:.2f}", f"{m['servers']:.2f}", f"{m['wal']:.1f}",
                f"{m['moved']:.2f}", reported, f"{m['memory']:.1f}",
            ))
    header = ("rows changed", "wall s", "to psql", "client CPU s", "servers' CPU s", "WAL MiB", "network MiB", "`bytes` MiB", "memory MiB")
    note = f"{ROWS:,} rows of five columns, {bench.machine()}; {bench.rounds_said()}"
    bench.publish("refresh", f"{note}.\n\n{bench.markdown(header, rows)}", {"refresh.svg": draw(found, note)})


if __name__ == "__main__":
    main()
