"""Table of itdiffusion/'s samples: how far those of the reverse process lie from held-out data."""

from common.results import schema


@schema.table(
    "itdiffusion/samples",
    1,
    "MMD of samples of the reverse process to held-out data, beside that of two held-out halves.",
)
class ShapeSamples:
    """One network, at one epoch."""

    dataset: str = schema.setting("data set")
    model: str = schema.setting("network and how it was trained")
    seed: int = schema.setting("seed of data, initial weights, noise and evaluation")
    epoch: int = schema.setting("passes over the training set so far", "epochs")
    n: int = schema.setting("samples, and points of each held-out half", "examples")
    sampler_steps: int = schema.setting("steps of the reverse SDE, even in log-SNR", "steps")
    bandwidth: float = schema.value("of the Gaussian kernel: median distance of the held-out points", "data unit")
    mmd2: float = schema.value("unbiased MMD^2 between samples and one held-out half")
    mmd2_se: float = schema.error("mmd2", note="over samples and held-out points")
    mmd2_heldout: float = schema.value("unbiased MMD^2 between the two held-out halves")
    mmd2_heldout_se: float = schema.error("mmd2_heldout", note="over held-out points")
