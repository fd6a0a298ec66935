#!/bin/sh
# The image study on the built-in 32x32x3 patches.  sh itdiffusion/run_patches.sh [smoke|quick|paper] [--flags]
# On several GPUs: torchrun --nproc-per-node 4 -m itdiffusion.patches paper
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
exec "${PY:-.venv/bin/python}" -m itdiffusion.patches "$@"
