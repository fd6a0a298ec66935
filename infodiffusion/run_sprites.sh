#!/bin/sh
# Sprites, whose factors are known: train diff and a VAE, score their codes and an untrained encoder's, draw pictures.
#   sh infodiffusion/run_sprites.sh [smoke|quick] [--flags]
# JOBS processes share the runs (default: one per core; one where there is a GPU).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
. infodiffusion/modes.sh
pictures=eval,interpolate,disentangle,latent_quality,plot_latent
run_modes sprites "train save_latent,eval_disentangle,train_classifier $pictures" "$@"
