#!/bin/sh
# The K x L cross-validation grid: log p(x) of every image under networks that were and were not trained on it.
#   sh vae/run_memorization.sh [smoke|quick|paper] [--flags]
# `paper --dataset fashion-mnist` takes MNIST's part of the published sweep; --K, --L, --repeat and --folds choose of the grid.
# JOBS processes share the sweep, one repeat (or fold, for the convolutional models) at a time.
set -eu
cd "$(dirname "$0")/.."
. scripts/shards.sh
run_shared vae.cv "$@"
