#!/bin/sh
# The published models on CelebA (64 x 64) as a SLURM array, one task per model; MODE=save_latent,eval_disentangle (after train)
#   sh infodiffusion/submit_celeba.sh paper [--flags]
# scores the codes, MODE=eval_fid,calc_fid the samples. Logs are in runs/slurm/. Faces first: python -m infolab.data doctor.

# Your cluster's values, here or in the environment; empty: the option is not given to sbatch.
ACCOUNT=${ACCOUNT-}
PARTITION=${PARTITION-}
GPUS=${GPUS-1}
CPUS=${CPUS-4}
MEMORY=${MEMORY-16G}
TIME_LIMIT=${TIME_LIMIT-24:00:00}
# More options of sbatch, say SBATCH_FLAGS=--test-only to try the submission without making it.
SBATCH_FLAGS=${SBATCH_FLAGS-}

. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
submit_array infodiffusion.run "$@" --dataset celeba --mode "${MODE:-train}"
