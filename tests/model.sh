#!/bin/sh
# The model test of `compare`: random changes and events on two servers between runs, and after each run an independent
# comparison of every row. Prints how the runs ended and, of a violation, everything that was done; then exits with 1.
#
#   sh tests/model.sh [ROUNDS] [SEED]       100 games of each kind, of about 12 runs each; `cargo test` runs a short form
#   sh tests/model.sh --only ROUND SEED     that game of each kind again
#
# $TABLEFERRY_PG_BIN_SOURCE and $TABLEFERRY_PG_BIN_TARGET name the programs of other versions of PostgreSQL.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

need_everything
if [ "${1:-}" = --only ]; then
    TABLEFERRY_MODEL_ONLY=${2:?--only needs the number of a game, and a seed}
    TABLEFERRY_MODEL_SEED=${3:?--only needs the number of a game, and a seed}
    export TABLEFERRY_MODEL_ONLY TABLEFERRY_MODEL_SEED
else
    TABLEFERRY_MODEL=${1:-100}
    export TABLEFERRY_MODEL
    if [ -n "${2:-}" ]; then
        TABLEFERRY_MODEL_SEED=$2
        export TABLEFERRY_MODEL_SEED
    fi
fi
exec cargo test --locked --test it model:: -- --nocapture
