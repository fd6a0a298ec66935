#!/bin/sh
# Farthest and nearest pair of image clusters (quick: Fashion-MNIST, paper: MNIST).  sh scoregen/run_clusters.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared scoregen.clusters "$@"
