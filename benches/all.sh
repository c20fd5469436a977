#!/bin/sh
# The benches of benches/README.md, one after the other: writes their tables and plots there. The machine must be quiet.
#
#   sh benches/all.sh          about half an hour on two cores
#
# ROUNDS=3 can be set (9 for what must hold); SCALE=0.1 runs all of them with a tenth of the rows, tables and jobs. WRITE=0 only prints.
set -eu
cd "$(dirname "$0")/.."
WRITE=${WRITE:-1}
export WRITE

missed=0
sh benches/must_hold.sh || missed=$?
for bench in copy refresh growth; do sh "benches/$bench.sh"; done
exit "$missed"
