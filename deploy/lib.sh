# shellcheck shell=sh
# Shared by demo.sh, the tests and the benches: installing what is missing, and two temporary
# PostgreSQL servers. Source it in the project's root, under `set -eu`.

say() { printf '%s\n' "== $*"; }
die() { printf '%s\n' "error: $*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }

# ---- Installing what is missing --------------------------------------------------------------------

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"
    elif has sudo; then sudo "$@"
    else die "installing packages needs root, and sudo is not installed: run this as root once: $*"
    fi
}

# install_packages APT DNF APK: the packages' names for each package manager.
install_packages() {
    if has apt-get; then
        say "apt-get install $1"
        as_root apt-get update -q >/dev/null || die "apt-get update failed: is the network up?"
        # shellcheck disable=SC2086 # a list of words
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $1 >/dev/null ||
            die "apt-get install failed: install by hand: $1"
    elif has dnf; then
        say "dnf install $2"
        # shellcheck disable=SC2086
        as_root dnf install -q -y $2 || die "dnf install failed: install by hand: $2"
    elif has apk; then
        say "apk add $3"
        # shellcheck disable=SC2086
        as_root apk add -q $3 || die "apk add failed: install by hand: $3"
    else
        die "no apt-get, dnf or apk here: install by hand: $1"
    fi
}

need_compiler() {
    if ! has cc || ! has pkg-config || ! pkg-config --exists openssl; then
        install_packages "gcc libc6-dev pkg-config libssl-dev" "gcc pkgconf-pkg-config openssl-devel" \
            "build-base pkgconf openssl-dev"
    fi
}

# Sets PG_BIN to the directory of initdb, postgres, pg_ctl and psql. The harness of the tests looks in the same places.
find_postgresql() {
    PG_BIN=
    for directory in "${TABLEFERRY_PG_BIN:-}" "$(pg_config --bindir 2>/dev/null || :)" \
        $(printf '%s\n' /usr/lib/postgresql/*/bin /usr/pgsql-*/bin | sort -t/ -k5 -V -r) \
        /usr/libexec/postgresql /usr/bin /usr/local/bin; do
        if [ -x "$directory/initdb" ] && [ -x "$directory/postgres" ]; then PG_BIN=$directory; return 0; fi
    done
    return 1
}

need_postgresql() {
    find_postgresql && has psql && return
    # Keep Debian's package from creating and starting a cluster.
    if has apt-get && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
        as_root mkdir -p /etc/postgresql-common
        echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi
    install_packages "postgresql postgresql-client" "postgresql-server postgresql postgresql-contrib" \
        "postgresql postgresql-client postgresql-contrib"
    find_postgresql || die "PostgreSQL is installed, but initdb was not found: set its directory in \$TABLEFERRY_PG_BIN"
}

# version_at_least HAVE WANTED: both like 1.89.0
version_at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

rust_is_new_enough() {
    has cargo && has rustc || return 1
    version_at_least "$(rustc --version | cut -d ' ' -f 2)" "$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)"
}

need_rust() {
    rust_is_new_enough && return
    # A toolchain that an earlier run installed is not on a new shell's path.
    PATH=${CARGO_HOME:-$HOME/.cargo}/bin:$PATH
    export PATH
    rust_is_new_enough && return
    if has rustup; then
        say "rustup: installing the stable toolchain"
        rustup -q toolchain install stable --profile minimal -c clippy -c rustfmt
        RUSTUP_TOOLCHAIN=stable
        export RUSTUP_TOOLCHAIN
    else
        has curl || install_packages "curl ca-certificates" "curl" "curl ca-certificates"
        say "installing Rust by rustup from https://sh.rustup.rs, into ${CARGO_HOME:-$HOME/.cargo}"
        curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs |
            sh -s -- -q -y --no-modify-path --profile minimal -c clippy -c rustfmt
    fi
    rust_is_new_enough || die "Rust is still older than Cargo.toml's rust-version: see https://rustup.rs"
}

need_everything() {
    need_compiler
    need_postgresql
    need_rust
}

# Some fault tests also need a pooler, network namespaces, and a clock that can be set.
need_fault_tools() {
    if ! has pgbouncer; then install_packages pgbouncer pgbouncer pgbouncer; fi
    if ! has ip; then install_packages iproute2 iproute iproute2; fi
    if ! has faketime; then install_packages faketime libfaketime libfaketime; fi
}

# ---- Two temporary servers -------------------------------------------------------------------------

# PostgreSQL refuses to run as root: sets SERVER_USER to the user for the servers, or to nothing.
choose_server_user() {
    SERVER_USER=
    [ "$(id -u)" -eq 0 ] || return 0
    for user in postgres nobody; do
        if id "$user" >/dev/null 2>&1; then SERVER_USER=$user; return 0; fi
    done
    die "running as root needs a user 'postgres' or 'nobody' to run PostgreSQL as"
}

as_server_user() {
    if [ -z "$SERVER_USER" ]; then "$@"
    elif has runuser; then runuser -u "$SERVER_USER" -- "$@"
    elif has setpriv; then setpriv --reuid="$SERVER_USER" --regid="$(id -g "$SERVER_USER")" --clear-groups -- "$@"
    else
        # shellcheck disable=SC2016 # expanded by the inner shell
        su -s /bin/sh "$SERVER_USER" -c 'exec "$0" "$@"' -- "$@"
    fi
}

# Creates WORK, which clean_up removes. Its path is short, because it holds sockets.
make_work_directory() {
    unset PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGPASSFILE PGDATABASE PGSERVICE PGOPTIONS PGSSLMODE PGDATA
    choose_server_user
    WORK=$(mktemp -d "/tmp/tableferry.XXXXXX")
    chmod 711 "$WORK"
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

clean_up() {
    status=$?
    trap - EXIT
    trap '' INT TERM HUP
    for side in source target; do
        if [ -e "$WORK/$side/data/postmaster.pid" ]; then
            (cd / && as_server_user "$PG_BIN/pg_ctl" stop -s -m immediate -D "$WORK/$side/data") || :
        fi
    done
    rm -rf "$WORK"
    exit "$status"
}

random_port() { echo $((20000 + $(od -An -N2 -tu2 /dev/urandom) % 40000)); }

# start_server source|target [SETTING…]: a server on 127.0.0.1 with the superuser postgres; sets SOURCE_PORT or TARGET_PORT.
start_server() {
    side=$1
    shift
    mkdir "$WORK/$side"
    [ -z "$SERVER_USER" ] || chown "$SERVER_USER" "$WORK/$side"
    (cd / && as_server_user "$PG_BIN/initdb" --no-sync -U postgres -A trust -E UTF8 --locale=C \
        -D "$WORK/$side/data" >/dev/null) || die "initdb failed"
    options="-c listen_addresses=127.0.0.1 -c unix_socket_directories=$WORK/$side -c fsync=off"
    for setting in "$@"; do options="$options -c $setting"; done
    attempt=1
    port=$(random_port)
    until (cd / && as_server_user "$PG_BIN/pg_ctl" start -s -w -D "$WORK/$side/data" -l "$WORK/$side/log" \
        -o "-p $port $options" >/dev/null 2>&1); do
        # Another process has the port: try another.
        [ "$attempt" -lt 5 ] || { cat "$WORK/$side/log" >&2; die "PostgreSQL did not start"; }
        attempt=$((attempt + 1))
        port=$(random_port)
    done
    case $side in source) SOURCE_PORT=$port ;; target) TARGET_PORT=$port ;; esac
}

# on source|target PSQL-ARGUMENTS…
on() {
    case $1 in source) port=$SOURCE_PORT ;; target) port=$TARGET_PORT ;; esac
    shift
    psql -X -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p "$port" -U postgres -d "${DATABASE:-postgres}" "$@"
}

# The servers of a configuration file.
write_servers() {
    cat <<TOML
[servers.source]
conninfo = "host=127.0.0.1 port=$SOURCE_PORT user=postgres dbname=${DATABASE:-postgres} sslmode=disable"

[servers.target]
conninfo = "host=127.0.0.1 port=$TARGET_PORT user=postgres dbname=${DATABASE:-postgres} sslmode=disable"

TOML
}
