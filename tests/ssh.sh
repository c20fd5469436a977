#!/bin/sh
# Copies through a real sshd on loopback: `proxy_command = "ssh -W %h:%p …"`, with a password that a command prints.
# Then the connections are cut in the middle of a copy, and a copy is cancelled.
#
#   sh tests/ssh.sh
set -eu
cd "$(dirname "$0")/.."
# shellcheck source=deploy/lib.sh
. deploy/lib.sh

need_everything
has ssh && has ssh-keygen || install_packages openssh-client openssh-clients openssh-client
[ -x /usr/sbin/sshd ] || install_packages openssh-server openssh-server openssh-server
say "cargo build --locked"
cargo build --locked
tableferry=${CARGO_TARGET_DIR:-target}/debug/tableferry

make_work_directory
SSHD=
stop() {
    status=$?
    [ -z "$SSHD" ] || kill "$SSHD" 2>/dev/null || :
    # clean_up exits with the status that it finds.
    (exit "$status") || clean_up
    clean_up
}
trap stop EXIT

say "starting two PostgreSQL servers ($("$PG_BIN/postgres" --version)) in $WORK"
start_server source
start_server target
on source -c "CREATE ROLE ferry LOGIN PASSWORD 'correct horse'" -c "CREATE TABLE t (id int PRIMARY KEY, filler text)" \
    -c "INSERT INTO t SELECT i, repeat('x', 100) FROM generate_series(1, 100000) AS i" -c "GRANT SELECT ON t TO ferry"
on target -c "CREATE TABLE t (id int PRIMARY KEY, filler text)"
hba=$WORK/source/data/pg_hba.conf
{ echo 'host all ferry all scram-sha-256'; cat "$hba"; } >"$WORK/hba"
cat "$WORK/hba" >"$hba"
on source -c 'SELECT pg_reload_conf()' >/dev/null

say "starting sshd ($(ssh -V 2>&1))"
mkdir "$WORK/ssh"
ssh-keygen -q -t ed25519 -N '' -f "$WORK/ssh/host"
ssh-keygen -q -t ed25519 -N '' -f "$WORK/ssh/client"
SSH_PORT=$(random_port)
cat >"$WORK/ssh/config" <<SSHD_CONFIG
Port $SSH_PORT
ListenAddress 127.0.0.1
HostKey $WORK/ssh/host
AuthorizedKeysFile $WORK/ssh/client.pub
StrictModes no
UsePAM no
PasswordAuthentication no
PidFile none
LogLevel DEBUG1
SSHD_CONFIG
printf '[127.0.0.1]:%s %s\n' "$SSH_PORT" "$(cut -d ' ' -f 1,2 "$WORK/ssh/host.pub")" >"$WORK/ssh/known_hosts"
# The directory of its unprivileged processes, which the package's unit makes.
[ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
/usr/sbin/sshd -D -e -f "$WORK/ssh/config" >"$WORK/ssh/log" 2>&1 &
SSHD=$!
for try in 1 2 3 4 5 6 7 8 9 10; do
    if grep -q 'Server listening' "$WORK/ssh/log"; then break; fi
    [ "$try" -lt 10 ] || { cat "$WORK/ssh/log" >&2; die "sshd did not start"; }
    sleep 1
done

cat >"$WORK/tableferry.toml" <<TOML
[servers.source]
conninfo = "host=localhost port=$SOURCE_PORT user=ferry dbname=postgres"
password_command = ["echo", "correct horse"]
proxy_command = "ssh -F none -o BatchMode=yes -o UserKnownHostsFile=$WORK/ssh/known_hosts -i $WORK/ssh/client -p $SSH_PORT -W %h:%p 127.0.0.1"

[servers.target]
conninfo = "host=127.0.0.1 port=$TARGET_PORT user=postgres dbname=postgres sslmode=disable"

[defaults]
source = "source"
target = "target"
mode   = "truncate"
tables = ["public.t"]
retry  = { max = 0 }

[jobs.whole]

[jobs.slow]
rate_limit = "200kB"
TOML
export TABLEFERRY_CONFIG="$WORK/tableferry.toml"

proxies() { ps -A -o args= | grep -c "^ssh -F none.*$WORK" || :; }
# expect WHAT HAS WANTED
expect() {
    [ "$2" = "$3" ] || { tail -n 50 "$WORK/ssh/log" >&2; die "$1: $2, not $3"; }
    say "$1: $2"
}
# A copy in the background, once it has begun: its process is $RUN.
begin_slowly() {
    "$tableferry" run slow --json >"$WORK/report" 2>"$WORK/said" &
    RUN=$!
    for try in $(seq 60); do
        copies=$(on source -At -c "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'")
        [ "$copies" = 0 ] || return 0
        sleep 0.5
    done
    die "the copy has not begun"
}

"$tableferry" run whole
expect "rows that are the same" "$(on target -At -c 'SELECT count(*) FROM t')" 100000
expect "sshd has forwarded the connection" "$(grep -c 'direct-tcpip' "$WORK/ssh/log" | sed 's/[1-9][0-9]*/yes/')" yes
expect "ssh processes that are left" "$(proxies)" 0

begin_slowly
for session in $(ps -o pid= --ppid "$SSHD"); do kill "$session"; done
status=0
wait "$RUN" || status=$?
cat "$WORK/said"
expect "exit code of a copy whose ssh was cut" "$status" 1
# shellcheck disable=SC2016 # the message's own quotes
expect "the error names ssh" "$(grep -c 'proxy_command: `ssh` ended with exit status: 255' "$WORK/said")" 1
expect "rows that stay" "$(on target -At -c 'SELECT count(*) FROM t')" 100000
expect "ssh processes that are left" "$(proxies)" 0

begin_slowly
kill -INT "$RUN"
status=0
wait "$RUN" || status=$?
expect "exit code of a copy that is cancelled" "$status" 3
expect "backends that are left on the source" \
    "$(on source -At -c "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ferry'")" 0
expect "ssh processes that are left" "$(proxies)" 0
say "all is well"
