"""Settings of the 2-D study: denoisers of six shapes trained on the negative log likelihood itself."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path

from common.config import RunConfig
from common.data import contents
from common.errors import UserError, choose
from common.learning_rate import SCHEDULES
from common.toy import TOYS, Toy, make
from itdiffusion.points_file import JITTER, points_law
from itdiffusion.shapes_model import PRECONDITIONS

SHAPES = ("scg", "moons", "line", "circle", "ring", "swiss_roll", "letters")
"""The published circle and a true ring beside it; letters in the place of the dino, which no package ships."""
FILE = "points"
"""Name of the data set that `--points-file` brings."""


@dataclass(frozen=True)
class ShapesConfig(RunConfig):
    """One batch of networks: every shape with every seed, trained side by side."""

    datasets: tuple[str, ...] = SHAPES
    """2-D sets with exact densities (`python -m common.data doctor` lists them)."""
    points_file: str = ""
    """File of 2-D points (the dino's, say: .npy, or text with two columns), added to the sets under the name points."""
    jitter: float = JITTER
    """Standard deviation of the noise on the points of --points-file, in the file's units."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of data, initial weights, noise and evaluation, one network each (per set)."""
    n: int = 8000
    """Points of a set; nine tenths train, one tenth validates."""
    epochs: int = 160
    """Passes over the training points."""
    batch: int = 128
    """Points of one optimiser step."""
    lr: float = 1e-3
    """Learning rate of Adam."""
    lr_schedule: str = "constant"
    """constant (as published) or cosine (falls to 0 over the run)."""
    ema_decay: float = 0.0
    """Decay per step of the average weights that are evaluated; 0 (as published): the weights themselves."""
    precondition: str = "none"
    """none (as published), or gaussian: the optimal denoiser of the training set's Gaussian plus the network."""
    stratified: bool = False
    """Draw the log-SNRs of a batch evenly spread; independently (as published) otherwise."""
    embedding: int = 128
    """Sines and cosines of each coordinate and of the log-SNR."""
    input_scale: float = 100.0
    """Multiplier of the coordinates before their embedding: the highest frequency, in radians per data unit."""
    logsnr_multiplier: float = 50.0
    """Multiplier of the log-SNR before its embedding."""
    hidden: int = 128
    """Width of the hidden layers (ReLU)."""
    layers: int = 3
    """Linear layers."""
    logsnr_loc: float = 0.0
    """Location of the logistic law of the log-SNR."""
    logsnr_scale: float = 3.0
    """Scale of the logistic law of the log-SNR."""
    logsnr_clip: float = 4.0
    """The law is cut at loc -+ clip scale (the public 2-D script: 3; the paper's image code: 4)."""
    points: int = 100
    """Log-SNR points of an evaluated integral (deterministic rule)."""
    shown_epochs: int = 8
    """Evaluations on the way, evenly spread: validation NLL, and the density on a grid."""
    contours: bool = True
    """Measure the density on a grid (first seed)."""
    grid: int = 40
    """Grid points per axis on [-3, 3]."""
    ode_steps: int = 200
    """Steps of Heun's rule in the ODE likelihood, over the log-SNR range."""
    sampler_steps: int = 400
    """Steps of the reverse process, over the log-SNR range."""
    samples: int = 1000
    """Samples of each network."""

    def laws(self) -> dict[str, Toy]:
        """The laws of the data sets, by name."""
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
        return contents.joined(points=contents.of_path(Path(self.points_file)) if self.points_file else "")

    def check(self) -> None:
        """Refuse settings that cannot run, before anything is written."""
        for name in self.datasets:
            choose("data set", name, sorted(TOYS))
        for name, law in self.laws().items():
            if law.d != 2:
                raise UserError(f"data set '{name}' is not 2-D: the 2-D study takes {', '.join(SHAPES)} and the like")
        choose("learning-rate schedule", self.lr_schedule, SCHEDULES)
        choose("preconditioning", self.precondition, PRECONDITIONS)
        least = {
            "n": 20, "epochs": 1, "batch": 1, "embedding": 4, "hidden": 1, "layers": 2, "points": 4,
            "shown_epochs": 1, "grid": 2, "ode_steps": 1, "sampler_steps": 1, "samples": 2,
        }  # fmt: skip
        for name, low in least.items():
            if getattr(self, name) < low:
                raise UserError(f"--{name.replace('_', '-')} must be at least {low}, not {getattr(self, name)}")
        for name in ("lr", "input_scale", "logsnr_multiplier", "logsnr_scale", "logsnr_clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"--{name.replace('_', '-')} must be positive and finite, not {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1 or not math.isfinite(self.logsnr_loc):
            raise UserError("--ema-decay must lie in [0, 1) and --logsnr-loc must be finite")
        if self.embedding % 2:
            raise UserError(f"--embedding must be even (sines and cosines), not {self.embedding}")
        for name in ("datasets", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"--{name} needs at least one value, and none of them twice")
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
