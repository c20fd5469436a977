#!/bin/sh
# Looks at the status page with headless Chromium: a daemon with `listen` copies between two PostgreSQL servers, and each
# page is opened light, dark and 400 px wide. Proves that no request leaves the daemon's address, that the browser has
# nothing to complain of (Content-Security-Policy, console, script), that nothing is wider than the window, and that all
# text has enough contrast. The screenshots are in target/browser/.
#
#   sh tests/browser.sh [BINARY]        default: target/release/tableferry, else target/debug/tableferry
#
# Installs PostgreSQL, Python and Debian's package chromium where they are missing.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

binary=${1:-target/release/tableferry}
[ -x "$binary" ] || binary=target/debug/tableferry
[ -x "$binary" ] || die "there is no $binary: cargo build --release"
need_postgresql
has python3 || install_packages python3 python3 python3
has chromium || install_packages chromium chromium chromium
make_work_directory

say "two servers"
start_server source
start_server target

say "looking, into target/browser"
rm -rf target/browser
mkdir -p target/browser
export WORK SOURCE_PORT TARGET_PORT
PYTHONDONTWRITEBYTECODE=1 python3 tests/browser/look.py "$binary" target/browser
