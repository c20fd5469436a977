#!/bin/sh
# Builds the packages, and installs, upgrades, removes and purges them on a fresh Debian that is booted in a container
# (debootstrap, systemd-nspawn). Two PostgreSQL servers of this machine are its source and target.
#
#   sh tests/package.sh
#
# Needs root and a Debian-like machine. The fresh Debian is kept in target/package/debian for the next time. Other
# missing programs are unpacked into a temporary directory; nothing is installed on this machine.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
# shellcheck source=tests/boot.sh
. tests/boot.sh
# shellcheck source=tests/package/lib.sh
. tests/package/lib.sh

BOOT_WAIT=${TABLEFERRY_BOOT_WAIT:-600}

[ "$(id -u)" -eq 0 ] || skip "systemd-nspawn needs root"
has apt-get || skip "this is not a Debian-like machine"
need_everything
make_work_directory

program systemd-nspawn systemd-container
nspawn=$FOUND
"$nspawn" --version >/dev/null 2>&1 || skip "systemd-nspawn does not run: another version than this machine's systemd?"
fresh_debian debian systemd,systemd-sysv,dbus,man-db,bash-completion,ca-certificates,rpm

say "building the packages"
mkdir -p "$WORK/packages"
sh deploy/package.sh deb rpm tarball
version=$(target/release/tableferry --version | cut -d ' ' -f 2)
cp target/package/tableferry_"$version"_*.deb "$WORK/packages/new.deb"
# The same package as an older version.
dpkg-deb -R "$WORK/packages/new.deb" "$WORK/older"
sed -i 's/^Version: .*/Version: 0.0.1/' "$WORK/older/DEBIAN/control"
dpkg-deb -b -Znone "$WORK/older" "$WORK/packages/old.deb" >/dev/null
cp target/package/tableferry-"$version".*.rpm "$WORK/packages/new.rpm"
cp target/package/tableferry-"$version"-*.tar.gz "$WORK/packages/new.tar.gz"

say "two servers"
start_server source
start_server target
on source -c "CREATE TABLE products AS SELECT i AS id, 'product ' || i AS name FROM generate_series(1, 1000) i; ALTER TABLE products ADD PRIMARY KEY (id)"
on target -c "CREATE TABLE products (id int PRIMARY KEY, name text)"

say "booting"
root=$WORK/root
cp -a target/package/debian "$root"
mkdir -p "$root/test" "$WORK/out"
cp tests/package/drive.sh "$root/test/drive.sh"
printf '[Unit]\nRequires=basic.target drive.service\nAfter=basic.target\nAllowIsolate=yes\n' >"$root/etc/systemd/system/test.target"
cat >"$root/etc/systemd/system/drive.service" <<END
[Unit]
After=basic.target dbus.socket
[Service]
Type=oneshot
Environment=SOURCE_PORT=$SOURCE_PORT TARGET_PORT=$TARGET_PORT VERSION=$version
ExecStart=/bin/sh /test/drive.sh
ExecStopPost=/bin/systemctl poweroff --no-block --force
StandardOutput=file:/out/log
StandardError=file:/out/log
END
boot "$WORK/out" -D "$root" --bind-ro="$WORK/packages:/packages" \
    --bind="$WORK/source:/servers/source" --bind="$WORK/target:/servers/target"
