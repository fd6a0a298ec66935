"""`infolab COMMAND`: the instruments on models and arrays of your own; `USAGE` says which."""

import importlib
import sys

from infolab.errors import check_choice, run_main

USAGE = """\
infolab COMMAND [--flags]: how much does a model know about its data? Every value comes with its standard error.

  nll           negative log likelihood of data under a denoiser, from its denoising errors (I-MMSE)
                --denoiser my_model:net | --checkpoint PATH, --data X.npy
  ode           the same along the probability-flow ODE of the denoiser
  mi            mutual information between paired rows     --x X.npy --y Y.npy
  bound         data terms of the generalization bound of a diffusion model     --data X.npy --T 1.0
  kl            exact KL of a one-dimensional score     --score my_model:score --modes M.npy
  memorization  which examples were memorized, from their log p(x)     --logpx LONG.csv --out SCORES.csv
  metrics       dci, mig, tad, auroc of codes; fid, kid, mmd of samples; stats, features, information
  data          doctor: which data sets are here; download NAME
  calibrate     every estimator on distributions with known answers

infolab COMMAND --help explains every flag with its unit and default; --json prints one JSON object.
"""
# Not the docstring, which python -OO leaves out.

COMMANDS = {
    "nll": ("infolab.nll", ()),
    "ode": ("infolab.nll", ("--estimator", "ode")),
    "mi": ("infolab.mi.command", ()),
    "bound": ("infolab.bound", ()),
    "kl": ("infolab.kl", ()),
    "memorization": ("infolab.memorization", ()),
    "metrics": ("infolab.metrics.commands", ()),
    "data": ("infolab.data.__main__", ()),
    "calibrate": ("infolab.calibrate", ()),
}
"""Module whose `main` reads the rest of the command line, and the flags that the command stands for."""


def main() -> None:
    """Do what the first word says; the modules of the other commands, and torch, are not imported."""
    run_main(_main)


def _main() -> None:
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return
    command = check_choice("command", words[0], tuple(COMMANDS))
    module, flags = COMMANDS[command]
    sys.argv = [f"infolab {command}", *flags, *words[1:]]
    importlib.import_module(module).main()


if __name__ == "__main__":
    main()
