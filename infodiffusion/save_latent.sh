#!/bin/sh
# Keep the codes of training and test images, with their factors and labels, as .npy files.
#   sh infodiffusion/save_latent.sh [smoke|quick|paper] [--flags]     (--model diff|vae)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared infodiffusion.run "$@" --mode save_latent
