#!/bin/sh
# Stop what start_controller.sh has started:  sh tests/slurm/stop_controller.sh DIR
# Jobs are cancelled first; the folder stays.
set -eu
export SLURM_CONF="$1/slurm.conf"

# A process that has ended may stay as a zombie where nothing collects it, as in many containers.
runs() {
    grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$1/status"
}

scancel --user="$(id -un)" || true
for daemon in slurmd slurmctld munge/munged; do
    if [ -f "$1/$daemon.pid" ]; then
        pid=$(cat "$1/$daemon.pid")
        kill "$pid" 2> /dev/null || true
        while runs "$pid"; do sleep 0.2; done
    fi
done
