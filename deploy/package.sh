#!/bin/sh
# Builds packages into target/package/:
#
#   sh deploy/package.sh deb|rpm|tarball...     any of them, or several
#
#   deb        for Debian and Ubuntu                        tableferry_VERSION_ARCH.deb
#   rpm        for Fedora, RHEL and their like              tableferry-VERSION.ARCH.rpm
#   tarball    for other systems, to be unpacked into /usr  tableferry-VERSION-ARCH-linux-gnu.tar.gz
#
# The program is linked with this machine's glibc and OpenSSL: build on the oldest system that shall run it.
# $VERSION overrides the version of Cargo.toml. With $NO_BUILD, target/release/tableferry is packed as it is. Installs cargo-deb and cargo-generate-rpm into .tools if they are missing.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

CARGO_DEB=3.8.0
CARGO_GENERATE_RPM=0.21.1
OUT=target/package

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | sed '$d' >&2; exit 2; }

# need_tool NAME VERSION
need_tool() {
    [ -x ".tools/bin/$1" ] || cargo install -q --locked --root .tools "$1@$2" || die "cargo install $1@$2 failed"
}

# The program, and what it prints about itself. The packages' lists of files are in Cargo.toml.
build() {
    need_rust
    if [ -z "${NO_BUILD:-}" ]; then
        need_compiler
        cargo build --release --locked
    fi
    program=target/release/tableferry
    rm -rf "$OUT/man" "$OUT/completions"
    mkdir -p "$OUT/man" "$OUT/completions"
    "$program" man "$OUT/man"
    "$program" completions bash >"$OUT/completions/tableferry.bash"
    "$program" completions zsh >"$OUT/completions/_tableferry"
    "$program" completions fish >"$OUT/completions/tableferry.fish"
    version=${VERSION:-$("$program" --version | cut -d ' ' -f 2)}
}

deb() {
    need_tool cargo-deb "$CARGO_DEB"
    has dpkg-shlibdeps || install_packages dpkg-dev dpkg-dev dpkg-dev
    PATH=$PWD/.tools/bin:$PATH cargo deb -q --no-build --no-strip --deb-version "$version" \
        -o "$OUT/tableferry_${version}_$(dpkg --print-architecture).deb"
}

rpm() {
    need_tool cargo-generate-rpm "$CARGO_GENERATE_RPM"
    PATH=$PWD/.tools/bin:$PATH cargo generate-rpm -s "version = \"$version\"" \
        -o "$OUT/tableferry-$version.$(uname -m).rpm"
}

# A tree that is unpacked into /usr. Nothing of it belongs into /etc.
tarball() {
    name=tableferry-$version-$(uname -m)-linux-gnu
    tree=$OUT/$name
    rm -rf "$tree"
    put 755 target/release/tableferry bin
    put 644 deploy/package/tableferry.sysusers lib/sysusers.d tableferry.conf
    for file in systemd/*; do put 644 "$file" lib/systemd/system; done
    for file in "$OUT"/man/*; do put 644 "$file" share/man/man1; done
    put 644 "$OUT/completions/tableferry.bash" share/bash-completion/completions tableferry
    put 644 "$OUT/completions/_tableferry" share/zsh/site-functions
    put 644 "$OUT/completions/tableferry.fish" share/fish/vendor_completions.d
    for file in README.md CHANGELOG.md LIMITS.md LICENSE LICENSE-APACHE LICENSE-MIT config/tableferry.toml \
        deploy/prometheus-rules.yml deploy/grafana.json; do
        put 644 "$file" share/doc/tableferry
    done
    for file in docs/*.md; do put 644 "$file" share/doc/tableferry/docs; done
    tar -C "$OUT" --sort=name --owner=0 --group=0 --numeric-owner -czf "$OUT/$name.tar.gz" "$name"
    rm -rf "$tree"
    echo "$OUT/$name.tar.gz"
}

# put MODE FILE DIRECTORY [NAME]
put() {
    mkdir -p "$tree/$3"
    install -m "$1" "$2" "$tree/$3/${4:-${2##*/}}"
}

[ $# -gt 0 ] || usage
for kind in "$@"; do
    case $kind in deb | rpm | tarball) ;; *) usage ;; esac
done
build
for kind in "$@"; do "$kind"; done
