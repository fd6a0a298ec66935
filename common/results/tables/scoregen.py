"""Tables of scoregen/: KL over training time, learned densities, capacity, and clusters of images."""

from dataclasses import dataclass

from common.results import schema


@dataclass(frozen=True, kw_only=True)
class ScoreColumns:
    """What every 1-D score model is trained on and by."""

    dataset: str = schema.setting("data set")
    seed: int = schema.setting("seed of data, initial weights and noise")
    mu: float = schema.setting("the modes are at -mu and mu, unit variance", "data unit")
    n: int = schema.setting("training points", "examples")
    width: int = schema.setting("m, hidden units")
    network: str = schema.setting("swish: all weights trained; features: random ReLU features, output weights trained")
    scaling: str = schema.setting("factor on the output: sqrt, 1/sqrt(m); standard, 1; mean, 1/m (features)")
    init: str = schema.setting("law of the initial weights: normal, uniform, or features (output weights 0)")
    optimizer: str = schema.setting("adam, sgd, or flow: the exact gradient flow of the output weights")
    lr: float = schema.setting("learning rate; 0: gradient flow")
    batch: int = schema.setting("points of one optimiser step", "examples")


@schema.table("scoregen/kl", 1, "Exact KL(p0 || p_theta) of 1-D score models over their training time.")
class ScoreKl(ScoreColumns):
    """One network at one time."""

    sweep: str = schema.setting("which experiment: dynamics, distance, samples_m=n, samples_fixed_m")
    epoch: int | None = schema.setting("passes over the training set so far; empty for gradient flow", "epochs")
    time: float = schema.setting(
        "training time: learning rate times optimiser steps, or tau of the gradient flow dA/dtau = -(m/2) grad loss"
    )
    kl_nats: float | None = schema.value(
        "Int p0 (log p0 - log p_theta), p_theta by the ODE; empty where it is not finite", "nats", default=None
    )
    normalisation: float | None = schema.value("Int p_theta over the grid by quadrature", default=None)
    mass_grid: float | None = schema.value(
        "the same mass without quadrature, from where the flow takes the ends", default=None
    )
    mass_right: float | None = schema.value("P_theta(x > 0); the truth is 1 - q1", default=None)
    data_right: float = schema.value("share of the training points above 0")
    diverged: bool = schema.context("the weights or the flow are not finite, or the KL is above 1e4 nats")


@schema.table("scoregen/density", 1, "Learned densities of 1-D score models on a grid.")
class ScoreDensity(ScoreColumns):
    """One network's density at one point at one time."""

    epoch: int = schema.setting("passes over the training set so far", "epochs")
    x: float = schema.setting("place", "data unit")
    density: float = schema.value("p_theta(x) by the probability-flow ODE", "1/data unit")
    target: float = schema.value("p0(x)", "1/data unit")


@schema.table("scoregen/capacity", 1, "KL at epoch 1,000 and first epoch with a small KL, against the hidden width.")
class ScoreCapacity(ScoreColumns):
    """One network, trained until its KL is small enough or the epochs are used up."""

    threshold: float = schema.setting("the KL that counts as small", "nats")
    every: int = schema.setting("epochs between looks at the KL", "epochs")
    max_epochs: int = schema.setting("epochs after which training is given up", "epochs")
    kl_at_1000: float | None = schema.value(
        "KL at epoch 1,000; empty where training ended before, or the KL is not finite", "nats", default=None
    )
    first_epoch_below: int | None = schema.value(
        "first looked-at epoch with KL <= threshold; empty: never", "epochs", default=None
    )
    kl_least: float | None = schema.value("least KL seen until training stopped", "nats", default=None)
    epoch: int = schema.context("epoch at which training stopped", "epochs")


@schema.table(
    "scoregen/clusters", 1, "Loss and likelihood of one model trained on each of several pairs of image clusters."
)
class ScoreClusters:
    """One model at one epoch."""

    dataset: str = schema.setting("data set")
    model: str = schema.setting("U-Net and its parametrization")
    seed: int = schema.setting(
        "seed of the subset, initial weights, noise and evaluation; k-means has a fixed seed of its own"
    )
    pair: str = schema.setting("farthest or nearest pair of k-means clusters")
    clusters: str = schema.setting("numbers of the two clusters")
    schedule: str = schema.setting("vp, or ve: the replication's schedule and loss")
    n: int = schema.setting("training images, half from each cluster", "examples")
    d: int = schema.setting("pixels of one image")
    levels: int = schema.setting("grey levels of a pixel")
    epoch: int = schema.setting("passes over the training images so far", "epochs")
    step: int = schema.context("optimiser steps so far", "steps")
    centre_distance: float = schema.value("distance of the two centres, pixels in [0, 1]")
    loss: float = schema.value("E_t |sigma_t s + eps|^2 summed over pixels, on training images, fixed t and noise")
    loss_se: float = schema.error("loss", note="over images, times and noise")
    loss_test: float = schema.value("the same on held-out images of the same clusters")
    loss_test_se: float = schema.error("loss_test", note="over images, times and noise")
    n_test: int = schema.context("held-out images", "examples")
    nll_nats: float | None = schema.value(
        "discrete NLL of held-out images by I-MMSE, an upper bound", "nats", default=None
    )
    nll_nats_se: float | None = schema.error("nll_nats", "nats", default=None, note="over images and quadrature")
    nll_bpd: float | None = schema.value("the same in bits per dimension", "bits/dim", default=None)
    nll_bpd_se: float | None = schema.error("nll_bpd", "bits/dim", default=None, note="over images and quadrature")
    histogram_bpd: float | None = schema.value(
        "per-pixel histogram (Laplace-smoothed) of the same training images", "bits/dim", default=None
    )
    histogram_bpd_se: float | None = schema.error(
        "histogram_bpd", "bits/dim", default=None, note="over the test images"
    )
