#!/bin/sh
# The schema fuzzer: random tables, rows and jobs on two servers, and after each run an independent comparison of both
# sides. Prints what was generated and how the runs ended. Minimizes and prints a violation, and exits with 1.
#
#   sh tests/fuzz.sh [ROUNDS] [SEED]        1000 rounds; 40 are the short form, which `cargo test` also runs
#   sh tests/fuzz.sh --only ROUND SEED      that round again
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
# shellcheck source=tests/rounds.sh
. tests/rounds.sh

need_everything
run_rounds fuzz 1000 "$@"
