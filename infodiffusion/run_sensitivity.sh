#!/bin/sh
# What small feature networks see: FID of images with noise, blur, shifts and a missing class, in standard errors.
#   sh infodiffusion/run_sensitivity.sh [smoke|quick|paper] [--flags]     (quick: built-in sets; paper: MNIST's files too)
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
ON_CPU=1
run_shared infodiffusion.sensitivity "$@"
