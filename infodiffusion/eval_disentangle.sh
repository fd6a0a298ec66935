#!/bin/sh
# DCI, MIG and TAD of the codes.
#   sh infodiffusion/eval_disentangle.sh [smoke|quick|paper] [--flags]     (--dci-variant forest|boosted)
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
. scripts/shards.sh
run_shared infodiffusion.run "$@" --mode save_latent,eval_disentangle
