"""The measuring part of benches/copy.sh."""

import os
import shutil
import subprocess
import sys

import bench
import plot
from bench import SOURCE, TARGET, on_both, size, tableferry

PYTHON = os.environ["PYTHON"]
BIG_BYTES = 50_000


def repeated(text, count):
    return "".join(text.format(k=k) for k in range(1, count + 1))


# Name in the plot, columns, values of row i, number of rows.
SHAPES = {
    "narrow": (
        "narrow: int key, int, text",
        "id int PRIMARY KEY, n int, t text",
        "i, i % 1000, 'row ' || i",
        size("NARROW_ROWS", 3_000_000),
    ),
    "pgbench": (
        "pgbench_accounts",
        "aid int PRIMARY KEY, bid int, abalance int, filler char(84)",
        "i, 1 + i / 100000, 0, ''",
        size("PGBENCH_ROWS", 1_000_000),
    ),
    "wide": (
        "wide: 25 columns of 8 types",
        "id bigint PRIMARY KEY" + repeated(", i{k} int, t{k} text, f{k} float8, d{k} timestamptz", 5) + ", p numeric(12,2), u uuid, b bool, day date",
        "i"
        + repeated(", i * {k} % 99991, 'text {k} of ' || i, i / {k}.0, timestamptz '2025-01-01' + i * interval '{k} s'", 5)
        + ", i / 7.0, md5(i::text)::uuid, i % 2 = 0, date '2025-01-01' + i % 1000",
        size("WIDE_ROWS", 500_000),
    ),
    # 50 kB that do not compress well, and are stored as they are.
    "big": (
        "values of 50 kB",
        "id int PRIMARY KEY, payload bytea",
        "i, decode((SELECT string_agg(md5(i::text || k), '') FROM generate_series(1, 3125) k), 'hex')",
        size("BIG_ROWS", 10_000),
    ),
}


def append(shape):
    return tableferry(f"append_{shape}")


def swap(shape):
    return tableferry(f"swap_{shape}")


def psql(shape):
    return bench.run(*bench.psql_pipe(shape, shape))


def psql_text(shape):
    return bench.run(*bench.psql_pipe(shape, shape, "text"))


def conninfo(server):
    return f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres sslmode=disable"


def psycopg(shape):
    script = os.path.join(bench.HERE, "psycopg_copy.py")
    return bench.run([PYTHON, script, conninfo(SOURCE), conninfo(TARGET), shape])


def pgcopydb(shape):
    uri = "postgres://postgres@127.0.0.1:{}/postgres?sslmode=disable"
    directory = f"{bench.WORK}/pgcopydb"
    shutil.rmtree(directory, ignore_errors=True)
    return bench.run(
        ["pgcopydb", "copy", "table-data", "--dir", directory, "--table-jobs", "1",
         "--source", uri.format(SOURCE.port), "--target", uri.format(TARGET.port)]
    )


def postgres_fdw(shape):
    return bench.run(TARGET.psql("-c", f"INSERT INTO {shape} SELECT * FROM remote.{shape}"))


def floor(shape):
    return bench.run(TARGET.psql("-c", f"COPY {shape} FROM '{bench.WORK}/{shape}' (FORMAT binary)"))


def floor_after(shape):
    key = SHAPES[shape][1].split()[0]
    return bench.run(
        TARGET.psql(
            "-1", "-c", f"ALTER TABLE {shape} DROP CONSTRAINT {shape}_pkey",
            "-c", f"COPY {shape} FROM '{bench.WORK}/{shape}' (FORMAT binary)",
            "-c", f"ALTER TABLE {shape} ADD PRIMARY KEY ({key})",
        )
    )


# Function, name, color in the plot.
TOOLS = {
    "append": (append, "tableferry, append", 0),
    "psql": (psql, "psql | psql, binary", 4),
    "psql_text": (psql_text, "psql | psql, text", 4),
    "psycopg": (psycopg, "psycopg, binary", 4),
    "pgcopydb": (pgcopydb, "pgcopydb, one job", 4),
    "postgres_fdw": (postgres_fdw, "postgres_fdw", 4),
    "floor": (floor, "floor: COPY FROM a file", 5),
    "swap": (swap, "tableferry, swap", 0),
    "floor_after": (floor_after, "floor, index built after", 5),
}


def prepare():
    jobs = {f"{mode}_{shape}": f'mode = "{mode}"\ntables = ["public.{shape}"]' for mode in ("append", "swap") for shape in SHAPES}
    bench.write_config(jobs)
    TARGET.sql(
        "CREATE EXTENSION postgres_fdw",
        "CREATE SCHEMA remote",
        f"CREATE SERVER remote FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '{SOURCE.port}', dbname 'postgres', fetch_size '1000')",
        "CREATE USER MAPPING FOR postgres SERVER remote OPTIONS (user 'postgres')",
    )


def measure(shape, tools):
    _, columns, values, rows = SHAPES[shape]
    on_both(f"CREATE TABLE {shape} ({columns})")
    if shape == "big":
        on_both("ALTER TABLE big ALTER payload SET STORAGE external")
    SOURCE.sql(f"INSERT INTO {shape} SELECT {values} FROM generate_series(1, {rows}) i", f"VACUUM ANALYZE {shape}", "CHECKPOINT")
    SOURCE.sql(f"\\copy {shape} TO '{bench.WORK}/{shape}' (FORMAT binary)")
    TARGET.sql(f"IMPORT FOREIGN SCHEMA public LIMIT TO ({shape}) FROM SERVER remote INTO remote")

    def one(tool):
        def run():
            TARGET.sql(f"TRUNCATE {shape}", "CHECKPOINT")
            measured = TOOLS[tool][0](shape)
            if int(TARGET.sql(f"SELECT count(*) FROM {shape}")) != rows:
                sys.exit(f"error: {tool} did not copy all rows of {shape}")
            return measured

        return run

    measured = bench.in_turn({tool: one(tool) for tool in tools})
    on_both(f"DROP TABLE {shape} CASCADE")
    TARGET.sql(f"DROP FOREIGN TABLE IF EXISTS remote.{shape}")
    os.remove(f"{bench.WORK}/{shape}")
    return measured


def draw(found, note):
    chart = plot.Plot("Copying a table into an existing table with a primary key: seconds", note, 960, 70 + 262 * ((len(found) + 1) // 2))
    for at, (shape, measured) in enumerate(found.items()):
        bars = []
        for tool, of in measured.items():
            wall = bench.median(m.wall for m in of)
            bars.append((TOOLS[tool][1] if at % 2 == 0 else "", wall, f"{wall:.2f}  ({bench.ratio(of, measured['psql']):.2f}×)", TOOLS[tool][2]))
        left, right = ((170, 480), (590, 900))[at % 2]
        high = max(bar[1] for bar in bars) * 1.4  # room for the labels
        chart.bars(left, 80 + at // 2 * 262, right, f"{SHAPES[shape][0]}, {SHAPES[shape][3]:,} rows", bars, "seconds (× psql | psql, binary)", bounds=(0, high))
    return chart.svg()


def main():
    shapes = sys.argv[1:] or list(SHAPES)
    tools = [tool for tool in TOOLS if tool != "pgcopydb" or shutil.which("pgcopydb")]
    prepare()
    found = {shape: measure(shape, tools) for shape in shapes}
    parts = []
    for shape, measured in found.items():
        rows = []
        for tool, of in measured.items():
            values = [bench.median(getattr(m, what) for m in of) for what in ("wall", "client_cpu", "source_cpu", "target_cpu", "wal")]
            wall, client, source, target, wal = values
            rows.append((
                TOOLS[tool][1].replace("|", "\\|"), f"{wall:.2f}", f"{bench.ratio(of, measured['psql']):.2f}×", f"{client:.2f}",
                f"{bench.ratio(of, measured['psql'], lambda m: m.client_cpu):.2f}×", f"{source:.2f}", f"{target:.2f}", f"{wal:.0f}",
                f"{max(m.memory for m in of):.1f}",
            ))
        header = ("", "wall s", "to psql", "client CPU s", "to psql", "source CPU s", "target CPU s", "WAL MiB", "client memory MiB")
        parts.append(f"**{SHAPES[shape][0]}**, {SHAPES[shape][3]:,} rows\n\n{bench.markdown(header, rows)}")
    versions = [subprocess.run([PYTHON, "-c", "import psycopg; print('psycopg', psycopg.__version__, psycopg.pq.__impl__)"],
                               check=True, stdout=subprocess.PIPE, text=True).stdout.strip()]
    if "pgcopydb" in tools:
        version = subprocess.run(["pgcopydb", "--version"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        versions.append(" ".join(version.split("\n")[0].split()[::2]))
    note = f"{bench.machine()}; {bench.rounds_said()}"
    text = "\n\n".join([f"{note}; {', '.join(versions)}.", *parts])
    bench.publish("copy", text, {"copy.svg": draw(found, note)})


if __name__ == "__main__":
    main()
