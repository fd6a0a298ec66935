#!/bin/sh
# The 2-D study: both sweeps (over T and over m) of the preset.  sh diffusion/run_toy.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared diffusion.toy "$@"
