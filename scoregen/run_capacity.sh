#!/bin/sh
# KL at epoch 1,000 and first epoch with KL <= 0.1 against the width, 1-D.  sh scoregen/run_capacity.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared scoregen.capacity "$@"
