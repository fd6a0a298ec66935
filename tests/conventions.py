"""One model in every convention: what a network of it would predict, and how it would be called."""

import torch

from infolab.mixture import GaussianMixture
from infolab.model_schedules import EDM, Cosine, Given, RectifiedFlow
from infolab.schedules import DDPM, VE, VP

DOUBLE = torch.float64
LAW = GaussianMixture(torch.tensor([0.3, 0.7]), torch.tensor([[-1.0, 0.5], [1.0, 0.0]], dtype=DOUBLE), 0.2)
SIGMA_DATA = 0.7


def predictions(x_t, level):
    """All that a network could predict at x_t (n, d) of the law, by name; level at (n,)."""
    alpha, sigma = level.alpha[:, None], level.sigma[:, None]
    c = torch.hypot(alpha, sigma)
    eps = LAW.eps_hat(x_t / c, level.logsnr)
    x0 = (x_t - sigma * eps) / alpha
    flow = level.dalpha_dt[:, None] * x0 + level.dsigma_dt[:, None] * eps
    total = sigma**2 + SIGMA_DATA**2
    skip, out = SIGMA_DATA**2 / total, sigma * SIGMA_DATA / total.sqrt()
    v = alpha / c * eps - sigma / c * x0
    return {
        "eps": eps, "-eps": -eps, "x0": x0, "v": v, "-v": -v, "score": -eps / sigma, "flow": flow, "-flow": -flow,
        "edm": x0, "edm-raw": (x0 - skip * x_t) / out,
    }  # fmt: skip


def network(schedule, predicts, time):
    """A network of the law as it would be called: x_t on its schedule's scale, and what it is told of the time."""

    def call(x_t, told):
        level = schedule.at(time(told))
        if predicts == "edm-raw":
            x_t = x_t * torch.hypot(level.sigma, torch.full_like(level.sigma, SIGMA_DATA))[:, None]
        return predictions(x_t, level)[predicts]

    return call


def same(told):
    return told


SCHEDULES = {
    "vp": (VP(), "", same),
    "vp, 1000 t": (VP(), "1000t", lambda told: told / 1000),
    "ve": (VE(), "", same),
    "ve, told sigma": (VE(), "sigma", lambda told: VE().logsnr_to_t(-2 * told.log())),
    "edm": (EDM(), "", same),
    "edm, told log(sigma)/4": (EDM(), "log-sigma/4", lambda told: torch.exp(4 * told)),
    "flow": (RectifiedFlow(), "", same),
    "flow, noise first": (RectifiedFlow(noise_first=True), "", same),
    "cosine": (Cosine(), "", same),
    "cosine, told log-SNR": (Cosine(), "logsnr", lambda told: Cosine().logsnr_to_t(told)),
    "given": (Given(lambda t: 1 - 0.9 * t**2, lambda t: 0.01 + 2 * t), "", same),
    "given, rising": (Given(lambda t: 0.001 + t, lambda t: 1.001 - t), "", same),
    "linear": (DDPM.linear(), "", same),
    "given betas": (DDPM(torch.linspace(1e-5, 0.05, 300, dtype=DOUBLE)), "", same),
}
