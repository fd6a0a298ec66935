#!/bin/sh
# VAEs on all training images as a SLURM array, one task per run (data set x learning rate, and the ghost).
#   sh vae/submit_vae.sh [smoke|quick|paper] [--flags]
# The same sweep and flags as run_vae.sh. Logs are in runs/slurm/.

# Your cluster's values, here or in the environment; empty: the option is not given to sbatch.
ACCOUNT=${ACCOUNT-}
PARTITION=${PARTITION-}
GPUS=${GPUS-1}
CPUS=${CPUS-4}
MEMORY=${MEMORY-16G}
TIME_LIMIT=${TIME_LIMIT-04:00:00}
# More options of sbatch, say SBATCH_FLAGS=--test-only to try the submission without making it.
SBATCH_FLAGS=${SBATCH_FLAGS-}

. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
submit_array vae.full "$@"
