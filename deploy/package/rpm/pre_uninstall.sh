# $1: 0 for a removal, 1 for an upgrade
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
    systemctl disable --now tableferry.service || :
    systemctl stop 'tableferry@*.service' 'tableferry-run@*.timer' 'tableferry-run@*.service' || :
fi
