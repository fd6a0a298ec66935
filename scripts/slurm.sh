# shellcheck shell=sh
# For submit scripts (sourced by launch.sh): submit a sweep as a SLURM array of one task per run.
#   submit_array MODULE [preset] [--flags]
# ACCOUNT, PARTITION, GPUS, CPUS, MEMORY, TIME_LIMIT and SBATCH_FLAGS are the submit script's variables. #SBATCH lines
# cannot expand variables, so the options stand on sbatch's command line. SBATCH_FLAGS comes last and may replace any of
# them: --test-only, --dependency=..., --array=0-29%4 (four tasks at a time), --array=3,7 (those two again).

submit_array() {
    module=$1
    shift
    python=${PY:-.venv/bin/python}
    case " $* " in
        *" --help "* | *" -h "* | *" --dry-run "* | *" --count "*) exec "$python" -m "$module" "$@" ;;
        *" --task"*)
            echo "error: --task is what the array's tasks are given: leave it out, or use run_${module##*.}.sh" >&2
            exit 2
            ;;
    esac
    # Asked before anything is queued: a bad preset or flag ends here, in one sentence; so do several GPUs for a run that
    # is one process.
    gpus=${GPUS:-1}
    runs=$(RANK=0 WORLD_SIZE="${gpus##*:}" "$python" -m "$module" "$@" --count)
    mkdir -p runs/slurm
    # A requeued task appends to its log. USR1 comes two minutes before the time limit, to the batch script alone.
    set -- scripts/slurm_task.sh "$runs" "${gpus##*:}" "$module" "$@"
    # shellcheck disable=SC2086 # SBATCH_FLAGS is a list of options
    sbatch \
        --job-name="${module##*.}" \
        --array="0-$((runs - 1))" \
        --output=runs/slurm/%x-%A_%a.log \
        --open-mode=append \
        --chdir="$PWD" \
        --requeue \
        --signal=B:USR1@120 \
        ${TIME_LIMIT:+"--time=$TIME_LIMIT"} \
        ${CPUS:+"--cpus-per-task=$CPUS"} \
        ${MEMORY:+"--mem=$MEMORY"} \
        ${ACCOUNT:+"--account=$ACCOUNT"} \
        ${PARTITION:+"--partition=$PARTITION"} \
        ${GPUS:+"--gres=gpu:$GPUS"} \
        ${SBATCH_FLAGS:-} \
        "$@"
}
