"""Tables of infodiffusion/: losses of a training, metrics of samples and codes, and what each mode has made."""

from infolab.results import store

_MODEL = "diff, diffae, vae, beta-vae, infovae, autoencoder, vanilla or untrained, with network, code and weights"
_SEED = "seed of initial weights, order, noise and of what the modes draw"


@store.table("infodiffusion/training", 1, "Losses on test images over the epochs of a training.")
class InfoTraining:
    """One model at one epoch."""

    dataset: str = store.setting("data set")
    model: str = store.setting(_MODEL)
    what: str = store.setting("images, or codes (the diffusion over codes)")
    prior: str = store.setting("law that codes are compared with: regular, 10mix or roll")
    seed: int = store.setting(_SEED)
    m: int = store.setting("training images", "examples")
    epoch: int = store.setting("passes over the training images so far", "epochs")
    n: int = store.setting("test images of the losses", "examples")
    data_loss: float = store.value("mean (eps - eps_hat)^2 over steps and pixels, or (x - x_hat)^2 of a VAE")
    data_loss_se: float = store.error("data_loss", note="over images, each with one draw of step and noise")
    mmd: float = store.value("MMD^2 between codes and prior in batches of 256, the training's kernel and V-statistic")
    kl_nats: float = store.value("KL(q(a|x) || N(0, I)), mean over images; 0 where the model has none", "nats")
    seconds: float = store.context("wall time so far", "s", default=0.0)


@store.table("infodiffusion/quality", 1, "Metrics of codes and of samples, each spelled out with what it depends on.")
class InfoQuality:
    """One metric of one model."""

    dataset: str = store.setting("data set")
    model: str = store.setting(_MODEL)
    prior: str = store.setting("law that codes are compared with: regular, 10mix or roll")
    a_dim: int = store.setting("length of the code; 0: none")
    mmd_weight: float = store.setting("weight of the MMD")
    kld_weight: float = store.setting("weight of the KL")
    seed: int = store.setting(_SEED)
    m: int = store.setting("training images; 0: all of the set", "examples")
    epoch: int = store.setting("passes over the training images", "epochs")
    sampling: str = store.setting(
        "how samples were drawn: sampler, steps, eta and law of codes; none: a metric of codes"
    )
    images: str = store.setting("images that the codes are of, or that samples are compared with")
    metric: str = store.setting("name, with everything that its value depends on in brackets")
    n: int = store.setting("examples of the metric", "examples")
    value: float = store.value("the metric; accuracies, AUROC, DCI and MIG in [0, 1], TAD summed over attributes")
    se: float | None = store.error(
        "value", default=None, note="over examples or test folds; empty where a metric has none (DCI)"
    )


@store.table("infodiffusion/outputs", 1, "What a mode has made: arrays by name, with their shapes and ranges.")
class InfoOutput:
    """One array of one mode."""

    dataset: str = store.setting("data set")
    model: str = store.setting(_MODEL)
    seed: int = store.setting(_SEED)
    mode: str = store.setting("what made it")
    name: str = store.setting("name of the array or file")
    where: str = store.context("file, below the folder of runs or of results")
    shape: str = store.setting("its shape, 16x3x64x64")
    least: float = store.value("smallest value")
    greatest: float = store.value("largest value")
    sd: float = store.value("standard deviation over all values; 0 would be a constant array")


@store.table(
    "infodiffusion/sensitivity",
    1,
    "What a small feature network sees: FID of held-out images that were spoiled, against others that were not.",
)
class InfoSensitivity:
    """One distortion at one strength, one network."""

    dataset: str = store.setting("data set of the network and of the held-out images")
    network: str = store.setting("name of the network, with the digest of its training")
    seed: int = store.setting("seed of its weights and batches")
    steps: int = store.setting("optimiser steps of its training, 128 images each")
    distortion: str = store.setting("noise, blur, shift, or mode: images of the least class are left out")
    strength: float = store.setting("how much of it, in the unit beside")
    unit: str = store.setting("unit of the strength")
    n: int = store.setting("images measured", "examples")
    n_reference: int = store.context("other images, not spoiled, that they are compared with", "examples")
    fid: float = store.value("FID of the spoiled images to the reference")
    fid_se: float = store.error("fid", note="sampling error of both samples")
    clean_fid: float = store.value("FID of the same number of the same images, not spoiled")
    clean_fid_se: float = store.error("clean_fid", note="sampling error of both samples")
    standard_errors: float = store.context(
        "(fid - clean_fid) / sqrt(fid_se^2 + clean_fid_se^2): how clearly the network sees it"
    )
