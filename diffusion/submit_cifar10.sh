#!/bin/sh
# The image study on CIFAR-10 as a SLURM array, one task per run (T x seed, few-shot and full).
#   sh diffusion/submit_cifar10.sh [smoke|quick|paper] [--flags]
# The same sweep and flags as run_cifar10.sh; --m 16 or --m 0 takes half of it. Compute nodes seldom reach the network: fetch
# the images first, .venv/bin/python -m infolab.data download cifar10. Logs are in runs/slurm/.

# Your cluster's values, here or in the environment; empty: the option is not given to sbatch.
ACCOUNT=${ACCOUNT-}
PARTITION=${PARTITION-}
GPUS=${GPUS-1}
CPUS=${CPUS-4}
MEMORY=${MEMORY-24G}
TIME_LIMIT=${TIME_LIMIT-08:00:00}
# More options of sbatch, say SBATCH_FLAGS=--test-only to try the submission without making it.
SBATCH_FLAGS=${SBATCH_FLAGS-}

. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
submit_array diffusion.cifar10 "$@"
