#!/bin/sh
# KL over epochs, densities and the distance of the modes, 1-D.  sh scoregen/run_mixture.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared scoregen.mixture "$@"
