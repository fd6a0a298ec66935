#!/bin/sh
# The table of mutual information.  sh itdiffusion/run_mi.sh [smoke|quick|paper] [--flags]
# paper is `make mi-table`: every law at n = 10,000, the digits, and the coverage study (four laws, twenty seeds).
# JOBS processes share the sweep (default: one where there is a GPU, else one per core).
. "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
run_shared itdiffusion.mi_table "$@"
