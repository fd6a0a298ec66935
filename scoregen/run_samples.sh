#!/bin/sh
# KL against the sample size, 1-D Swish network by SGD with early stopping.  sh scoregen/run_samples.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared scoregen.samples "$@"
