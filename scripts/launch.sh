# shellcheck shell=sh
# Sourced by every launcher and submit script, in one line, which finds this file through links too:
#   . "$(dirname "$(readlink -f "$0")")/../scripts/launch.sh"
# Then the script stands in the repository's folder and has run_shared (shards.sh) and submit_array (slurm.sh).

# The first command that fails ends the script; so does a variable that nobody has set.
set -eu
# Where the user typed the command: paths among the flags are meant from there (infolab/config.py).
export INVOKED_FROM="${INVOKED_FROM:-$PWD}"
# $0 is still the script that sources this; its folder is absolute here, so that CDPATH does not matter.
cd "$(dirname "$(readlink -f "$0")")/.."
# With it, python -m would not find the modules of this folder.
unset PYTHONSAFEPATH

. scripts/shards.sh
. scripts/slurm.sh
