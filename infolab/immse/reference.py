"""The Gaussian reference of I-MMSE: the data's spectrum by streaming; entropy, denoiser, errors in closed form."""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from infolab import atomic
from infolab.errors import UserError
from infolab.files import DamagedFileError, reading
from infolab.schedules import logsnr_to_alpha_sigma

ZERO = 1e-12  # an eigenvalue below this share of the largest is zero up to rounding
BLOCK = 4096  # examples taken into the covariance at a time


@dataclass(frozen=True, eq=False)
class GaussianReference:
    """N(mu, Sigma) of the data's mean and covariance, as eigenvalues and eigenvectors (Kong et al. 2023, sec. 2).

    Attributes:
        mean: mu, (d,) float64.
        eigenvalues: l_i of Sigma, (d,) float64, 0 where the data is constant.
        eigenvectors: (d, d) float64, a column each; None for a diagonal Sigma, the shortcut for huge d.
        floor: the spectrum that formulas use is max(l_i, floor); D^2/12 for data on a grid of step D.
        provenance: what it was computed from, plain JSON values; saved along.

    Its tensors are contiguous from the start, as they are in a file: products round differently in another layout.
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor | None = None
    floor: float = 0.0
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("mean", "eigenvalues", "eigenvectors"):
            tensor = getattr(self, name)
            if tensor is not None:
                object.__setattr__(self, name, tensor.contiguous())

    @classmethod
    def fit(
        cls,
        data: Tensor | Iterable[Tensor],
        *,
        diagonal: bool = False,
        floor: float = 0.0,
        provenance: dict[str, Any] | None = None,
    ) -> "GaussianReference":
        """Exact mean and population covariance (divisor n) of all examples, streaming, in float64.

        Args:
            data: examples (n, ...), or batches of them; memory is that of one batch and one (d, d) matrix.
            diagonal: keep variances of the coordinates only.
            floor: see the class.
            provenance: see the class; the number of examples is added.

        Raises:
            UserError: fewer than two examples, or values that are not finite.
        """
        batches: Iterable[Tensor] = data.split(BLOCK) if isinstance(data, Tensor) else data
        count, mean, scatter = 0, torch.zeros(()), torch.zeros(())
        for batch in batches:
            part = batch.detach().flatten(1).cpu().double()
            own = part.mean(0)
            centred = part - own
            spread = centred.square().sum(0) if diagonal else centred.T @ centred
            # Chan's rule joins two sets without cancellation.
            shift, total = own - mean, count + len(part)
            between = shift.square() if diagonal else torch.outer(shift, shift) if count else torch.zeros(())
            scatter = scatter + spread + between * (count * len(part) / total)
            mean = mean + shift * (len(part) / total)
            count = total
        if count < 2 or not bool(torch.isfinite(scatter).all()):
            raise UserError(f"a Gaussian reference of {count} examples: expected at least two, of finite numbers")
        origin = {**(provenance or {}), "examples": count}
        if diagonal:
            return cls(mean, _without_dust(scatter / count), None, floor, origin)
        eigenvalues, eigenvectors = torch.linalg.eigh(scatter / count)
        return cls(mean, _without_dust(eigenvalues), eigenvectors, floor, origin)

    @property
    def d(self) -> int:
        """Number of dimensions of one example."""
        return len(self.mean)

    @cached_property
    def spectrum(self) -> Tensor:
        """max(l_i, floor), (d,)."""
        return self.eigenvalues.clamp(min=self.floor)

    @property
    def entropy_nats(self) -> float:
        """h_G = d/2 log(2 pi e) + 1/2 sum log l_i.

        Raises:
            UserError: see `require_density`.
        """
        self.require_density()
        return self.d / 2 * math.log(2 * math.pi * math.e) + float(self.spectrum.log().sum()) / 2

    def require_density(self) -> None:
        """Refuse a spectrum with a zero.

        Raises:
            UserError: some direction of the data is constant, so there is no density.
        """
        zeros = int((self.spectrum <= 0).sum())
        if zeros:
            raise UserError(
                f"{zeros} of {self.d} directions of the data are constant (or a millionth of the widest), so it has no "
                "density: estimate the discrete NLL (give the step of its grid), or remove constant coordinates, "
                "duplicates and outliers"
            )

    def mmse_eps(self, logsnr: Tensor) -> Tensor:
        """E|eps - eps_hat|^2 = sum_i s(a + log l_i) of N(mu, Sigma) under its own denoiser, shape of logsnr."""
        return torch.sigmoid(logsnr.double()[..., None] + self.spectrum.log()).sum(-1)

    def mmse_integral(self, low: float, high: float) -> float:
        """Int mmse_eps(a) da from low to high = sum_i softplus(high + log l_i) - softplus(low + log l_i)."""
        ends = torch.tensor([low, high], dtype=torch.float64)[:, None] + self.spectrum.log()
        return float(torch.nn.functional.softplus(ends).sum(1).diff())

    def eps_hat(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """The optimal denoiser of N(mu, Sigma): sigma (alpha^2 Sigma + sigma^2)^-1 (z - alpha mu).

        Args:
            z: noisy examples (n, ...).
            logsnr: a, (n,).

        Returns:
            eps_hat like z.
        """
        alpha, sigma = (v[:, None] for v in logsnr_to_alpha_sigma(logsnr.detach().cpu().double()))
        flat = self._turn(z.detach().cpu().double().flatten(1) - alpha * self.mean)
        flat = flat * sigma / (alpha**2 * self.spectrum + sigma**2)
        if self.eigenvectors is not None:
            flat = flat @ self.eigenvectors.T
        return flat.reshape(z.shape).to(z)

    def log_prob(self, x: Tensor) -> Tensor:
        """log N(x; mu, Sigma) of examples x (n, ...), (n,) float64, nats.

        Raises:
            UserError: see `require_density`.
        """
        self.require_density()
        return self.log_prob_of_projected(self.project(x))

    def log_prob_of_projected(self, projected: Tensor) -> Tensor:
        """The same from `project(x)`, (n, d)."""
        squares = (projected**2 / self.spectrum).sum(-1)
        return -0.5 * (squares + self.spectrum.log().sum() + self.d * math.log(2 * math.pi))

    def log_mass_of_projected(self, projected: Tensor, step: float) -> Tensor:
        """log P of the Gaussian on a grid of step D along each direction, from `project(x)` (n, d): (n,), nats, <= 0.

        -sum_i (v_i^T (x - mu))^2 / (2 l_i) + log Z(l_i), Z(l) = sum_k exp(-k^2 D^2 / (2 l)) over all whole k. Where
        every l_i is above D^2 this is log N(x) + d log D (to 1e-8 each); in a narrower direction that would give one
        bin more than all mass. A constant direction has Z = 1: no information where x is at the mean, as its data is.
        Along the coordinates (a diagonal Sigma) P sums to 1 where the mean is on the grid and to less where it is not.

        Args:
            projected: V^T (x - mu), (n, d).
            step: D > 0, in the unit of x.
        """
        squares = (projected**2 / self.spectrum).sum(-1)
        log_sum = torch.where(self.eigenvalues > 0, _log_grid_sum(self.spectrum / step**2), 0.0)
        return -0.5 * squares - log_sum.sum()

    def project(self, x: Tensor) -> Tensor:
        """V^T (x - mu) of examples x (n, ...), (n, d) float64 on the CPU."""
        return self._turn(x.detach().cpu().double().flatten(1) - self.mean)

    def errors(self, projected: Tensor, eps: Tensor, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        """Error |eps - eps_hat|^2 of the Gaussian's own denoiser: its mean over eps, and the deviation from it.

        In the eigenbasis eps - eps_hat = c1 eps - c2 (x - mu), c1 = s(a + log l), c2 = 1/(e^(a/2) l + e^(-a/2)), so the
        mean given x is sum c1^2 + c2^2 (x - mu)^2 and the deviation sum c1^2 (eps^2 - 1) - 2 c1 c2 eps (x - mu).

        Args:
            projected: V^T (x - mu), (n, d).
            eps: noise (n, J, d), or (n, 1, d) where one noise serves all log-SNRs; float64 or float32.
            logsnr: a, (J,).

        Returns:
            Mean over eps given x, and deviation, both (n, J) float64.
        """
        a = logsnr.double()[:, None]
        c1 = torch.sigmoid(a + self.spectrum.log())
        c2 = 1 / (torch.exp(a / 2) * self.spectrum + torch.exp(-a / 2))
        mean = (c1**2).sum(1) + projected.square() @ (c2**2).T
        turned = self._turn(eps)
        first, second = (c1**2).to(eps.dtype), (2 * c1 * c2).to(eps.dtype)
        product = turned * projected[:, None].to(eps.dtype)
        if eps.shape[1] == 1:
            even, odd = (turned.square() - 1)[:, 0] @ first.T, product[:, 0] @ second.T
        else:
            even = torch.einsum("njd,jd->nj", turned.square() - 1, first)
            odd = torch.einsum("njd,jd->nj", product, second)
        return mean, even.double() - odd.double()

    def dequantized(self, step: float) -> "GaussianReference":
        """The reference of x + D (u - 1/2), u uniform and independent: every l_i grows by D^2/12."""
        grown = self.eigenvalues + step**2 / 12
        return GaussianReference(self.mean, grown, self.eigenvectors, 0.0, {**self.provenance, "dequantized": step})

    def floored(self, floor: float) -> "GaussianReference":
        """The same with another floor."""
        return GaussianReference(self.mean, self.eigenvalues, self.eigenvectors, floor, self.provenance)

    def save(self, path: Path) -> None:
        """Write to `path` (safetensors), whole or not at all."""
        tensors = {"mean": self.mean, "eigenvalues": self.eigenvalues}
        if self.eigenvectors is not None:
            tensors["eigenvectors"] = self.eigenvectors
        header = {"floor": repr(self.floor), "provenance": json.dumps(self.provenance, sort_keys=True)}
        atomic.write_bytes(path, save(tensors, metadata=header))

    @classmethod
    def load(cls, path: Path) -> "GaussianReference":
        """Read what `save` wrote.

        Raises:
            UserError: there is no such file, or it is not one of these.
        """
        with reading(path, "a saved Gaussian reference", "compute it again"):
            with safe_open(path, framework="pt") as file:
                header = file.metadata()
                # Copied: in the file they are not aligned as torch aligns its own, on which rounding may depend too.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (not a dict)
            found = cls(
                tensors["mean"], tensors["eigenvalues"], tensors.get("eigenvectors"), float(header["floor"]),
                json.loads(header["provenance"]),
            )  # fmt: skip
            shapes = {name: (found.d,) * (2 if name == "eigenvectors" else 1) for name in tensors}
            if any(item.shape != shapes[name] or not item.isfinite().all() for name, item in tensors.items()):
                raise DamagedFileError("its numbers are of shapes that do not fit, or not finite")
            if not (0 <= found.floor < math.inf and bool((found.eigenvalues >= 0).all())):
                raise DamagedFileError("it has a variance below 0")
            return found

    def _turn(self, flat: Tensor) -> Tensor:
        """Coordinates in the eigenbasis, in the dtype of `flat` (..., d)."""
        return flat if self.eigenvectors is None else flat @ self._basis(flat.dtype)

    def _basis(self, dtype: torch.dtype) -> Tensor:
        assert self.eigenvectors is not None
        return self.eigenvectors if dtype == torch.float64 else self._single

    @cached_property
    def _single(self) -> Tensor:
        assert self.eigenvectors is not None
        return self.eigenvectors.float()


def _log_grid_sum(variance: Tensor) -> Tensor:
    """log sum_k exp(-k^2 / (2 variance)) over all whole k; variance in squared steps."""
    k = torch.arange(1, 9, dtype=variance.dtype)
    narrow = torch.log1p(2 * torch.exp(-(k**2) / (2 * variance[:, None])).sum(-1))
    # The sum is an integral but for a share of 2 exp(-2 pi^2 variance).
    return torch.where(variance < 1, narrow, 0.5 * torch.log(2 * math.pi * variance))


def _without_dust(eigenvalues: Tensor) -> Tensor:
    return torch.where(eigenvalues <= ZERO * eigenvalues.max(), 0.0, eigenvalues)
