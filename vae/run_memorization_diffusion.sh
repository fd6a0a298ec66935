#!/bin/sh
# Memorization of a diffusion model: a grid of small denoisers, log p(x) by pointwise I-MMSE.
#   sh vae/run_memorization_diffusion.sh [smoke|quick|paper] [--flags]
# One process: the networks of the grid train as one batch.
set -eu
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
CDPATH='' cd "$(dirname "$(readlink -f "$0")")/.."
unset PYTHONSAFEPATH
exec "${PY:-.venv/bin/python}" -m vae.denoiser_grid "$@"
