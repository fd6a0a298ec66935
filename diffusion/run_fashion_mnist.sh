#!/bin/sh
# The image study on Fashion-MNIST: few-shot and full over T.  sh diffusion/run_fashion_mnist.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared diffusion.fashion_mnist "$@"
