#!/bin/sh
# The 2-D study: every network of the preset.  sh itdiffusion/run_2d.sh [smoke|quick|paper] [--flags]
# JOBS processes share the sweep (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared itdiffusion.shapes "$@"
