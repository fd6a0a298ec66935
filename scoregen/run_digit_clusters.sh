#!/bin/sh
# Farthest and nearest pair of clusters of the built-in digits.  sh scoregen/run_digit_clusters.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared scoregen.digit_clusters "$@"
