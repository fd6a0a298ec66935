#!/bin/sh
# Train the models of a preset, or the one that the flags describe.
#   sh infodiffusion/run_train.sh [smoke|quick|paper] [--flags]     (--model diff|vae|vanilla, --dataset, --a-dim, --mmd-weight, ...)
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared infodiffusion.run "$@" --mode train
