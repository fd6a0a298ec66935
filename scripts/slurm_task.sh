#!/bin/sh
# One task of a SLURM array (see scripts/slurm.sh): run number SLURM_ARRAY_TASK_ID of a sweep of RUNS runs.
#   slurm_task.sh RUNS PROCESSES MODULE [preset] [--flags]
# With several GPUs the run is shared by as many processes (infolab/distributed.py).
# Python ends with code 75 (try again) once it has written a checkpoint, and the task is put back into the queue; the
# run's folder is fixed by its config, so it goes on where it was. --requeue alone does that only where SLURM itself
# takes the node away, hence scontrol here, and hence python as a child rather than by exec, with signals passed on.
# After SIGTERM nothing is requeued here: SLURM requeues what it preempts, and what scancel ends must stay ended.
set -u
runs=$1
processes=$2
shift 2
if [ "$processes" -gt 1 ]; then set -- infolab.distributed "$processes" "$@"; fi
terminated=""
pid=""
trap 'kill -USR1 "$pid" 2> /dev/null' USR1
trap 'terminated=yes; kill -TERM "$pid" 2> /dev/null' TERM INT
"${PY:-.venv/bin/python}" -m "$@" --task "$SLURM_ARRAY_TASK_ID/$runs" &
pid=$!
# A trapped signal interrupts wait: ask again until python has really ended.
while :; do
    wait "$pid"
    code=$?
    kill -0 "$pid" 2> /dev/null || break
done
if [ "$code" -eq 75 ] && [ -z "$terminated" ]; then
    # The task by its number in the array: the last task's own id is that of the whole array.
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
