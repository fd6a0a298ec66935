#!/bin/sh
# The image study on MNIST as a SLURM array, one task per run (T x seed, few-shot and full).
#   sh diffusion/submit_mnist.sh [smoke|quick|paper] [--flags]
# The same sweep and flags as run_mnist.sh; --m 16 or --m 0 takes half of it. Compute nodes seldom reach the network: fetch
# the images first, .venv/bin/python -m infolab.data download mnist. Logs are in runs/slurm/.

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
submit_array diffusion.mnist "$@"
