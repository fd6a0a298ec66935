#!/bin/sh
# T chosen by the bound, by gradient and by search, and networks trained at it and on a grid.
#   sh diffusion/run_choose_T.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared diffusion.choose_T "$@"
