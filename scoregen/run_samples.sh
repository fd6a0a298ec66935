#!/bin/sh
# KL against the sample size, 1-D Swish network by SGD with early stopping.  sh scoregen/run_samples.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared scoregen.samples "$@"
