"""Copies a table by psycopg, block by block, in binary: psycopg_copy.py SOURCE TARGET TABLE. Measured by benches/copy.sh."""

import sys

import psycopg

source, target, table = sys.argv[1:]
with psycopg.connect(source) as reader, psycopg.connect(target) as writer:
    with (
        reader.cursor().copy(f"COPY {table} TO STDOUT (FORMAT BINARY)") as rows,
        writer.cursor().copy(f"COPY {table} FROM STDIN (FORMAT BINARY)") as into,
    ):
        for block in rows:
            into.write(block)
