# Runs inside the container that tests/package.sh boots. Prints a line `ok …` or `not ok …` for each thing looked at.
export DEBIAN_FRONTEND=noninteractive HOME=/root LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

check() { # check WHAT COMMAND...
    what=$1
    shift
    if "$@" >/tmp/said 2>&1; then echo "ok $what"; else echo "not ok $what ($*): $(tail -n 20 /tmp/said)"; fi
}
not() { ! "$@"; }
says() { # says TEXT COMMAND...
    wanted=$1
    shift
    "$@" >/tmp/output 2>&1
    grep -qF -- "$wanted" /tmp/output || { echo "no \"$wanted\" in:"; cat /tmp/output; false; }
}
install_deb() { apt-get -q -y install "$1"; }
exits() { expected=$1; shift; "$@"; [ $? -eq "$expected" ]; }
property() { systemctl show "$1" -p "$2" --value; }
same() { [ "$1" = "$2" ] || { echo "\"$1\" is not \"$2\""; false; }; }
completes() { bash -c '. /usr/share/bash-completion/bash_completion; _completion_loader tableferry; complete -p tableferry'; }
conninfo() { echo "host=/servers/$1 port=$2 user=postgres dbname=postgres"; }
# All paths but those that are written at any time.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /out -o -path /packages -o -path /servers \
        -o -path /var/log -o -path /var/cache -o -path /var/tmp -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/rpm \
        -o -path /root -o -path /var/lib/systemd/linger \) -prune -o -print | grep -v -e '^/etc/.*-$' -e '/systemd-private-' | sort
}
configure() { # configure FILE RUNTIME-DIR JOB
    mkdir -p "${1%/*}"
    cat >"$1" <<END
[daemon]
runtime_dir = "$2"

[servers.shop]
conninfo = "$(conninfo source "$SOURCE_PORT")"

[servers.warehouse]
conninfo = "$(conninfo target "$TARGET_PORT")"

[jobs.$3]
source = "shop"
target = "warehouse"
mode = "merge"
tables = ["public.products"]
END
}

files >/tmp/before

check "the older package is installed" install_deb /packages/old.deb
check "the daemon is not enabled" says disabled systemctl is-enabled tableferry
check "the daemon is not started" says inactive systemctl is-active tableferry
check "tableferry --version" says "tableferry $VERSION" tableferry --version
check "man tableferry" says "TABLEFERRY" sh -c "man tableferry | tr a-z A-Z"
for page in $(man tableferry | grep -o 'tableferry-[a-z]*(1)' | sort -u); do
    check "man ${page%(1)}" says "SYNOPSIS" man "${page%(1)}"
done
check "bash completes" says tableferry completes
check "zsh has completions" test -s /usr/share/zsh/vendor-completions/_tableferry
check "fish has completions" test -s /usr/share/fish/vendor_completions.d/tableferry.fish
check "the user is there" id tableferry
check "the settings of the machine are a conffile" says /etc/tableferry/conf.d/local.toml dpkg-query -f '${Conffiles}' -W tableferry
check "without a configuration, the daemon does not start" not systemctl start tableferry
check "  … and the exit code says why" exits 78 tableferry check
check "the licences are there" test -s /usr/share/doc/tableferry/copyright
check "units are found" says /usr/bin/tableferry systemctl cat tableferry tableferry@x tableferry-run@x.timer tableferry-run@x

# Three commands from the package to a first copy.
check "init writes a configuration" tableferry init --source "$(conninfo source "$SOURCE_PORT")" --target "$(conninfo target "$TARGET_PORT")"
job=$(tableferry jobs --json | sed -n 's/.*"job":"\([a-z_]*\)".*/\1/p' | head -n 1)
check "  … which is valid" tableferry check --connect
check "  … and its job copies" says '"rows_written":1000' tableferry run "$job" --json
check "  … all rows" tableferry verify "$job"

configure /etc/tableferry/tableferry.toml /run/tableferry catalogue
printf '[daemon]\nlog_level = "debug"\n' >>/etc/tableferry/conf.d/local.toml
echo secret >/etc/tableferry/credentials/unused
configure /etc/tableferry/sales/tableferry.toml /run/tableferry-sales catalogue
check "the configuration works" tableferry check --connect
check "the daemon is enabled and started" systemctl enable --now tableferry
check "an instance is, too" systemctl enable --now tableferry@sales
check "so is a timer" systemctl enable --now tableferry-run@catalogue.timer
check "a job runs" tableferry trigger catalogue --wait
check "source and target are the same" tableferry verify catalogue
pid=$(property tableferry MainPID)
instance_pid=$(property tableferry@sales MainPID)
sum=$(cat /etc/tableferry/tableferry.toml /etc/tableferry/conf.d/local.toml /etc/tableferry/sales/tableferry.toml /etc/tableferry/credentials/unused | md5sum)
check "state is kept on disk" test -n "$(ls /var/lib/tableferry/)"

check "the upgrade" install_deb /packages/new.deb
check "  … is an upgrade" says "$VERSION" dpkg-query -f '${Version}' -W tableferry
check "  … keeps the configuration" same "$(cat /etc/tableferry/tableferry.toml /etc/tableferry/conf.d/local.toml /etc/tableferry/sales/tableferry.toml /etc/tableferry/credentials/unused | md5sum)" "$sum"
check "  … leaves the daemon enabled" says enabled systemctl is-enabled tableferry
check "  … and active" says active systemctl is-active tableferry
check "  … with a new process" not same "$(property tableferry MainPID)" "$pid"
check "  … and so the instance" not same "$(property tableferry@sales MainPID)" "$instance_pid"
check "  … which is active" says active systemctl is-active tableferry@sales
check "  … and has ended well" same "$(property tableferry NRestarts)" 0
check "a job runs after it" tableferry trigger catalogue --wait
check "the runs of both are in the history" same "$(tableferry history catalogue --json | wc -l)" 2
check "  … and the first one, of the command" same "$(tableferry history "$job" --json | wc -l)" 1

check "the package is removed" apt-get -q -y remove tableferry
check "  … the daemon is stopped" not systemctl is-active tableferry
check "  … and the instance" not systemctl is-active tableferry@sales
check "  … and the timer" not systemctl is-active tableferry-run@catalogue.timer
check "  … the program is gone" not test -e /usr/bin/tableferry
check "  … the configuration is kept" test -s /etc/tableferry/tableferry.toml
check "it is installed again" install_deb /packages/new.deb
check "  … with its old configuration" tableferry check --connect
check "  … and is enabled, as it was" says enabled systemctl is-enabled tableferry
check "  … it starts" systemctl start tableferry
check "the package is purged" apt-get -q -y purge tableferry
files >/tmp/after
check "  … and leaves no file" diff /tmp/before /tmp/after
check "  … and no unit" not systemctl cat tableferry
check "  … and no running process" not sh -c "cat /proc/[0-9]*/comm | grep tableferry"
check "  … but the user, by policy" id tableferry

# The .rpm's files and scripts, as far as a Debian can tell.
rpm_() { rpm --force-debian --nodeps "$@"; }
check "the .rpm is installed" rpm_ -i /packages/new.rpm
check "  … as version $VERSION" says "tableferry-$VERSION" rpm -q tableferry
check "  … the settings of the machine are a configuration file" says /etc/tableferry/conf.d/local.toml rpm -qc tableferry
configure /etc/tableferry/tableferry.toml /run/tableferry catalogue
check "  … the configuration works" tableferry check --connect
check "  … the daemon starts" systemctl start tableferry
check "  … is there a man page?" says SYNOPSIS man tableferry-run
check "  … it is erased" rpm_ -e tableferry
check "  … and stops the daemon" not systemctl is-active tableferry
rm -rf /etc/tableferry /var/lib/private/tableferry /var/lib/tableferry
# On Fedora, other packages own these directories.
rmdir -p /usr/share/fish/vendor_completions.d /usr/share/zsh/site-functions 2>/dev/null
files >/tmp/after
check "  … and leaves only its state" diff /tmp/before /tmp/after

check "the tarball is unpacked" tar -C /usr --strip-components=1 --no-same-owner -xzf /packages/new.tar.gz
systemctl daemon-reload
configure /etc/tableferry/tableferry.toml /run/tableferry catalogue
check "  … its user is made" systemd-sysusers
check "  … the daemon starts" systemctl start tableferry
check "  … and runs a job" tableferry trigger catalogue --wait
check "  … is there a man page?" says SYNOPSIS man tableferry-run
check "  … the daemon stops" systemctl stop tableferry

if grep -q '^not ok' /out/log; then journalctl --no-pager -o short-precise -u 'tableferry*' | tail -n 50; fi
echo end
