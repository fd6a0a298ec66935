#!/bin/sh
# Ten images between two test images, in x_T and in the code.
#   sh infodiffusion/interpolate.sh [smoke|quick|paper] [--flags]     (--img-id)
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared infodiffusion.run "$@" --mode interpolate
