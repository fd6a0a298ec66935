#!/bin/sh
# KL against the sample size, 1-D random features on their exact gradient flow.  sh scoregen/run_features.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core); it computes on the CPU, where there is a GPU too.
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
ON_CPU=1
run_shared scoregen.features "$@"
