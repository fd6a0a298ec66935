"""Tables of scoregen/: KL over training time, learned densities, capacity, and clusters of images."""

from dataclasses import dataclass

from infolab.results import store


@dataclass(frozen=True, kw_only=True)
class ScoreColumns:
    """What every 1-D score model is trained on and by."""

    dataset: str = store.setting("data set")
    seed: int = store.setting("seed of data, initial weights and noise")
    mu: float = store.setting("the modes are at -mu and mu, unit variance", "data unit")
    n: int = store.setting("training points", "examples")
    width: int = store.setting("m, hidden units")
    network: str = store.setting("swish: all weights trained; features: random ReLU features, output weights trained")
    scaling: str = store.setting("factor on the output: sqrt, 1/sqrt(m); standard, 1; mean, 1/m (features)")
    init: str = store.setting("law of the initial weights: normal, uniform, or features (output weights 0)")
    optimizer: str = store.setting("adam, sgd, or flow: the exact gradient flow of the output weights")
    lr: float = store.setting("learning rate; 0: gradient flow")
    batch: int = store.setting("points of one optimiser step", "examples")


@store.table("scoregen/kl", 1, "Exact KL(p0 || p_theta) of 1-D score models over their training time.")
class ScoreKl(ScoreColumns):
    """One network at one time."""

    sweep: str = store.setting("which experiment: dynamics, distance, samples_m=n, samples_fixed_m")
    epoch: int | None = store.setting("passes over the training set so far; empty for gradient flow", "epochs")
    time: float = store.setting(
        "training time: learning rate times optimiser steps, or tau of the gradient flow dA/dtau = -(m/2) grad loss"
    )
    kl_nats: float | None = store.value(
        "Int p0 (log p0 - log p_theta), p_theta by the ODE; empty where it is not finite", "nats", default=None
    )
    normalisation: float | None = store.value("Int p_theta over the grid by quadrature", default=None)
    mass_grid: float | None = store.value(
        "the same mass without quadrature, from where the flow takes the ends", default=None
    )
    mass_right: float | None = store.value("P_theta(x > 0); the truth is 1 - q1", default=None)
    data_right: float = store.value("share of the training points above 0")
    diverged: bool = store.context("the weights or the flow are not finite, or the KL is above 1e4 nats")


@store.table("scoregen/density", 1, "Learned densities of 1-D score models on a grid.")
class ScoreDensity(ScoreColumns):
    """One network's density at one point at one time."""

    epoch: int = store.setting("passes over the training set so far", "epochs")
    x: float = store.setting("place", "data unit")
    density: float = store.value("p_theta(x) by the probability-flow ODE", "1/data unit")
    target: float = store.value("p0(x)", "1/data unit")


@store.table("scoregen/capacity", 1, "KL at epoch 1,000 and first epoch with a small KL, against the hidden width.")
class ScoreCapacity(ScoreColumns):
    """One network, trained until its KL is small enough or the epochs are used up."""

    threshold: float = store.setting("the KL that counts as small", "nats")
    every: int = store.setting("epochs between looks at the KL", "epochs")
    max_epochs: int = store.setting("epochs after which training is given up", "epochs")
    kl_at_1000: float | None = store.value(
        "KL at epoch 1,000; empty where training ended before, or the KL is not finite", "nats", default=None
    )
    first_epoch_below: int | None = store.value(
        "first looked-at epoch with KL <= threshold; empty: never", "epochs", default=None
    )
    kl_least: float | None = store.value("least KL seen until training stopped", "nats", default=None)
    epoch: int = store.context("epoch at which training stopped", "epochs")


@store.table(
    "scoregen/clusters", 1, "Loss and likelihood of one model trained on each of several pairs of image clusters."
)
class ScoreClusters:
    """One model at one epoch."""

    dataset: str = store.setting("data set")
    model: str = store.setting("U-Net and its parametrization")
    seed: int = store.setting(
        "seed of the subset, initial weights, noise and evaluation; k-means has a fixed seed of its own"
    )
    pair: str = store.setting("farthest or nearest pair of k-means clusters")
    clusters: str = store.setting("numbers of the two clusters")
    schedule: str = store.setting("vp, or ve: the replication's schedule and loss")
    n: int = store.setting("training images, half from each cluster", "examples")
    d: int = store.setting("pixels of one image")
    levels: int = store.setting("grey levels of a pixel")
    epoch: int = store.setting("passes over the training images so far", "epochs")
    step: int = store.context("optimiser steps so far", "steps")
    centre_distance: float = store.value("distance of the two centres, pixels in [0, 1]")
    loss: float = store.value("E_t |sigma_t s + eps|^2 summed over pixels, on training images, fixed t and noise")
    loss_se: float = store.error("loss", note="over images, times and noise")
    loss_test: float = store.value("the same on held-out images of the same clusters")
    loss_test_se: float = store.error("loss_test", note="over images, times and noise")
    n_test: int = store.context("held-out images", "examples")
    nll_nats: float | None = store.value(
        "discrete NLL of held-out images by I-MMSE, an upper bound", "nats", default=None
    )
    nll_nats_se: float | None = store.error("nll_nats", "nats", default=None, note="over images and quadrature")
    nll_bpd: float | None = store.value("the same in bits per dimension", "bits/dim", default=None)
    nll_bpd_se: float | None = store.error("nll_bpd", "bits/dim", default=None, note="over images and quadrature")
    histogram_bpd: float | None = store.value(
        "per-pixel histogram (Laplace-smoothed) of the same training images", "bits/dim", default=None
    )
    histogram_bpd_se: float | None = store.error("histogram_bpd", "bits/dim", default=None, note="over the test images")
