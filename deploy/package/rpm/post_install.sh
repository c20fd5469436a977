# $1: 1 for an installation, 2 for an upgrade
systemd-sysusers tableferry.conf || :
[ -d /etc/tableferry/credentials ] || install -d -m 755 /etc/tableferry/credentials
if [ -d /run/systemd/system ]; then systemctl daemon-reload || :; fi
if [ "$1" -eq 1 ]; then systemctl preset tableferry.service >/dev/null 2>&1 || :; fi
