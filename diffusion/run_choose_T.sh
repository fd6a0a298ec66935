#!/bin/sh
# T chosen by the bound, by gradient and by search, and networks trained at it and on a grid.
#   sh diffusion/run_choose_T.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared diffusion.choose_T "$@"
