#!/bin/sh
# KL against the sample size, 1-D: random features on their exact gradient flow, then the Swish network by SGD.
#   sh scoregen/run_samples.sh [smoke|quick|paper] [--flags that both take]
# JOBS processes share each sweep (default: one per core; one where there is a GPU).
set -eu
cd "$(dirname "$0")/.."
. scripts/shards.sh
(run_shared scoregen.features "$@")
run_shared scoregen.samples "$@"
