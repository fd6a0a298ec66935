#!/bin/sh
# One task of a SLURM array (see scripts/slurm.sh): run number SLURM_ARRAY_TASK_ID of a sweep of RUNS runs.
#   slurm_task.sh RUNS PROCESSES MODULE [preset] [--flags]
# With several GPUs the run is shared by as many processes, which torch.distributed joins by these variables; they are
# started here rather than by torchrun, which ends with code 1 whatever its processes end with.
# Python ends with code 75 (try again) once it has written a checkpoint, and the task is put back into the queue; the
# run's folder is fixed by its config, so it goes on where it was. --requeue alone does that only where SLURM itself
# takes the node away, hence scontrol here, and hence python as a child rather than by exec, with signals passed on.
# After SIGTERM nothing is requeued here: SLURM requeues what it preempts, and what scancel ends must stay ended.
set -u
runs=$1
processes=$2
module=$3
shift 3
. scripts/shards.sh
terminated=""
pids=""
trap 'kill -USR1 $pids 2> /dev/null' USR1
trap 'terminated=yes; kill -TERM $pids 2> /dev/null' TERM INT
if [ "$processes" -gt 1 ]; then
    export WORLD_SIZE="$processes" MASTER_ADDR=127.0.0.1 MASTER_PORT="$((20000 + SLURM_JOB_ID % 20000))"
fi
rank=0
while [ "$rank" -lt "$processes" ]; do
    if [ "$processes" -gt 1 ]; then export RANK="$rank" LOCAL_RANK="$rank"; fi
    "${PY:-.venv/bin/python}" -m "$module" "$@" --task "$SLURM_ARRAY_TASK_ID/$runs" &
    pids="$pids $!"
    rank=$((rank + 1))
done
wait_for_all
code=$?
if [ "$code" -eq 75 ] && [ -z "$terminated" ]; then
    # The task by its number in the array: the last task's own id is that of the whole array.
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
