# The regression database of PostgreSQL. tests/regression.sh and tests/create.sh read this file, after deploy/lib.sh.
# shellcheck shell=sh

# Where the server finds no C functions of the tests, and what lasts long and makes no table.
SKIPPED="tablespace random select_parallel write_parallel vacuum_parallel stats psql psql_crosstab subscription"

# fetch_source: sets REGRESS.
fetch_source() {
    has apt-get || die "set \$REGRESS to src/test/regress of PostgreSQL's source"
    say "fetching the source of PostgreSQL by apt-get"
    package=postgresql-$("$PG_BIN/postgres" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    mkdir -p "$WORK/apt/lists/partial" "$WORK/apt/cache/archives/partial"
    # shellcheck source=/dev/null
    (. /etc/os-release && echo "deb-src http://deb.debian.org/debian $VERSION_CODENAME main") >"$WORK/apt/sources.list"
    apt() {
        apt-get -qq -o "Dir::Etc::sourcelist=$WORK/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
            -o "Dir::State::lists=$WORK/apt/lists" -o "Dir::Cache=$WORK/apt/cache" -o APT::Sandbox::User=root "$@"
    }
    (cd "$WORK/apt" && apt update && apt source --download-only "$package" && tar -xjf ./*.orig.tar.bz2) ||
        die "the source of $package cannot be fetched: set \$REGRESS"
    REGRESS=$(echo "$WORK"/apt/*/src/test/regress)
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

    [ -n "${REGRESS:-}" ] || fetch_source
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
