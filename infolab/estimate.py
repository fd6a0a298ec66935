"""An estimate is a record: a number with its standard errors, its bias and what it estimates."""

import math
from dataclasses import asdict, dataclass

from torch import Tensor

from infolab.errors import RunFailedError, UserError

BIASES = ("unbiased", "upper", "lower", "either")


@dataclass(frozen=True)
class Estimate:
    """One estimated number and what is known of its error.

    Attributes:
        value: the estimate, in `unit`.
        se_data: standard error over data and noise, in `unit`.
        se_quadrature: error of a numerical integral, in `unit`.
        bias: "unbiased"; in expectation an "upper" or a "lower" bound of the estimand; or of "either" sign.
        estimand: what is estimated, in words (a density or a probability mass, of what).
        unit: "nats" unless said otherwise.
        n: number of examples.
        d: number of dimensions of one example.
        evaluations: number of network evaluations (examples that went through a network).

    Raises:
        RunFailedError: the value is not finite.
        ValueError: a negative or non-finite standard error, an unknown bias, a negative count.

    >>> Estimate(1.0, se_data=0.3, se_quadrature=0.4).se
    0.5
    """

    value: float
    se_data: float
    se_quadrature: float = 0.0
    bias: str = "unbiased"
    estimand: str = ""
    unit: str = "nats"
    n: int = 0
    d: int = 0
    evaluations: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise RunFailedError(f"the estimate of '{self.estimand}' is {self.value}: expected a finite number")
        for name in ("se_data", "se_quadrature"):
            error = getattr(self, name)
            if not (math.isfinite(error) and error >= 0):
                raise ValueError(f"{name} is {error}: expected a finite number of at least 0")
        if self.bias not in BIASES:
            raise ValueError(f"bias is '{self.bias}': expected one of {', '.join(BIASES)}")
        for name in ("n", "d", "evaluations"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected at least 0")

    @property
    def se(self) -> float:
        """Total standard error sqrt(se_data^2 + se_quadrature^2), in `unit`."""
        return math.hypot(self.se_data, self.se_quadrature)

    def as_dict(self) -> dict[str, float | int | str]:
        """Return all fields and `se`, ready for JSON."""
        return {**asdict(self), "se": self.se}


def mean_and_se(values: Tensor) -> tuple[float, float]:
    """Return the mean of independent `values` (any shape) and its standard error sd / sqrt(n), in float64.

    Raises:
        UserError: fewer than two values, which have no standard error.

    >>> import torch
    >>> mean_and_se(torch.tensor([1.0, 3.0]))
    (2.0, 1.0)
    """
    flat = values.detach().cpu().double().flatten()
    if flat.numel() < 2:
        raise UserError(f"a standard error needs at least two values, got {flat.numel()}: use more examples")
    return float(flat.mean()), float(flat.std()) / math.sqrt(flat.numel())


def nats_to_bpd(nats: float, d: int) -> float:
    """Return bits per dimension, nats / (d log 2), of an example of `d` dimensions.

    >>> round(nats_to_bpd(2 * math.log(2), d=2), 12)
    1.0
    """
    return nats / (d * math.log(2))
