#!/bin/sh
# The fault tests: inject faults into copies and check that each leaves the old rows or the new ones, and that the
# report, the exit code and the ledger say which. Print what was injected; exit with 1 on a violation.
#
#   sh tests/faults.sh [FAULTS] [SEED]      1000 faults; 200 are the short form, which `cargo test` also runs
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
# shellcheck source=tests/rounds.sh
. tests/rounds.sh

need_everything
need_fault_tools
run_rounds faults 1000 "$@"
