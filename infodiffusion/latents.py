"""The modes that keep codes and show them."""

import numpy as np

from common.device import pick_device
from common.pieces import Pieces
from common.runs import Run
from common.seeds import generator
from infodiffusion.checkpoint import experiment_of, load_coded
from infodiffusion.codes import code_arrays, saved
from infodiffusion.config import InfoConfig
from infodiffusion.images import images_of
from infodiffusion.outputs import keep_arrays, keep_pictures
from infodiffusion.priors import draw_prior

PLOTTED = 2_000


def save_codes(preset: str, config: InfoConfig) -> None:
    """save_latent: codes_train.npy, codes_test.npy, and factors and labels of the same images."""
    run, device = Run("infodiffusion", experiment_of(config), preset, config), pick_device(config.device)
    train, test = images_of(config, device)
    model = load_coded(config, device)
    with run.open():
        keep_arrays(run, config, code_arrays(model, train, test, Pieces(run.folder, model)))


def plot_codes(preset: str, config: InfoConfig) -> None:
    """plot_latent: the first two coordinates of at most 2,000 test codes, their labels, and draws of the prior."""
    run = Run("infodiffusion", experiment_of(config), preset, config)
    codes = saved(config, "codes_test")
    labels = saved(config, "labels_test")
    with run.open():
        rows = np.linspace(0, len(codes) - 1, min(PLOTTED, len(codes))).round().astype(int)
        prior = draw_prior(config.prior, len(rows), config.a_dim, generator(config.seed, "plot")).numpy()
        keep_pictures(run, config, {"codes": codes[rows][:, :2], "labels": labels[rows], "prior_draws": prior[:, :2]})
