#!/bin/sh
# One code decoded from many draws of x_T: what varies is what the code leaves open.
#   sh infodiffusion/latent_quality.sh [smoke|quick|paper] [--flags]     (--img-id, --n)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared infodiffusion.run "$@" --mode latent_quality
