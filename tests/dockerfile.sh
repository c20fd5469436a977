#!/bin/sh
# Does the steps of deploy/Dockerfile without a container engine: each stage is a directory with a fresh Debian
# (debootstrap), RUN is done by chroot, COPY copies. The image rust: is that Debian with this machine's Rust. Then the
# daemon of the last stage is started as its user, with the configuration of deploy/kubernetes.yaml.
#
#   sh tests/dockerfile.sh [BINARY]        with BINARY, this program is taken and `cargo build` left out
#
# Needs root, a Debian-like machine, and the network for apt-get. Skips with exit code 0 where these are missing.
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh
# shellcheck source=tests/package/lib.sh
. tests/package/lib.sh

[ "$(id -u)" -eq 0 ] || skip "chroot needs root"
has apt-get || skip "this is not a Debian-like machine"
has git && has python3 || skip "git or python3 is missing"
[ $# -gt 0 ] || need_rust
make_work_directory
fresh_debian debian-slim
unshare --mount --propagation private true 2>/dev/null || skip "a mount namespace cannot be made here"
# The mounts of the stages end with the process.
unshare --mount --propagation private python3 tests/package/dockerfile.py "$WORK/image" "$@"
