#!/bin/sh
# Traversals: each coordinate of one image's code moved from -1.5 to 1.5, x_T kept.
#   sh infodiffusion/disentangle.sh [smoke|quick|paper] [--flags]     (--img-id)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared infodiffusion.run "$@" --mode disentangle
