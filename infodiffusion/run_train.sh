#!/bin/sh
# Train the models of a preset, or the one that the flags describe.
#   sh infodiffusion/run_train.sh [smoke|quick|paper] [--flags]     (--model diff|vae|vanilla, --dataset, --a-dim, --mmd-weight, ...)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared infodiffusion.run "$@" --mode train
