# shellcheck shell=sh
# Shared by tests/faults.sh, tests/fuzz.sh and tests/model.sh. Source it after deploy/lib.sh.

# run_rounds MODULE DEFAULT [ROUNDS] [SEED]: this many rounds of the tests of a module.
# run_rounds MODULE DEFAULT --only ROUND SEED: one of these rounds again, where the module knows that.
# The tests read TABLEFERRY_MODULE, TABLEFERRY_MODULE_SEED and TABLEFERRY_MODULE_ONLY.
run_rounds() {
    module=$1
    rounds=$2
    shift 2
    variable=TABLEFERRY_$(echo "$module" | tr '[:lower:]' '[:upper:]')
    if [ "${1:-}" = --only ]; then
        export "${variable}_ONLY=${2:?--only needs the number of a round, and a seed}"
        export "${variable}_SEED=${3:?--only needs the number of a round, and a seed}"
    else
        export "$variable=${1:-$rounds}"
        if [ -n "${2:-}" ]; then export "${variable}_SEED=$2"; fi
    fi
    exec cargo test --locked --test it "$module::" -- --nocapture
}
