#!/bin/sh
# VAEs on all training images, with the bounds; beside them a ghost decoder.  sh vae/run_vae.sh [smoke|quick|paper] [--flags]
# `paper` is the published sweep: binarised MNIST, CIFAR-10, CelebA; `paper --dataset fashion-mnist` takes MNIST's part of it.
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared vae.full "$@"
