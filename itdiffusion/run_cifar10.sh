#!/bin/sh
# The CIFAR-10 study.  sh itdiffusion/run_cifar10.sh [smoke|quick|paper|ensemble] [--flags]
# `paper` wants the pre-trained networks in DATA_DIR/pretrained (see itdiffusion/cifar10.py); --members noise does without.
# On several GPUs of one machine: torchrun --nproc-per-node 4 -m itdiffusion.cifar10 paper
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
exec "${PY:-.venv/bin/python}" -m itdiffusion.cifar10 "$@"
