#!/bin/sh
# What a refresh costs by how much has changed: 0 %, 0.1 %, 1 %, 10 % and 100 % of the rows, side by side (clustered) or all over
# the table (scattered). Compares `merge` with each `compare` with mode `swap` and with psql's TRUNCATE and COPY (binary):
# wall time, CPU, WAL of the target, bytes over the network, memory. Each has a target table of its own, and all rows are compared
# after each run.
#
#   sh benches/refresh.sh
#
# ROUNDS=3 and ROWS=1000000 can be set; WRITE=1 writes the table and the plot to benches/README.md and benches/refresh.svg.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

# Without full page images: they depend on when the last checkpoint was, not on who writes.
start_bench full_page_writes=off
measure benches/refresh.py
