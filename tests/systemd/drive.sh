# Runs inside the container that tests/systemd.sh boots. Prints a line `ok …` or `not ok …` for each thing looked at.
pg_bin=$1
tableferry=/etc/tableferry-test/tableferry

check() { # check WHAT COMMAND...
    what=$1
    shift
    if "$@" >/tmp/said 2>&1; then echo "ok $what"; else echo "not ok $what ($*): $(cat /tmp/said)"; fi
}
property() { systemctl show tableferry -p "$1" --value; }
is() { [ "$(property "$1")" = "$2" ] || { echo "$1 is $(property "$1"), not $2"; false; }; }
soon() { # soon COMMAND...: within 30 s
    for _ in $(seq 300); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    return 1
}
as_postgres() { runuser -u postgres -- "$@"; }
sql() { as_postgres psql -h /run/postgresql -qAtX -d "$1" -c "$2"; }
journal() { journalctl -q --no-pager -o cat "$@"; }
logged() { journal "$@" | grep -q .; }
rows() { [ "$(sql warehouse "SELECT count(*) FROM $1")" = "$2" ]; }
exits() { expected=$1; shift; "$@"; [ $? -eq "$expected" ]; }
ran() { [ "$(journal JOB="$1" | grep -c "^committed")" -ge "$2" ]; }

mkdir -p /var/lib/pg /run/postgresql
chown postgres: /var/lib/pg /run/postgresql
as_postgres "$pg_bin/initdb" -D /var/lib/pg -A trust --no-sync >/dev/null
as_postgres "$pg_bin/pg_ctl" -D /var/lib/pg -w -s -l /var/lib/pg/log -o '-c fsync=off -k /run/postgresql' start
for database in shop warehouse; do sql postgres "CREATE DATABASE $database"; done
sql shop "CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 100) i;
    CREATE ROLE reader LOGIN PASSWORD 'secret'; GRANT SELECT ON t TO reader"
sql warehouse "CREATE TABLE t (id int); CREATE TABLE u (id int)"
# The credential is needed, so that it is seen to arrive.
printf 'local all reader scram-sha-256\nlocal all all trust\nhost all all 127.0.0.1/32 trust\n' >/var/lib/pg/pg_hba.conf
sql postgres "SELECT pg_reload_conf()" >/dev/null

check "the unit starts" systemctl start tableferry
check "it is active" is ActiveState active
check "its STATUS text is shown" is StatusText "0 of 2 jobs running"
check "trigger --wait runs a job" "$tableferry" trigger catalogue --wait
check "the rows are there" rows t 100
run_id=$(journalctl -q --no-pager -o json JOB=catalogue | sed -n 's/.*"RUN_ID":"\([^"]*\)".*/\1/p' | head -n 1)
check "the journal has the field JOB" logged JOB=catalogue
check "the journal has the field RUN_ID" logged RUN_ID="$run_id"
check "SIGUSR1 runs the on-demand jobs" systemctl kill -s USR1 --kill-who=main tableferry
check "  … and one ran" soon ran catalogue 2
check "a real-time signal runs its job" systemctl kill -s RTMIN+3 --kill-who=main tableferry
check "  … and it ran" soon ran catalogue 3
check "reload takes a good file" systemctl reload tableferry
cp /etc/tableferry/tableferry.toml /tmp/good
echo 'nonsense = 1' >>/etc/tableferry/tableferry.toml
check "reload fails with a bad file" exits 1 systemctl reload tableferry
check "  … and the daemon says why in the journal" sh -c "journalctl -u tableferry -o cat --no-pager -p err _PID=$(property MainPID) | grep nonsense"
check "  … and the daemon is still active" is ActiveState active
cp /tmp/good /etc/tableferry/tableferry.toml
check "it runs under the scheduling policy of the unit" sh -c "chrt -p $(property MainPID) | grep SCHED_BATCH"
check "nothing was restarted so far" is NRestarts 0

systemctl kill -s STOP --kill-who=main tableferry
check "the watchdog kills a daemon that is stopped" soon is NRestarts 1
check "  … and it comes back" soon is ActiveState active

"$tableferry" trigger slow >/dev/null
check "a copy runs" soon is StatusText "1 of 2 jobs running"
check "stop waits for the copy" systemctl stop tableferry
check "  … which was committed" rows u 100
check "  … and ended well" is Result success
check "the run's end is in the journal" logged JOB=slow MESSAGE=committed

check "the oneshot unit runs a job" systemctl start tableferry-run@catalogue
check "the timer starts" systemctl start tableferry-run@catalogue.timer
mkdir -p /etc/tableferry/sales/credentials
cp /etc/tableferry/credentials/shop /etc/tableferry/sales/credentials/
{ printf '[daemon]\nruntime_dir = "/run/tableferry-sales"\n'; cat /tmp/good; } >/etc/tableferry/sales/tableferry.toml
check "an instance starts" systemctl start tableferry@sales
check "  … is asked" "$tableferry" --config /etc/tableferry/sales/tableferry.toml trigger catalogue --wait
check "  … reloads" systemctl reload tableferry@sales
check "  … and stops" systemctl stop tableferry@sales

if grep -q '^not ok' /out/log; then journalctl --no-pager -o short-precise -u 'tableferry*' | tail -n 100; fi
as_postgres "$pg_bin/pg_ctl" -D /var/lib/pg -m immediate -s stop
echo end
