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
# shellcheck source=tests/rounds.sh
. tests/rounds.sh

need_everything
run_rounds model 100 "$@"
