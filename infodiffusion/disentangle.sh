#!/bin/sh
# Traversals: each coordinate of one image's code moved from -1.5 to 1.5, x_T kept.
#   sh infodiffusion/disentangle.sh [smoke|quick|paper] [--flags]     (--img-id)
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared infodiffusion.run "$@" --mode disentangle
