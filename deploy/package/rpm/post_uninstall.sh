# $1: 0 for a removal, 1 for an upgrade, when the new files are in place
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
    if [ "$1" -ge 1 ]; then systemctl try-restart tableferry.service 'tableferry@*.service' || :; fi
fi
# The package owns files only.
if [ "$1" -eq 0 ]; then rmdir /usr/share/doc/tableferry/docs /usr/share/doc/tableferry /etc/tableferry/conf.d 2>/dev/null || :; fi
