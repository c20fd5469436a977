# shellcheck shell=sh
# Shared by tests/package.sh and tests/systemd.sh.

# boot OUT ARGUMENT…: boots test.target in a container by $nspawn with these arguments. What is done there writes lines
# `ok …` and `not ok …`, and `end` at last, to /out/log, where /out is the directory OUT. Fails unless all are ok.
boot() {
    out=$1
    shift
    timeout -k 5 "$BOOT_WAIT" "$nspawn" "$@" --bind="$out:/out" \
        --private-network --register=no --keep-unit --link-journal=no --console=pipe \
        --boot systemd.unit=test.target >"$out/console" 2>&1 </dev/null || booted=$?
    if [ ! -s "$out/log" ]; then
        tail -n 5 "$out/console" >&2
        skip "a container cannot be booted here (exit ${booted:-0})"
    fi
    cat "$out/log"
    passed=$(grep -c '^ok ' "$out/log" || :)
    failed=$(grep -c '^not ok ' "$out/log" || :)
    grep -q '^end$' "$out/log" || failed=$((failed + 1))
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
}
