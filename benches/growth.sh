#!/bin/sh
# Whether time grows in proportion: rows ×1 ×4 ×16 of one table, tables ×1 to ×1000 of one job, and jobs ×1 to ×100, one after
# the other by `tableferry run` and four at a time by the daemon. Time for each million rows, each table, each job.
#
#   sh benches/growth.sh
#
# ROUNDS=3, ROWS=250000 (of ×1), TABLES=1000 and JOBS=100 can be set; WRITE=1 writes the tables and the plot to
# benches/README.md and benches/growth.svg.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

start_bench
measure benches/growth.py
