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
CLIENTS = {"rust": "Rust (COPY: tableferry)", "python": "Python (psycopg)"}


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


def plot(measured, count, of):
    """Bars of rows a second, on a logarithmic scale, as SVG."""
    import math

    rates = {key: count / wall for key, (wall, _) in measured.items()}
    low, high = 3, math.ceil(math.log10(max(rates.values())))
    left, width, bar = 250, 470, 16
    x = lambda rate: left + width * max(math.log10(rate) - low, 0.01) / (high - low)
    height = 64 + len(WAYS) * (2 * bar + 14) + 30
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {height}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-size="15">Loading {count:,} rows: rows a second</text>',
        f'<text x="12" y="40" fill="#555">{of}</text>',
    ]
    bottom = height - 30
    for power in range(low, high + 1):
        at = x(10**power)
        out.append(f'<path d="M{at:.0f} 54V{bottom}" stroke="#ddd"/>')
        out.append(f'<text x="{at:.0f}" y="{bottom + 16}" text-anchor="middle" fill="#555">{10**power:,}</text>')
    colors = {"rust": "#336791", "python": "#c2a13a"}
    y = 60
    for way, name in WAYS.items():
        out.append(f'<text x="{left - 8}" y="{y + bar + 4}" text-anchor="end">{name}</text>')
        for client in CLIENTS:
            end = x(rates[client, way])
            out.append(f'<rect x="{left}" y="{y}" width="{end - left:.0f}" height="{bar - 2}" fill="{colors[client]}"/>')
            out.append(f'<text x="{end + 5:.0f}" y="{y + 12}" font-size="11">{rates[client, way]:,.0f}</text>')
            y += bar
        y += 14
    for at, client in enumerate(CLIENTS):
        out.append(f'<rect x="{470 + at * 160}" y="12" width="12" height="12" fill="{colors[client]}"/>')
        out.append(f'<text x="{486 + at * 160}" y="22">{CLIENTS[client]}</text>')
    print("\n".join(out + ["</svg>"]))


if __name__ == "__main__":
    if sys.argv[1] in ("table", "plot"):
        _, what, path, count, of = sys.argv
        {"table": table, "plot": plot}[what](summary(path), int(count), of)
    else:
        load(sys.argv[1], int(sys.argv[2]))
