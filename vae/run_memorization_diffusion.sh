#!/bin/sh
# Memorization of a diffusion model: a grid of small denoisers, log p(x) by pointwise I-MMSE.
#   sh vae/run_memorization_diffusion.sh [smoke|quick|paper] [--flags]
# One process: the networks of the grid train as one batch.
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
exec "${PY:-.venv/bin/python}" -m vae.denoiser_grid "$@"
