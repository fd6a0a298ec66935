#!/bin/sh
# The image study on the built-in digits, few-shot and full.  sh diffusion/run_digits.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared diffusion.digits "$@"
