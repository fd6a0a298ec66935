# Sourced by launchers of many small runs: share one sweep between JOBS processes of one thread each.
#   run_shared MODULE [preset] [--flags]
# Small networks do not fill several cores with one run; runs side by side do. The first failure ends all.

run_shared() {
    module=$1
    shift
    python=${PY:-.venv/bin/python}
    case " $* " in
        *" --help "* | *" -h "* | *" --dry-run "* | *" --count "* | *" --task"* | *" --threads"*) exec "$python" -m "$module" "$@" ;;
    esac
    # One process where there is a GPU; else one per core, sixteen at most.
    if [ -z "${JOBS:-}" ] && command -v nvidia-smi > /dev/null; then JOBS=1; fi
    jobs=${JOBS:-$("$python" -c 'import os; print(min(16, os.cpu_count() or 1))')}
    if [ "$jobs" -eq 1 ]; then exec "$python" -m "$module" "$@"; fi
    pids=""
    trap 'kill -TERM $pids 2> /dev/null || true' INT TERM USR1
    task=0
    while [ "$task" -lt "$jobs" ]; do
        "$python" -m "$module" "$@" --threads 1 --task "$task/$jobs" &
        pids="$pids $!"
        task=$((task + 1))
    done
    code=0
    for pid in $pids; do
        # A trapped signal interrupts wait: ask again until the process has really ended.
        while :; do
            status=0
            wait "$pid" || status=$?
            kill -0 "$pid" 2> /dev/null || break
        done
        if [ "$status" -ne 0 ] && [ "$code" -eq 0 ]; then
            code=$status
            kill -TERM $pids 2> /dev/null || true
        fi
    done
    return "$code"
}
