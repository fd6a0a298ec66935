"""Tables of infodiffusion/: losses of a training, metrics of samples and codes, and what each mode has made."""

from common.results import schema

_MODEL = "diff, diffae, vae, beta-vae, infovae, autoencoder, vanilla or untrained, with network, code and weights"
_SEED = "seed of initial weights, order, noise and of what the modes draw"


@schema.table("infodiffusion/training", 1, "Losses on test images over the epochs of a training.")
class InfoTraining:
    """One model at one epoch."""

    dataset: str = schema.setting("data set")
    model: str = schema.setting(_MODEL)
    what: str = schema.setting("images, or codes (the diffusion over codes)")
    prior: str = schema.setting("law that codes are compared with: regular, 10mix or roll")
    seed: int = schema.setting(_SEED)
    m: int = schema.setting("training images", "examples")
    epoch: int = schema.setting("passes over the training images so far", "epochs")
    n: int = schema.setting("test images of the losses", "examples")
    data_loss: float = schema.value("mean (eps - eps_hat)^2 over steps and pixels, or (x - x_hat)^2 of a VAE")
    data_loss_se: float = schema.error("data_loss", note="over images, each with one draw of step and noise")
    mmd: float = schema.value("MMD^2 between codes and prior in batches of 256, the training's kernel and V-statistic")
    kl_nats: float = schema.value("KL(q(a|x) || N(0, I)), mean over images; 0 where the model has none", "nats")
    seconds: float = schema.context("wall time so far", "s", default=0.0)


@schema.table("infodiffusion/quality", 1, "Metrics of codes and of samples, each spelled out with what it depends on.")
class InfoQuality:
    """One metric of one model."""

    dataset: str = schema.setting("data set")
    model: str = schema.setting(_MODEL)
    prior: str = schema.setting("law that codes are compared with: regular, 10mix or roll")
    a_dim: int = schema.setting("length of the code; 0: none")
    mmd_weight: float = schema.setting("weight of the MMD")
    kld_weight: float = schema.setting("weight of the KL")
    seed: int = schema.setting(_SEED)
    m: int = schema.setting("training images; 0: all of the set", "examples")
    epoch: int = schema.setting("passes over the training images", "epochs")
    sampling: str = schema.setting(
        "how samples were drawn: sampler, steps, eta and law of codes; none: a metric of codes"
    )
    images: str = schema.setting("images that the codes are of, or that samples are compared with")
    metric: str = schema.setting("name, with everything that its value depends on in brackets")
    n: int = schema.setting("examples of the metric", "examples")
    value: float = schema.value("the metric; accuracies, AUROC, DCI and MIG in [0, 1], TAD summed over attributes")
    se: float | None = schema.error(
        "value", default=None, note="over examples or test folds; empty where a metric has none (DCI)"
    )


@schema.table("infodiffusion/outputs", 1, "What a mode has made: arrays by name, with their shapes and ranges.")
class InfoOutput:
    """One array of one mode."""

    dataset: str = schema.setting("data set")
    model: str = schema.setting(_MODEL)
    seed: int = schema.setting(_SEED)
    mode: str = schema.setting("what made it")
    name: str = schema.setting("name of the array or file")
    where: str = schema.context("file, below the folder of runs or of results")
    shape: str = schema.setting("its shape, 16x3x64x64")
    least: float = schema.value("smallest value")
    greatest: float = schema.value("largest value")
    sd: float = schema.value("standard deviation over all values; 0 would be a constant array")


@schema.table(
    "infodiffusion/sensitivity",
    1,
    "What a small feature network sees: FID of held-out images that were spoiled, against others that were not.",
)
class InfoSensitivity:
    """One distortion at one strength, one network."""

    dataset: str = schema.setting("data set of the network and of the held-out images")
    network: str = schema.setting("name of the network, with the digest of its training")
    seed: int = schema.setting("seed of its weights and batches")
    steps: int = schema.setting("optimiser steps of its training, 128 images each")
    distortion: str = schema.setting("noise, blur, shift, or mode: images of the least class are left out")
    strength: float = schema.setting("how much of it, in the unit beside")
    unit: str = schema.setting("unit of the strength")
    n: int = schema.setting("images measured", "examples")
    n_reference: int = schema.context("other images, not spoiled, that they are compared with", "examples")
    fid: float = schema.value("FID of the spoiled images to the reference")
    fid_se: float = schema.error("fid", note="sampling error of both samples")
    clean_fid: float = schema.value("FID of the same number of the same images, not spoiled")
    clean_fid_se: float = schema.error("clean_fid", note="sampling error of both samples")
    standard_errors: float = schema.context(
        "(fid - clean_fid) / sqrt(fid_se^2 + clean_fid_se^2): how clearly the network sees it"
    )
