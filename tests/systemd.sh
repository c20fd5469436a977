#!/bin/sh
# Boots the units in a container (systemd-nspawn) with a PostgreSQL server inside, and tests the
# daemon there: start, reload, signals, watchdog, stop during a copy, the journal's fields.
#
#   sh tests/systemd.sh [BINARY]        default: target/release/tableferry, else target/debug/tableferry
#
# Needs root and a Debian-like machine. Missing packages are unpacked into a temporary directory; nothing is
# installed or changed on the machine. Skips with exit code 0 if a container cannot be booted.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
# shellcheck source=tests/boot.sh
. tests/boot.sh

BOOT_WAIT=${TABLEFERRY_BOOT_WAIT:-180}

skip() { say "skipped: $*"; exit 0; }

binary=${1:-target/release/tableferry}
[ -x "$binary" ] || binary=target/debug/tableferry
[ -x "$binary" ] || die "there is no $binary: cargo build --release"
[ "$(id -u)" -eq 0 ] || skip "systemd-nspawn needs root"
[ -x /lib/systemd/systemd ] || skip "this machine has no systemd to boot"
find_postgresql || skip "no PostgreSQL server on this machine"
id postgres >/dev/null 2>&1 || skip "there is no user postgres to run the server"

work=$(mktemp -d /tmp/tableferry-systemd.XXXXXX)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

nspawn=$(command -v systemd-nspawn || :)
if [ -z "$nspawn" ]; then
    has apt-get || skip "there is no systemd-nspawn"
    say "unpacking systemd-container"
    (cd "$work" && chmod 755 . && apt-get download -q systemd-container >/dev/null 2>&1 && dpkg-deb -x systemd-container_*.deb nspawn) ||
        skip "systemd-container cannot be downloaded"
    nspawn=$work/nspawn/usr/bin/systemd-nspawn
    "$nspawn" --version >/dev/null 2>&1 || skip "systemd-nspawn does not run: another version than this machine's systemd?"
fi

# The container is this machine's /usr, read-only, with an /etc of its own and everything else empty.
cp -a /etc "$work/etc"
mkdir -p "$work/out" "$work/etc/tableferry/credentials" "$work/etc/tableferry-test"
# The container must not start this machine's services.
rm -rf "$work/etc/systemd/system" "$work/etc/rc"?.d "$work/etc/init.d" "$work/etc/fstab"
units=$work/etc/systemd/system
mkdir -p "$units/tableferry.service.d"
cp "$binary" "$work/etc/tableferry-test/tableferry"
for unit in systemd/*; do
    sed 's,/usr/bin/tableferry,/etc/tableferry-test/tableferry,' "$unit" >"$units/${unit##*/}"
done
# Shorter than half a minute, so that the test need not wait.
printf '[Service]\nWatchdogSec=4s\nRestartSec=1s\n' >"$units/tableferry.service.d/test.conf"
printf '[Unit]\nRequires=basic.target drive.service\nAfter=basic.target\nAllowIsolate=yes\n' >"$units/test.target"
cat >"$units/drive.service" <<END
[Unit]
After=basic.target dbus.socket
[Service]
Type=oneshot
ExecStart=/bin/sh /etc/tableferry-test/drive.sh $PG_BIN
ExecStopPost=/bin/systemctl poweroff --no-block --force
StandardOutput=file:/out/log
StandardError=file:/out/log
END
cp tests/systemd/drive.sh "$work/etc/tableferry-test/drive.sh"
cp tests/systemd/tableferry.toml "$work/etc/tableferry/tableferry.toml"
echo secret >"$work/etc/tableferry/credentials/shop"
chmod 600 "$work/etc/tableferry/credentials/shop"

say "booting"
boot "$work/out" -D / --volatile=yes --bind="$work/etc:/etc"
