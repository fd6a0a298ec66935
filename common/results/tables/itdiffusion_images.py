"""Table of itdiffusion/'s image study: the simple laws that a denoiser's discrete NLL must beat."""

from common.results import schema


@schema.table("itdiffusion/baselines", 1, "Simple laws of grey levels, fitted to the training set of an image run.")
class ImageBaseline:
    """One baseline on the test images of one run."""

    dataset: str = schema.setting("data set")
    model: str = schema.setting(
        "uniform; histogram (per pixel, one count added to every level); gaussian[floor=F] (full covariance, F squared "
        "grey levels added to every variance; the product over pixels of the mass that each bin has given the pixels "
        "before it, end bins taking the tails); mixture[C,smoothing=A] (C components of independent pixel histograms, "
        "by EM, A counts added to every level)"
    )
    seed: int = schema.setting("seed of the run, which starts the mixture's EM")
    d: int = schema.setting("dimensions of one image")
    n: int = schema.setting("test images")
    levels: int = schema.setting("Q, grey levels")
    nll_bpd: float = schema.value("mean -log2 of the images' probability mass, per dimension", "bits/dim")
    nll_bpd_se: float = schema.error("nll_bpd", "bits/dim", note="over the test images")
