"""The measuring part of benches/growth.sh."""

import os
import subprocess
import time

import bench
import plot
from bench import SOURCE, TARGET, size, tableferry

ROWS = size("ROWS", 250_000)
TIMES = (1, 4, 16)
TABLES = [number for number in (1, 10, 100, 1000, 10_000) if number <= size("TABLES", 1000)]
JOBS = [number for number in (1, 10, 100, 1000) if number <= size("JOBS", 100)]
MERGES = {"changed": "merge, changed", "stream": "merge, stream", "full": "merge, full"}


def one(run):
    def checkpointed():
        TARGET.sql("CHECKPOINT")
        return run()

    return checkpointed


def rows():
    """Seconds by tool and number of rows: refreshes of a table in which nothing has changed."""
    tools = [*MERGES, "swap", "truncate", "psql"]
    jobs = {}
    for tool in tools[:-1]:
        mode = f'mode = "merge"\ncompare = "{tool}"' if tool in MERGES else f'mode = "{tool}"'
        jobs[tool] = f'{mode}\n[jobs.{tool}.table."public.t_{tool}"]\nsource = "public.t"'
    bench.write_config(jobs)
    found = {}
    for times in TIMES:
        SOURCE.sql(f"CREATE TABLE t ({bench.NARROW})", f"INSERT INTO t {bench.narrow_rows(ROWS * times)}", "VACUUM ANALYZE t", "CHECKPOINT")
        TARGET.sql(*(f"CREATE TABLE t_{tool} ({bench.NARROW})" for tool in tools))

        def psql():
            return bench.run(*bench.psql_pipe("t", "t_psql", before=["TRUNCATE t_psql"]))

        runs = {tool: one(psql if tool == "psql" else lambda tool=tool: tableferry(tool)) for tool in tools}
        for tool in tools:
            runs[tool]()
        runs["changed"]()  # the first one has loaded an empty table
        TARGET.sql("VACUUM ANALYZE")
        for tool, of in bench.in_turn(runs).items():
            found[tool, times] = bench.median(m.wall for m in of)
        SOURCE.sql("DROP TABLE t")
        TARGET.sql("DROP TABLE " + ", ".join(f"t_{tool}" for tool in tools))
    return tools, found


def tables():
    """Seconds by mode and number of tables, 100 rows each, in one job."""
    modes = ("truncate", "merge", "swap")
    bench.write_config({mode: f'mode = "{mode}"\ntables = ["many.*"]' for mode in modes})
    found = {}
    for number in TABLES:
        bench.make_tables("many", number)
        for mode, of in bench.in_turn({mode: one(lambda mode=mode: tableferry(mode)) for mode in modes}).items():
            found[mode, number] = bench.median(m.wall for m in of)
        bench.drop_tables("many", number)
    return modes, found


def of_daemon(names):
    """Seconds in which a daemon, which runs already, runs these jobs, four at a time."""
    began = time.monotonic()
    subprocess.run([bench.TABLEFERRY, "trigger", "--wait", *names], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.monotonic() - began


def jobs():
    """Seconds by way and number of jobs, each of one table of 100 rows: truncate."""
    most = JOBS[-1]
    bench.make_tables("many", most)
    os.environ["RUNTIME_DIRECTORY"] = f"{bench.WORK}/run"
    os.environ["STATE_DIRECTORY"] = f"{bench.WORK}/state"
    bench.write_config({f"j{i}": f'mode = "truncate"\ntables = ["many.t{i}"]' for i in range(1, most + 1)})
    found = {}
    with open(f"{bench.WORK}/daemon.log", "w") as log:
        daemon = subprocess.Popen([bench.TABLEFERRY, "daemon"], stderr=log)
    try:
        for _ in range(200):
            if '"ready"' in open(f"{bench.WORK}/daemon.log").read():
                break
            time.sleep(0.1)
        for number in JOBS:
            names = [f"j{i}" for i in range(1, number + 1)]
            ran = [tableferry(*names).wall for _ in range(bench.ROUNDS + 1)]
            triggered = [of_daemon(names) for _ in range(bench.ROUNDS + 1)]
            found["run", number], found["daemon", number] = bench.median(ran[1:]), bench.median(triggered[1:])
            bench.progress(f"{number} jobs: run {ran}, daemon {triggered}")
    finally:
        daemon.terminate()
        daemon.wait()
    bench.drop_tables("many", most)
    return ("run", "daemon"), found


def part(names, counts, found, each, head):
    """A table of seconds, and of what each takes."""
    rows = [(names[key], *(f"{found[key, c]:.2f} ({found[key, c] / each(c):.3g})" for c in counts)) for key in names]
    return bench.markdown((head, *(f"×{c:,}" for c in counts)), rows)


def main():
    tools, by_rows = rows()
    modes, by_tables = tables()
    ways, by_jobs = jobs()
    row_names = {tool: MERGES.get(tool, "psql: TRUNCATE, COPY" if tool == "psql" else tool) for tool in tools}
    table_names = {"truncate": "truncate", "merge": "merge, nothing changed", "swap": "swap"}
    way_names = {"run": "`run`, one after the other", "daemon": "daemon, four at a time"}
    note = f"{bench.machine()}; {bench.rounds_said()}"
    text = "\n\n".join([
        f"{note}.",
        f"**Rows**: a refresh of a table in which nothing has changed; ×1 is {ROWS:,} rows. Seconds (for each million rows)",
        part(row_names, TIMES, by_rows, lambda times: ROWS * times / 1e6, "rows"),
        "**Tables** of 100 rows in one job. Seconds (milliseconds for each table)",
        part(table_names, TABLES, by_tables, lambda number: number / 1e3, "tables"),
        "**Jobs** of one table of 100 rows, mode `truncate`. Seconds (milliseconds for each job)",
        part(way_names, JOBS, by_jobs, lambda number: number / 1e3, "jobs"),
    ])
    bench.publish("growth", text, {"growth.svg": draw(by_rows, by_tables, by_jobs, note)})


def draw(by_rows, by_tables, by_jobs, note):
    chart = plot.Plot("What each row, table and job takes as their number grows", note, 1060, 400)
    panels = (
        ("rows of one table, nothing changed", "seconds for each million rows", TIMES, by_rows, lambda c: ROWS * c / 1e6, False,
         [plot.short(ROWS * c) for c in TIMES], "rows", dict(changed=0, stream=2, full=3, swap=1, truncate=6, psql=4)),
        ("tables of 100 rows in one job", "milliseconds for each table", TABLES, by_tables, lambda c: c / 1e3, True,
         [f"{c:,}" for c in TABLES], "tables", dict(merge=0, truncate=6, swap=1)),
        ("jobs of one table", "milliseconds for each job", JOBS, by_jobs, lambda c: c / 1e3, True,
         [f"{c:,}" for c in JOBS], "jobs", dict(run=0, daemon=2)),
    )
    for at, (head, unit, counts, found, each, log, x_names, x_unit, colors) in enumerate(panels):
        series = {key: (color, [found[key, c] / each(c) for c in counts]) for key, color in colors.items()}
        left = 60 + at * 345
        chart.lines((left, 110, left + 230, 340), head, x_names, series, unit, x_unit, log)
    return chart.svg()


if __name__ == "__main__":
    main()
