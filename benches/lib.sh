# shellcheck shell=sh
# Shared by the benches: the program that is measured, and two servers. Source it in the project's root, under `set -eu`.

# Python leaves no compiled files in benches/.
export PYTHONDONTWRITEBYTECODE=1

# shellcheck source=deploy/lib.sh
. deploy/lib.sh

# Sets `tableferry` to a release build, or to TABLEFERRY_BIN.
need_tableferry() {
    tableferry=${TABLEFERRY_BIN:-}
    [ -z "$tableferry" ] || return 0
    need_compiler
    need_rust
    say "cargo build --release --locked"
    cargo build --release --locked
    tableferry=${CARGO_TARGET_DIR:-target}/release/tableferry
}

# start_bench [SETTING…]: sets `tableferry`, and starts a source and a target; the settings are the target's own. WAL files are
# kept for the next load: a load that has to make and fill new ones pays for those of whoever ran before it.
start_bench() {
    need_postgresql
    has python3 || install_packages python3 python3 python3
    [ -x /usr/bin/time ] || install_packages time time time
    need_tableferry
    make_work_directory
    start_server source shared_buffers=2GB min_wal_size=4GB max_wal_size=8GB autovacuum=off
    start_server target shared_buffers=2GB min_wal_size=4GB max_wal_size=8GB autovacuum=off "$@"
}

# measure PROGRAM [ARGUMENT…]: one of the Python programs here, with what it needs to find the servers (bench.py).
measure() {
    export tableferry WORK PG_BIN SOURCE_PORT TARGET_PORT
    python3 "$@"
}

# Sets `python` to a Python that has psycopg: that of PYTHON, a new one with psycopg's wheel, or the distribution's.
need_psycopg() {
    has_psycopg() { "$1" -c 'import psycopg' 2>/dev/null; }
    python=${PYTHON:-}
    [ -z "$python" ] || return 0
    python=$WORK/venv/bin/python
    if python3 -m venv "$WORK/venv" >/dev/null 2>&1 && "$python" -m pip install -q 'psycopg[binary]' >/dev/null 2>&1; then return 0; fi
    has_psycopg python3 || has_psycopg /usr/bin/python3 || install_packages python3-psycopg python3-psycopg3 py3-psycopg
    # Another python3 on the path does not find the distribution's packages.
    if has_psycopg python3; then python=python3; else python=/usr/bin/python3; fi
}
