#!/bin/sh
# What small feature networks see: FID of images with noise, blur, shifts and a missing class, in standard errors.
#   sh infodiffusion/run_sensitivity.sh [smoke|quick|paper] [--flags]     (quick: built-in sets; paper: MNIST's files too)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
ON_CPU=1
run_shared infodiffusion.sensitivity "$@"
