#!/bin/sh
# The bound as a regulariser on a 2-D set, five weights.
#   sh diffusion/run_penalty_toy.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared diffusion.penalty_toy "$@"
