# shellcheck shell=sh
# For launchers of many small runs (sourced by launch.sh): share one sweep between JOBS processes of one thread each.
#   run_shared MODULE [preset] [--flags]         the launcher's only or last command
#   run_processes N MODULE [preset] [--flags]    the same with N processes; returns, so that more may follow
# Small networks do not fill several cores with one run; runs side by side do. The first failure ends all.

run_shared() {
    module=$1
    shift
    python=${PY:-.venv/bin/python}
    if asks_only "$@"; then exec "$python" -m "$module" "$@"; fi
    jobs=$(count_jobs "$@")
    if [ "$jobs" -eq 1 ]; then exec "$python" -m "$module" "$@"; fi
    run_processes "$jobs" "$module" "$@"
}

# Whether the flags ask for text or for one share of the sweep, which one process gives.
asks_only() {
    case " $* " in
        *" --help "* | *" -h "* | *" --dry-run "* | *" --count "* | *" --task"*) return 0 ;;
    esac
    return 1
}

# One process where there is a GPU or where --threads says how many threads it takes; else one per core that the process
# may use, sixteen at most. A launcher of a module that computes on the CPU alone sets ON_CPU, as --device cpu does.
count_jobs() {
    case " $* --device ${DEVICE:-auto} " in *" --device cpu "* | *" --device=cpu "*) ON_CPU=1 ;; esac
    case " $* " in *" --threads"*) JOBS=1 ;; esac
    if [ -z "${JOBS:-}${ON_CPU:-}" ] && command -v nvidia-smi > /dev/null; then JOBS=1; fi
    echo "${JOBS:-$("${PY:-.venv/bin/python}" -c "$CORES")}"
}
CORES='import os; print(min(16, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))'

run_processes() {
    jobs=$1
    module=$2
    shift 2
    python=${PY:-.venv/bin/python}
    pids=""
    trap 'kill -TERM $pids 2> /dev/null || true' INT TERM USR1
    task=0
    while [ "$task" -lt "$jobs" ]; do
        if [ "$jobs" -eq 1 ]; then
            "$python" -m "$module" "$@" &
        else
            # What is wrong with the flags is the same for all: the first process says it.
            TOLD_BY_FIRST=${pids:+1} "$python" -m "$module" "$@" --threads 1 --task "$task/$jobs" &
        fi
        pids="$pids $!"
        task=$((task + 1))
    done
    code=0
    for pid in $pids; do
        # A trapped signal interrupts wait: ask again until the process has really ended.
        while :; do
            status=0
            wait "$pid" 2> /dev/null || status=$?  # the shell's own word about who was ended says nothing new
            kill -0 "$pid" 2> /dev/null || break
        done
        if [ "$status" -ne 0 ] && [ "$code" -eq 0 ]; then
            code=$status
            # shellcheck disable=SC2086 # a list of processes
            kill -TERM $pids 2> /dev/null || true
        fi
    done
    return "$code"
}
