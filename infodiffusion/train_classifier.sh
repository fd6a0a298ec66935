#!/bin/sh
# Latent classification: logistic regressions from the code, 5 folds.
#   sh infodiffusion/train_classifier.sh [smoke|quick|paper] [--flags]     (--model diff|vae)
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared infodiffusion.run "$@" --mode save_latent,train_classifier
