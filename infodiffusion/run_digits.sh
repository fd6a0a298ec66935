#!/bin/sh
# Digits: train diff, read the class from its code, draw pictures.  sh infodiffusion/run_digits.sh [smoke|quick] [--flags]
# JOBS processes share the runs (default: one with all cores, as one model is trained).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
. infodiffusion/modes.sh
JOBS=${JOBS:-1}
run_modes digits "train save_latent,train_classifier eval,interpolate,disentangle,latent_quality,plot_latent" "$@"
