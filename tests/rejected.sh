#!/bin/sh
# A CSV file of 1 000 000 rows, of which 137 are bad in seven ways: each is in tableferry.rejected with its line and
# reason, and all others are published. `cargo test` runs a smaller form.
#
#   sh tests/rejected.sh [ROWS [VERSIONS]]     default: 1000000 rows, with this machine's PostgreSQL, 13 and 18
set -eu
cd "$(dirname "$0")/.."
TABLEFERRY_REJECTED=${1:-1000000}
TABLEFERRY_STAGE_TESTS="files::rejected::of_a_large_file --nocapture"
export TABLEFERRY_REJECTED TABLEFERRY_STAGE_TESTS
sh tests/run.sh --test it -- files::rejected::of_a_large_file --nocapture
exec sh tests/run.sh --pg "${2:-13,18}"
