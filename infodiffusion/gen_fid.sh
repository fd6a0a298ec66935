#!/bin/sh
# Reference statistics of real images, kept by name: FID's other half, for calc_fid.sh --reference STATS.npz.
#   sh infodiffusion/gen_fid.sh --images DIR --out STATS.npz --features WEIGHTS
# DIR may be the images/ folder that --mode save_original_img writes, a .npy file or a registered set.
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
exec "${PY:-.venv/bin/python}" -m infodiffusion.metrics stats "$@"
