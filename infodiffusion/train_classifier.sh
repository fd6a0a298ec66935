#!/bin/sh
# Latent classification: logistic regressions from the code, 5 folds.
#   sh infodiffusion/train_classifier.sh [smoke|quick|paper] [--flags]     (--model diff|vae)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared infodiffusion.run "$@" --mode save_latent,train_classifier
