#!/bin/sh
# Draw images for FID: an array and .png files.
#   sh infodiffusion/eval_fid.sh [smoke|quick|paper] [--flags]     (--n 10000 --steps 100 --sampling prior|two-phase|latent)
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared infodiffusion.run "$@" --mode eval_fid
