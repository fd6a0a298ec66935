#!/bin/sh
# Farthest and nearest pair of image clusters (quick: Fashion-MNIST, paper: MNIST).  sh scoregen/run_clusters.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared scoregen.clusters "$@"
