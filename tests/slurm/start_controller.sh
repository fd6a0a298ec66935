#!/bin/sh
# A SLURM controller and one node on this machine, for trying the submit scripts (Debian: apt-get install slurm-wlm munge).
#   sh tests/slurm/start_controller.sh DIR     as root; DIR, a new folder, holds its settings, state and logs
#   SLURM_CONF=DIR/slurm.conf PARTITION=lab GPUS= sh diffusion/submit_mnist.sh smoke      (squeue alike)
# It offers GPUs, /dev/tty0 to /dev/tty3: a task that asks for one sees SLURM's variables, and ends as torch finds no GPU.
#   sh tests/slurm/stop_controller.sh DIR      stops the three daemons
set -eu
here=$(CDPATH='' cd "$(dirname "$(readlink -f "$0")")" && pwd)
mkdir -p "$1/munge" "$1/state" "$1/spool"
dir=$(CDPATH='' cd "$1" && pwd)
host=$(hostname -s)
export SLURM_CONF="$dir/slurm.conf"
sed -e "s|@DIR@|$dir|g; s|@HOST@|$host|g; s|@USER@|$(id -un)|g" "$here/slurm.conf.in" > "$SLURM_CONF"
# slurmd believes in a GPU that has a device file.
echo "NodeName=$host Name=gpu File=/dev/tty[0-3]" > "$dir/gres.conf"

# munge signs what the daemons and the commands say to each other, here with a key of its own.
chmod 711 "$dir" "$dir/munge"
(umask 077 && dd if=/dev/urandom of="$dir/munge/munge.key" bs=1024 count=1 2> /dev/null)
munged --force --socket="$dir/munge/munge.socket" --key-file="$dir/munge/munge.key" --pid-file="$dir/munge/munged.pid" \
    --log-file="$dir/munge/munged.log" --seed-file="$dir/munge/munged.seed"
slurmctld -c
slurmd -c -N "$host"

tries=0
until [ "$(sinfo --noheader --format=%T 2> /dev/null)" = idle ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 60 ]; then
        echo "error: the node is not idle after a minute: see $dir/slurmctld.log and $dir/slurmd.log" >&2
        exit 3
    fi
    sleep 1
done
echo "SLURM_CONF=$SLURM_CONF"
