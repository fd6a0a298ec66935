#!/bin/sh
# The CIFAR-10 study as a SLURM array, one task per run (before tuning, two tuned, one from scratch).
#   sh itdiffusion/submit_cifar10.sh [smoke|quick|paper] [--flags]
# The same sweep and flags as run_cifar10.sh; --members noise takes the run from scratch alone. Compute nodes seldom
# reach the network: fetch the images first, .venv/bin/python -m infolab.data download cifar10, and copy the pre-trained
# networks to DATA_DIR/pretrained. `ensemble` is a submission of its own, after `paper`. Logs are in runs/slurm/.

# Your cluster's values, here or in the environment; empty: the option is not given to sbatch.
ACCOUNT=${ACCOUNT-}
PARTITION=${PARTITION-}
GPUS=${GPUS-1}
CPUS=${CPUS-4}
MEMORY=${MEMORY-24G}
TIME_LIMIT=${TIME_LIMIT-24:00:00}
# More options of sbatch, say SBATCH_FLAGS=--test-only to try the submission without making it.
SBATCH_FLAGS=${SBATCH_FLAGS-}

. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
submit_array itdiffusion.cifar10 "$@"
