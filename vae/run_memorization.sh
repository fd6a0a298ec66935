#!/bin/sh
# Who was memorized: the K x L cross-validation grid, then its scores, neighbours, near-duplicates and bound.
#   sh vae/run_memorization.sh [smoke|quick|paper] [--flags]
# `paper --dataset fashion-mnist` takes MNIST's part of the published sweep; --K, --L, --repeat and --folds choose of the grid.
# JOBS processes share the training, one repeat (or fold, for the convolutional models) at a time.
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
if asks_only "$@"; then run_shared vae.cv "$@"; fi
run_processes "$(count_jobs "$@")" vae.cv "$@"
case " $* " in
    *" --repeat"* | *" --folds"*)
        echo "part of the grid is done; when all is: python -m vae.memorization grids, with the same preset and flags" >&2
        exit 0
        ;;
esac
run_processes 1 vae.memorization grids "$@"
