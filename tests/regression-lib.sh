# The regression database of PostgreSQL. tests/regression.sh and tests/create.sh read this file, after deploy/lib.sh.
# shellcheck shell=sh

# Where the server finds no C functions of the tests, and what lasts long and makes no table.
SKIPPED="tablespace random select_parallel write_parallel vacuum_parallel stats psql psql_crosstab subscription"

# major_of BIN: the version of the servers in this directory.
major_of() { "$1/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'; }

# debian_packages SUITE COMMAND…: apt-get, for one suite of Debian, without the packages of this machine.
debian_packages() {
    has apt-get || die "apt-get is not here"
    suite=$1
    shift
    at=$WORK/apt/$suite
    if [ ! -d "$at" ]; then
        mkdir -p "$at/lists/partial" "$at/cache/archives/partial"
        : >"$at/status"
        for kind in deb deb-src; do echo "$kind http://deb.debian.org/debian $suite main"; done >"$at/sources.list"
        debian_packages "$suite" update
    fi
    (cd "$at" && apt-get -qq -o "Dir::Etc::sourcelist=$at/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::lists=$at/lists" \
        -o "Dir::State::status=$at/status" -o "Dir::Cache=$at/cache" -o APT::Sandbox::User=root "$@")
}

# suite_of MAJOR: the suite of Debian that has this version of PostgreSQL.
suite_of() {
    case $1 in
        13) echo bullseye ;;
        15) echo bookworm ;;
        17) echo trixie ;;
        18) echo forky ;;
        *) die "no suite of Debian has PostgreSQL $1: set \$REGRESS" ;;
    esac
}

# fetch_source BIN: sets REGRESS.
fetch_source() {
    major=$(major_of "$1")
    suite=$(suite_of "$major")
    say "fetching the source of PostgreSQL $major by apt-get"
    debian_packages "$suite" source --download-only "postgresql-$major" && tar -C "$WORK/apt/$suite" -xjf "$WORK/apt/$suite"/*.orig.tar.bz2 ||
        die "the source of PostgreSQL $major cannot be fetched: set \$REGRESS"
    REGRESS=$(echo "$WORK/apt/$suite"/*/src/test/regress)
}

# fetch_clients MAJOR: sets CLIENTS to the words that come before a client program of this version, of which there is none here. They
# run with the libraries of their own distribution.
fetch_clients() {
    suite=$(suite_of "$1")
    say "fetching pg_dump $1 by apt-get"
    debian_packages "$suite" install -y --download-only --no-install-recommends "postgresql-client-$1" >/dev/null ||
        die "pg_dump $1 cannot be fetched"
    root=$WORK/clients-$1
    for package in "$WORK/apt/$suite/cache/archives"/*.deb; do dpkg-deb -x "$package" "$root"; done
    libraries=$(echo "$root"/usr/lib/*-linux-gnu)
    CLIENTS="$(echo "$libraries"/ld-linux-*) --library-path $libraries $root/usr/lib/postgresql/$1/bin"
}

# readable_bin BIN NAME: sets READABLE to BIN, or to that of a copy that the server's user can read.
readable_bin() {
    READABLE=$1
    case $1 in /usr/*) return 0 ;; esac
    cp -R "$1/.." "$WORK/postgresql-$2"
    chmod -R a+rX "$WORK/postgresql-$2"
    READABLE=$WORK/postgresql-$2/bin
}

# make_regression_database: sets TABLEFERRY and WORK, and starts the server `source` with the database `regression`.
make_regression_database() {
    need_everything
    has python3 || install_packages python3 python3 python3
    if [ -z "${TABLEFERRY:-}" ]; then
        cargo build --locked
        TABLEFERRY=${CARGO_TARGET_DIR:-target}/debug/tableferry
    fi
    make_work_directory

    DEBIAN_BIN=$PG_BIN
    if [ -n "${SOURCE_BIN:-}" ]; then
        readable_bin "$SOURCE_BIN" source
        PG_BIN=$READABLE
    fi
    SOURCE_BIN=$PG_BIN
    [ -n "${REGRESS:-}" ] || fetch_source "$SOURCE_BIN"
    [ -f "$REGRESS/parallel_schedule" ] || die "$REGRESS is no src/test/regress"

    start_server source shared_buffers=64MB autovacuum=off max_prepared_transactions=2
    # Where the server's user can read its data files.
    cp -R "$REGRESS" "$WORK/regress"
    chmod -R a+rX "$WORK/regress"
    mkdir "$WORK/regress/results"
    [ -z "$SERVER_USER" ] || chown "$SERVER_USER" "$WORK/regress/results"
    REGRESS=$WORK/regress

    on source -c "CREATE DATABASE regression TEMPLATE template0"
    for setting in "lc_messages TO 'C'" "lc_monetary TO 'C'" "lc_numeric TO 'C'" "lc_time TO 'C'" "bytea_output TO 'hex'" \
        "timezone_abbreviations TO 'Default'"; do
        on source -c "ALTER DATABASE regression SET $setting"
    done
    say "running the regression tests, whose failures do not matter"
    tests=$(sed -n 's/^test: *//p' "$REGRESS/parallel_schedule")
    for test in $tests; do
        case " $SKIPPED " in *" $test "*) continue ;; esac
        (cd "$REGRESS" && PG_ABS_SRCDIR=$REGRESS PG_ABS_BUILDDIR=$REGRESS PG_LIBDIR=$("$PG_BIN/pg_config" --pkglibdir 2>/dev/null || :) \
            PG_DLSUFFIX=.so PGTZ=PST8PDT PGDATESTYLE='Postgres, MDY' PGOPTIONS='-c intervalstyle=postgres_verbose -c statement_timeout=20s' \
            timeout 60 psql -X -q -h 127.0.0.1 -p "$SOURCE_PORT" -U postgres -d regression -f "sql/$test.sql" >/dev/null 2>&1) || :
    done
}
