#!/bin/sh
# DCI, MIG and TAD of the codes.
#   sh infodiffusion/eval_disentangle.sh [smoke|quick|paper] [--flags]     (--dci-variant forest|boosted)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared infodiffusion.run "$@" --mode save_latent,eval_disentangle
