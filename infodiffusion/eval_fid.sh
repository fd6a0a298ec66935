#!/bin/sh
# Draw images for FID: an array and .png files.
#   sh infodiffusion/eval_fid.sh [smoke|quick|paper] [--flags]     (--n 10000 --steps 100 --sampling prior|two-phase|latent)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared infodiffusion.run "$@" --mode eval_fid
