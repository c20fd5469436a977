"""Loads rows by one way with psycopg, for benches/loading.sh: loading.py WAY ROWS. With `plot`, draws the measurements."""
import sys
from datetime import datetime, timedelta, timezone

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
INSERT = "INSERT INTO t VALUES (%s, %s, %s, %s, %s)"


def rows(count):
    for i in range(count):
        yield i, i % 1000, f"name {i}", i * 1.5, START + timedelta(seconds=i)


def batches(count, size):
    batch = []
    for row in rows(count):
        batch.append(row)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def load(way, count):
    import psycopg

    with psycopg.connect() as connection, connection.cursor() as cursor:
        if way == "single":
            for row in rows(count):
                cursor.execute(INSERT, row)
        elif way == "multi":
            for batch in batches(count, 1000):
                values = ", ".join(["(%s, %s, %s, %s, %s)"] * len(batch))
                cursor.execute(f"INSERT INTO t VALUES {values}", [value for row in batch for value in row])
        elif way == "unnest":
            for batch in batches(count, 10000):
                arrays = [list(column) for column in zip(*batch)]
                cursor.execute(
                    "INSERT INTO t SELECT * FROM unnest(%s::int[], %s::int[], %s::text[], %s::float8[], %s::timestamptz[])",
                    arrays,
                )
        elif way in ("copy_text", "copy_binary"):
            binary = way == "copy_binary"
            with cursor.copy("COPY t FROM STDIN" + (" (FORMAT binary)" if binary else "")) as copy:
                if binary:
                    copy.set_types(["int4", "int4", "text", "float8", "timestamptz"])
                for row in rows(count):
                    copy.write_row(row)
        else:
            sys.exit(f"no way {way}")


WAYS = {
    "single": "single INSERTs, prepared",
    "multi": "INSERTs of 1000 rows",
    "unnest": "INSERT … SELECT unnest, 10 000 rows",
    "copy_text": "COPY, text",
    "copy_binary": "COPY, binary",
}
CLIENTS = {"rust": "Rust", "python": "psycopg"}


def summary(path):
    """Medians of the lines `client way wall cpu`."""
    import statistics

    found = {}
    for line in open(path):
        client, way, wall, cpu = line.split()
        found.setdefault((client, way), []).append((float(wall), float(cpu)))
    return {key: tuple(statistics.median(column) for column in zip(*values)) for key, values in found.items()}


def table(measured, count, of):
    print(f"{count} rows of five columns into a table with a primary key, in one transaction. {of}\n")
    print("| way | Rust: wall | CPU | Python: wall | CPU |")
    print("|---|---:|---:|---:|---:|")
    for way, name in WAYS.items():
        cells = " | ".join("%.2f s | %.2f s" % measured[client, way] for client in CLIENTS)
        print(f"| {name} | {cells} |")


def draw(measured, count, of):
    """Bars of rows a second, on a logarithmic scale, as SVG."""
    import plot

    chart = plot.Plot(f"Loading {count:,} rows: rows a second", of, 800, 130 + 2 * len(WAYS) * 20)
    bars = []
    for way, name in WAYS.items():
        for client, color in (("rust", 0), ("python", 1)):
            rate = count / measured[client, way][0]
            bars.append((f"{name}: {CLIENTS[client]}", rate, f"{rate:,.0f}", color))
    low, high = plot.around((bar[1] for bar in bars), True)
    chart.bars(340, 68, 780, "", bars, "rows a second", True, (min(low, 1000), high * 3))
    print(chart.svg(), end="")


if __name__ == "__main__":
    if sys.argv[1] in ("table", "plot"):
        _, what, path, count, of = sys.argv
        {"table": table, "plot": draw}[what](summary(path), int(count), of)
    else:
        load(sys.argv[1], int(sys.argv[2]))
