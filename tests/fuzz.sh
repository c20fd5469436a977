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

need_everything
if [ "${1:-}" = --only ]; then
    TABLEFERRY_FUZZ_ONLY=${2:?--only needs the number of a round, and a seed}
    TABLEFERRY_FUZZ_SEED=${3:?--only needs the number of a round, and a seed}
    export TABLEFERRY_FUZZ_ONLY TABLEFERRY_FUZZ_SEED
else
    TABLEFERRY_FUZZ=${1:-1000}
    export TABLEFERRY_FUZZ
    if [ -n "${2:-}" ]; then
        TABLEFERRY_FUZZ_SEED=$2
        export TABLEFERRY_FUZZ_SEED
    fi
fi
exec cargo test --locked --test it fuzz:: -- --nocapture
