"""`python -m infodiffusion.metrics COMMAND`: metrics of samples and codes on plain files (`infolab.metrics`)."""

from infolab.errors import run_main
from infolab.metrics.commands import main

if __name__ == "__main__":
    run_main(main)
