#!/bin/sh
# FID (from 2,048 images on), KID and MMD of the images that eval_fid has drawn with the same flags.
#   sh infodiffusion/calc_fid.sh [smoke|quick|paper] [--flags]     (--features PATH for Inception weights)
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared infodiffusion.run "$@" --mode eval_fid,calc_fid
