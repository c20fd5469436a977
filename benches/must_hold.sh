#!/bin/sh
# What the project promises about speed, each line beside the value to reach: ratios to `psql | psql` (binary) into the same
# table with its primary key in the same rounds, bytes over the network, and memory. Exits with 1 if a line is missed.
#
#   sh benches/must_hold.sh
#
# ROUNDS=9, ROWS=3000000 and TABLES=1000 can be set; WRITE=1 writes the table to benches/README.md. All clients, psql too, run under
# SCHED_BATCH, as the units run tableferry; LAUNCHER= starts them without.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

LAUNCHER=${LAUNCHER-chrt -b 0}
ROUNDS=${ROUNDS:-9}
export LAUNCHER ROUNDS

start_bench
measure benches/must_hold.py
