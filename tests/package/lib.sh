# shellcheck shell=sh
# Shared by tests/package.sh and tests/dockerfile.sh. Source it after deploy/lib.sh; WORK must be set.

RELEASE=bookworm

skip() { say "skipped: $*"; exit 0; }

# program NAME PACKAGE: sets FOUND to the program of this machine, or to that of a package that is unpacked.
program() {
    FOUND=$(command -v "$1" || :)
    [ -z "$FOUND" ] || return 0
    say "unpacking $2"
    mkdir -p "$WORK/unpacked"
    (cd "$WORK/unpacked" && apt-get download -q "$2" >/dev/null 2>&1 && dpkg-deb -x "$2"_*.deb "$2") ||
        skip "the package $2 cannot be downloaded"
    FOUND=$(find "$WORK/unpacked/$2" -name "$1" -path '*bin/*' | head -n 1)
}

# fresh_debian NAME [PACKAGE,…]: a Debian in target/package/NAME, which is kept for the next time.
fresh_debian() {
    debian=target/package/$1
    [ ! -d "$debian" ] || return 0
    program debootstrap debootstrap
    [ ! -d "$WORK/unpacked/debootstrap" ] || export DEBOOTSTRAP_DIR="$WORK/unpacked/debootstrap/usr/share/debootstrap"
    say "debootstrap $RELEASE, into $debian"
    rm -rf "$debian.part"
    mkdir -p "${debian%/*}"
    sh "$FOUND" --variant=minbase ${2:+"--include=$2"} "$RELEASE" "$debian.part" >"$WORK/debootstrap.log" 2>&1 ||
        { tail -n 3 "$WORK/debootstrap.log" >&2; rm -rf "$debian.part"; skip "debootstrap failed"; }
    rm -rf "$debian.part"/var/cache/apt/archives/*.deb
    mv "$debian.part" "$debian"
}
