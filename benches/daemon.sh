#!/bin/sh
# What `tableferry daemon` costs, in a release build: memory and wake-ups when idle, also with `listen`; the CPU of scraping
# the metrics of 500 jobs; start-up with 10 000 jobs, and how long after its time a fire is started with 10 000 jobs
# configured. Needs no server: the runs fail at once, at a socket that is not there.
#
#   sh benches/daemon.sh [BINARY]       JOBS=10000 IDLE_SECONDS=30 can be set
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=benches/lib.sh
. benches/lib.sh

has python3 || install_packages python3 python3 python3
binary=${1:-}
if [ -z "$binary" ]; then
    need_compiler
    need_rust
    say "cargo build --release --locked"
    cargo build --release --locked
    binary=target/release/tableferry
fi
exec python3 benches/daemon.py "$binary"
