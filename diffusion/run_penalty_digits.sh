#!/bin/sh
# The bound as a regulariser on the built-in digits, five weights.
#   sh diffusion/run_penalty_digits.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared diffusion.penalty_digits "$@"
