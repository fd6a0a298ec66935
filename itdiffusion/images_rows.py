"""Estimates and curves of an image run as rows of the tables `itdiffusion/nll` and `itdiffusion/mse_curve`."""

from typing import Any

from common.estimate import Estimate, nats_to_bpd
from common.immse import Curve, NllEstimate

DATA_SCALE = "[-1, 1]"


def nll_row(estimator: str, estimate: NllEstimate, settings: dict[str, Any]) -> dict[str, Any]:
    """One row of `itdiffusion/nll`, as plain values.

    Args:
        estimator: discrete, dequantized, continuous or ensemble.
        estimate: the NLL.
        settings: dataset, model, seed, epoch.
    """
    own = ("bin_width", "rounding", "integrator", "points", "loc", "scale", "clip", "tail_nats", "optimistic_nats")
    return {
        **_shared(estimator, estimate, settings),
        **{name: getattr(estimate, name) for name in (*own, "gaussian_nats")},
    }


def variational_row(estimate: Estimate, steps: int, bin_width: float, settings: dict[str, Any]) -> dict[str, Any]:
    """One row of `itdiffusion/nll` from the discrete-time variational bound; `points` are its evaluated steps."""
    return {
        **_shared("variational", estimate, settings),
        "bin_width": bin_width,
        "rounding": "none",
        "integrator": None,
        "points": steps,
    }


def curve_rows(curve: Curve, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of `itdiffusion/mse_curve` of one curve, as plain values."""
    grid = curve.grid
    columns = {
        "mse": curve.mean("raw"),
        "mse_se": curve.se("raw"),
        "mse_gaussian": curve.reference.mmse_eps(grid.logsnr),
    }
    for kind in set(curve.kinds) - {"raw"}:
        columns[f"mse_{kind}"] = curve.mean(kind)
    shared = {
        **settings,
        "d": curve.d,
        "n": curve.n,
        "data_scale": DATA_SCALE,
        "bin_width": curve.bins.step if curve.bins else 0.0,
        "integrator": grid.integrator,
        "loc": grid.range.loc,
        "scale": grid.range.scale,
        "clip": grid.range.clip,
    }
    return [
        {**shared, "logsnr": float(logsnr), **{name: float(values[j]) for name, values in columns.items()}}
        for j, logsnr in enumerate(grid.logsnr)
    ]


def _shared(estimator: str, estimate: Estimate, settings: dict[str, Any]) -> dict[str, Any]:
    return {
        **settings,
        "d": estimate.d,
        "n": estimate.n,
        "data_scale": DATA_SCALE,
        "estimator": estimator,
        "nll_nats": estimate.value,
        "nll_bpd": nats_to_bpd(estimate.value, estimate.d),
        "se_data_nats": estimate.se_data,
        "se_quadrature_nats": estimate.se_quadrature,
        "se_bpd": nats_to_bpd(estimate.se, estimate.d),
        "evaluations": estimate.evaluations,
    }
