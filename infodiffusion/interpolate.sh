#!/bin/sh
# Ten images between two test images, in x_T and in the code.
#   sh infodiffusion/interpolate.sh [smoke|quick|paper] [--flags]     (--img-id)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared infodiffusion.run "$@" --mode interpolate
