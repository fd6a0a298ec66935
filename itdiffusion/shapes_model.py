"""The 2-D study's settings and denoisers: the published network, or a Gaussian's linear denoiser plus it."""

import copy
import csv
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from infolab.config import AtLeast, Distinct, OneOf, Positive, RunConfig, Share
from infolab.data import registry
from infolab.denoise import Denoiser
from infolab.errors import UserError, check_choice
from infolab.files import load_npy, read_text, reading
from infolab.immse import GaussianReference
from infolab.mixture import GaussianMixture
from infolab.nn.mlp import FourierMLPs
from infolab.schedules import logsnr_to_alpha_sigma
from infolab.toy import TOYS, MixtureToy, Toy, make
from infolab.training import SCHEDULES

# ----------
# A user's 2-D points with jitter as a distribution of exact density: the dino and its like, which no package ships.

WHAT, REMEDY = "a set of points", "expected .npy or text with two columns of numbers, below one line of names at most"
JITTER = 0.15
"""Standard deviation of the noise on each point, in the file's units, as published for the dino."""


def points_law(path: Path, jitter: float = JITTER) -> MixtureToy:
    """n equally likely points plus jitter N(0, I), standardised per coordinate by the distribution's exact moments.

    Args:
        path: .npy (n, 2), or a table of text with commas, tabs or blanks between columns: two columns of numbers, or
            the Datasaurus file (columns dataset, x, y), of which the rows called dino are taken.
        jitter: standard deviation of the noise, in the file's units.

    Raises:
        UserError: the file cannot be read as points, or the jitter is not positive.
    """
    if not jitter > 0:
        raise UserError(f"--jitter must be positive, not {jitter}")
    points = torch.from_numpy(_read(path)).double()
    scale = torch.sqrt(points.var(0, correction=0) + jitter**2)
    covariance = torch.diag((jitter / scale) ** 2).expand(len(points), 2, 2)
    return MixtureToy(GaussianMixture(torch.ones(len(points)), (points - points.mean(0)) / scale, covariance))


def _read(path: Path) -> np.ndarray:
    points = load_npy(path, WHAT) if path.suffix == ".npy" else _read_text(path)
    plain = points.dtype.kind in "fiu" and points.ndim == 2 and points.shape[1] == 2 and len(points) >= 2
    if not plain or not np.isfinite(points).all():
        raise UserError(
            f"'{path}' holds an array of shape {points.shape} and type {points.dtype}: expected finite points (n, 2), "
            "n >= 2"
        )
    return np.ascontiguousarray(points, dtype=np.float64)


def _read_text(path: Path) -> np.ndarray:
    lines = read_text(path, WHAT, REMEDY).splitlines()
    with reading(path, WHAT, REMEDY):
        rows = [_cells(line) for line in lines if line.strip() and not line.lstrip().startswith("#")]
        named = [row[1:] for row in rows if len(row) == 3 and row[0] == "dino"]
        headed = bool(rows) and not _is_number(rows[0][0])
        return np.array([[float(cell) for cell in row] for row in named or rows[headed:]])


def _cells(line: str) -> list[str]:
    separated = next((mark for mark in ("\t", ",") if mark in line), None)
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separated))] if separated else line.split()


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ----------
# The denoisers of the 2-D study, a batch of them: the published network, or a Gaussian's linear denoiser plus it.

PRECONDITIONS = ("none", "gaussian")


class Gaussians(nn.Module):
    """k Gaussians N(mu, Sigma), one per member, as the buffers of a module (so that they move and are saved with it).

    Args:
        references: one Gaussian of full covariance per member (k,).
    """

    mean: Tensor
    eigenvalues: Tensor
    eigenvectors: Tensor

    def __init__(self, references: Sequence[GaussianReference]):
        super().__init__()
        for name in ("mean", "eigenvalues", "eigenvectors"):
            stacked = torch.stack([torch.as_tensor(getattr(one, name)) for one in references])
            self.register_buffer(name, stacked.float())

    def eps_hat(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """The Gaussian's optimal denoiser, sigma (alpha^2 Sigma + sigma^2 I)^-1 (z - alpha mu), (k, n, d).

        Args:
            z: points (k, n, d).
            logsnr: log-SNRs (k, n), or any shape that broadcasts with it.
        """
        alpha, sigma = (part[..., None] for part in logsnr_to_alpha_sigma(logsnr))
        along = (z - alpha * self.mean[:, None]) @ self.eigenvectors
        along = along * (sigma / (alpha**2 * self.eigenvalues[:, None] + sigma**2))
        return along @ self.eigenvectors.mT

    def shaped(self, out: Tensor, logsnr: Tensor) -> Tensor:
        """`out` (k, n, d) times the square root of the error covariance of `eps_hat`.

        That root has the eigenvectors of Sigma and the eigenvalues sqrt(s(logsnr + log l_i)).
        """
        return ((out @ self.eigenvectors) * self._residual(logsnr)) @ self.eigenvectors.mT

    def divergence(self, jacobian: Tensor, logsnr: Tensor) -> Tensor:
        """Divergence in z (k, n) of eps_hat(z) + shaped(out(z)), from the Jacobian (k, n, d, d) of out."""
        alpha, sigma = (part[..., None] for part in logsnr_to_alpha_sigma(logsnr))
        own = (sigma / (alpha**2 * self.eigenvalues[:, None] + sigma**2)).sum(-1)
        turned = torch.einsum("kie,knij,kje->kne", self.eigenvectors, jacobian, self.eigenvectors)
        return own + (turned * self._residual(logsnr)).sum(-1)

    def _residual(self, logsnr: Tensor) -> Tensor:
        return torch.exp(logsigmoid(logsnr[..., None] + self.eigenvalues[:, None].log()) / 2)


class ShapesModel(nn.Module):
    """k denoisers eps_hat(z, logsnr) trained and evaluated side by side.

    With `precondition` "none" eps_hat is the network's output. With "gaussian" it is the optimal denoiser of the
    Gaussian with the training set's moments, plus the network's output times the square root of that denoiser's error
    covariance: where the data looks Gaussian the network has nothing to do, and it sees a target of unit variance.

    Args:
        network: the k networks.
        gaussians: one Gaussian per member.
        precondition: "none" or "gaussian".
    """

    def __init__(self, network: FourierMLPs, gaussians: Gaussians, precondition: str):
        super().__init__()
        self.network, self.gaussians, self.precondition = network, gaussians, precondition

    def __len__(self) -> int:
        return len(self.network)

    def forward(self, z: Tensor, logsnr: Tensor) -> Tensor:
        """eps_hat (k, n, d) at points z (k, n, d) and log-SNRs (k, n)."""
        return self._combine(self.network(z, logsnr), z, logsnr)

    def on_grid(self, axes: Sequence[Tensor], logsnr: Tensor) -> Tensor:
        """eps_hat (k, N, d) at the N points of the product of `axes` (n_i,), first axis slowest, at one logsnr ()."""
        out = self.network.on_grid(axes, logsnr).flatten(1, -2)
        return self._combine(out, torch.cartesian_prod(*axes), logsnr.expand(1, 1))

    def value_and_divergence(self, z: Tensor, logsnr: Tensor) -> tuple[Tensor, Tensor]:
        """eps_hat (k, n, d) and its exact divergence in z (k, n)."""
        out, jacobian = self.network.value_and_jacobian(z, logsnr)
        if self.precondition == "none":
            return out, jacobian.diagonal(dim1=-2, dim2=-1).sum(-1)
        return self._combine(out, z, logsnr), self.gaussians.divergence(jacobian, logsnr)

    def denoiser(self, member: int) -> Denoiser:
        """Member `member` alone, at z (n, d), logsnr (n,)."""
        alone = self.select([member])

        @torch.no_grad()
        def eps_hat(z: Tensor, logsnr: Tensor) -> Tensor:
            return alone(z[None], logsnr[None].to(z.dtype))[0]

        return Denoiser.of_eps(eps_hat)

    def select(self, members: Sequence[int]) -> "ShapesModel":
        """The named members as a batch of their own, with copies of their present weights."""
        chosen = copy.deepcopy(self)
        for item in chosen.state_dict(keep_vars=True).values():
            item.data = item.data[list(members)]
        return chosen

    def _combine(self, out: Tensor, z: Tensor, logsnr: Tensor) -> Tensor:
        if self.precondition == "none":
            return out
        return self.gaussians.eps_hat(z, logsnr) + self.gaussians.shaped(out, logsnr)


# ----------
# Settings of the 2-D study: denoisers of six shapes trained on the negative log likelihood itself.

SHAPES = ("scg", "moons", "line", "circle", "ring", "swiss_roll", "letters")
"""The published circle and a true ring beside it; letters in the place of the dino, which no package ships."""
FILE = "points"
"""Name of the data set that `--points-file` brings."""


@dataclass(frozen=True)
class ShapesConfig(RunConfig):
    """One batch of networks: every shape with every seed, trained side by side."""

    datasets: Annotated[tuple[str, ...], Distinct()] = SHAPES
    """2-D sets with exact densities (`python -m infolab.data doctor` lists them)."""
    points_file: str = ""
    """File of 2-D points (the dino's, say: .npy, or text with two columns), added to the sets under the name points."""
    jitter: float = JITTER
    """Standard deviation of the noise on the points of --points-file, in the file's units."""
    seeds: Annotated[tuple[int, ...], Distinct()] = (0, 1, 2, 3, 4)
    """Seeds of data, initial weights, noise and evaluation, one network each (per set)."""
    n: Annotated[int, AtLeast(20)] = 8000
    """Points of a set; nine tenths train, one tenth validates."""
    epochs: Annotated[int, AtLeast(1)] = 160
    """Passes over the training points."""
    batch: Annotated[int, AtLeast(1)] = 128
    """Points of one optimiser step."""
    lr: Annotated[float, Positive()] = 1e-3
    """Learning rate of Adam."""
    lr_schedule: Annotated[str, OneOf("learning-rate schedule", SCHEDULES)] = "constant"
    """constant (as published) or cosine (falls to 0 over the run)."""
    ema_decay: Annotated[float, Share()] = 0.0
    """Decay per step of the average weights that are evaluated; 0 (as published): the weights themselves."""
    precondition: Annotated[str, OneOf("preconditioning", PRECONDITIONS)] = "none"
    """none (as published), or gaussian: the optimal denoiser of the training set's Gaussian plus the network."""
    stratified: bool = False
    """Draw the log-SNRs of a batch evenly spread; independently (as published) otherwise."""
    embedding: Annotated[int, AtLeast(4)] = 128
    """Sines and cosines of each coordinate and of the log-SNR."""
    input_scale: Annotated[float, Positive()] = 100.0
    """Multiplier of the coordinates before their embedding: the highest frequency, in radians per data unit."""
    logsnr_multiplier: Annotated[float, Positive()] = 50.0
    """Multiplier of the log-SNR before its embedding."""
    hidden: Annotated[int, AtLeast(1)] = 128
    """Width of the hidden layers (ReLU)."""
    layers: Annotated[int, AtLeast(2)] = 3
    """Linear layers."""
    logsnr_loc: float = 0.0
    """Location of the logistic distribution of the log-SNR."""
    logsnr_scale: Annotated[float, Positive()] = 3.0
    """Scale of the logistic distribution of the log-SNR."""
    logsnr_clip: Annotated[float, Positive()] = 4.0
    """The distribution is cut at loc -+ clip scale (the public 2-D script: 3; the paper's image code: 4)."""
    points: Annotated[int, AtLeast(4)] = 100
    """Log-SNR points of an evaluated integral (deterministic rule)."""
    shown_epochs: Annotated[int, AtLeast(1)] = 8
    """Evaluations on the way, evenly spread: validation NLL, and the density on a grid."""
    contours: bool = True
    """Measure the density on a grid (first seed)."""
    grid: Annotated[int, AtLeast(2)] = 40
    """Grid points per axis on [-3, 3]."""
    ode_steps: Annotated[int, AtLeast(1)] = 200
    """Steps of Heun's rule in the ODE likelihood, over the log-SNR range."""
    sampler_steps: Annotated[int, AtLeast(1)] = 400
    """Steps of the reverse process, over the log-SNR range."""
    samples: Annotated[int, AtLeast(2)] = 1000
    """Samples of each network."""

    def laws(self) -> dict[str, Toy]:
        """The distributions of the data sets, by name."""
        laws = {name: make(name) for name in self.datasets}
        return laws | ({FILE: points_law(Path(self.points_file), self.jitter)} if self.points_file else {})

    def smooth(self) -> bool:
        """Whether the embeddings' frequencies are other than the published ones."""
        return (self.input_scale, self.logsnr_multiplier) != (100.0, 50.0)

    def model_name(self) -> str:
        """What the column `model` of the tables says."""
        marks = [
            "gaussian-preconditioned" if self.precondition == "gaussian" else "",
            f"scales={self.input_scale:g}/{self.logsnr_multiplier:g}" if self.smooth() else "",
            f"ema={self.ema_decay:g}" if self.ema_decay else "",
            self.lr_schedule if self.lr_schedule != "constant" else "",
            "stratified" if self.stratified else "",
            f"batch={self.batch}" if self.batch != 128 else "",
            f"hidden={self.hidden},layers={self.layers}" if (self.hidden, self.layers) != (128, 3) else "",
        ]
        inside = ",".join(mark for mark in marks if mark)
        return f"mlp[{inside}]" if inside else "mlp"

    def read_contents(self) -> dict[str, str]:
        """See `RunConfig.read_contents`."""
        return registry.joined(points=registry.of_path(Path(self.points_file)) if self.points_file else "")

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        for name in self.datasets:
            check_choice("data set", name, sorted(TOYS))
        for name, law in self.laws().items():
            if law.d != 2:
                raise UserError(f"data set '{name}' is not 2-D: the 2-D study takes {', '.join(SHAPES)} and the like")
        super().check()
        if not math.isfinite(self.logsnr_loc):
            raise UserError(f"--logsnr-loc must be finite, not {self.logsnr_loc}")
        if self.embedding % 2:
            raise UserError(f"--embedding must be even (sines and cosines), not {self.embedding}")
        if self.epochs % self.shown_epochs:
            raise UserError(f"--shown-epochs must divide --epochs ({self.epochs}), not be {self.shown_epochs}")
        if self.batch > self.n - self.n // 10:
            raise UserError(f"--batch must be at most the {self.n - self.n // 10} training points, not {self.batch}")


_PUBLISHED = ShapesConfig()
_AVERAGED = dataclasses.replace(_PUBLISHED, lr_schedule="cosine", ema_decay=0.998, contours=False)
_GAUSSIAN = dataclasses.replace(_AVERAGED, precondition="gaussian")
# Sixteen times the denoising examples, a wider and smoother network: near enough to the optimal denoiser for its ODE
# likelihood, another number, to be the same within errors.
_LONG = dataclasses.replace(
    _GAUSSIAN, datasets=("scg", "moons", "circle", "swiss_roll"), seeds=(0,), epochs=640, batch=512, stratified=True,
    ema_decay=0.9995, hidden=192, layers=4, input_scale=25.0, logsnr_multiplier=5.0,
)  # fmt: skip
_QUICK = dataclasses.replace(_AVERAGED, datasets=_LONG.datasets, seeds=(0,))
_SMOKE = dataclasses.replace(
    _QUICK, datasets=("scg", "moons"), n=200, epochs=2, batch=32, embedding=16, hidden=16, points=8,
    shown_epochs=2, grid=5, ode_steps=5, sampler_steps=5, samples=20,
)  # fmt: skip

SWEEPS: dict[str, list[ShapesConfig]] = {
    # The published settings first; then with a falling rate and averaged weights; then preconditioned; then for long.
    "paper": [_PUBLISHED, _AVERAGED, _GAUSSIAN, _LONG],
    "quick": [dataclasses.replace(_QUICK, contours=True), dataclasses.replace(_QUICK, precondition="gaussian")],
    "smoke": [dataclasses.replace(_SMOKE, contours=True), dataclasses.replace(_SMOKE, precondition="gaussian")],
}
