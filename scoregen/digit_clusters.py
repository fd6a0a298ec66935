"""The cluster study on the built-in scanned digits (8x8, 17 grey levels).

`python -m scoregen.digit_clusters [smoke|quick|paper] [--flags]`; `sh scoregen/run_digit_clusters.sh` does the same.
"""

from infolab.errors import run_main
from infolab.sweep import run_sweep
from scoregen.clusters import experiment
from scoregen.clusters_model import DIGITS_SWEEPS


def main() -> None:
    """Run the sweep of the preset."""
    run_main(lambda: run_sweep(experiment("python -m scoregen.digit_clusters", DIGITS_SWEEPS)))


if __name__ == "__main__":
    main()
