#!/bin/sh
# Reference statistics of real images, kept by name: FID's other half, for calc_fid.sh --reference STATS.npz.
#   sh infodiffusion/gen_fid.sh --images DIR --out STATS.npz --features WEIGHTS
# DIR may be the images/ folder that --mode save_original_img writes, a .npy file or a registered set.
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
exec "${PY:-.venv/bin/python}" -m infodiffusion.metrics stats "$@"
