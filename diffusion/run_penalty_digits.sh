#!/bin/sh
# The bound as a regulariser on the built-in digits, five weights.
#   sh diffusion/run_penalty_digits.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared diffusion.penalty_digits "$@"
