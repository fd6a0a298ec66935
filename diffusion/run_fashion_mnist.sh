#!/bin/sh
# The image study on Fashion-MNIST: few-shot and full over T.  sh diffusion/run_fashion_mnist.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared diffusion.fashion_mnist "$@"
