"""The image study, one run: train a U-Net at one T, then measure bits per dimension and every term of the bound."""

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from diffusion.image_model import ImageConfig, ImageObjective, ImageScore, load_images
from diffusion.tables import ImageBound
from infolab.baselines import per_pixel_histogram_bpd
from infolab.bound import Bound, ScoreLosses, ScoreNorm, score_losses, term2, term3
from infolab.data import ImageSet
from infolab.data.images import LogitTransform, dequantization_noise, dequantize
from infolab.denoise import Denoiser
from infolab.device import on_cpu, pick_device, set_arithmetic
from infolab.empirical import mutual_information
from infolab.epochs import DebiasedTime
from infolab.estimate import mean_and_se
from infolab.likelihood import ElboDraw, draw_probe, elbo_from_denoising, ode_log_likelihood
from infolab.nn.unet import UNet, unet_size
from infolab.noise import generator
from infolab.results import write, write_arrays
from infolab.runs import Run
from infolab.sample import StepNoise, reverse_sde, step_count, walk_in_pieces
from infolab.schedules import VP
from infolab.storage import Keep, Pieces, unkept
from infolab.sweep import Cost, Experiment
from infolab.training import Training, train

# ----------
# Evaluation of one image model: bits per dimension by ODE and by ELBO, every term of the bound, samples.

STEP_RULES = ("fixed_number", "fixed_size")
PICTURES = 36  # samples kept as a picture


class ImageEvaluation:
    """Measures one image model.

    The training set of the bound's terms is one dequantised draw of the training images (training redraws it).

    Args:
        config: the run's settings.
        train: training images, on the device.
        test: all held-out images, on the device; the first `config.test_images` are used.
        transform: grey levels to logits.
        keep: keeps what is measured piece by piece, of one model at a time (`infolab.storage`).
    """

    def __init__(
        self, config: ImageConfig, train: ImageSet, test: ImageSet, transform: LogitTransform, keep: Keep = unkept
    ):
        self.config, self.train, self.transform, self.keep = config, train, transform, keep
        self.test = test.take(torch.arange(min(config.test_images, len(test)), device=test.images.device))
        self.schedule = VP(config.beta_min, config.beta_max)
        self.device = train.images.device
        self.x0, _ = self._logits(train, "terms")

    def rows(self, score: ImageScore, epoch: int) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
        """The columns of the rows of the table `diffusion/image_bound`, and the pictures of the run."""
        score.eval().requires_grad_(False)
        shared = {**self._settings(epoch), **self._likelihoods(score)}
        term1, term1_se, second = self._exact_terms()
        losses = self._losses(score)
        rows, samples, drawn = [], torch.empty(0), {}
        for rule in STEP_RULES:
            steps = step_count(self.config.T, rule, self.config.sde_steps)
            if steps not in drawn:  # at T = 1 the two rules are one
                drawn[steps] = self.sample(score, steps)
            samples, norm = drawn[steps]
            for variant in ("published", "exact"):
                score_norm = float(getattr(norm, variant))
                bound = Bound(
                    term1=term1,
                    term1_se=term1_se,
                    term2=second,
                    term3=term3(score_norm, self.config.T, len(self.train), steps, self.schedule),
                    score_loss_nats=float(getattr(losses, variant)),
                    score_loss_se=float(getattr(losses, f"{variant}_se")),
                    R=self.config.R,
                )
                rows.append(
                    {
                        **shared,
                        **bound.columns(),
                        "variant": variant,
                        "score_norm": score_norm,
                        "sde_steps": steps,
                        "step_rule": rule,
                    }
                )
        return rows, self._pictures(samples)

    def sample(self, score: ImageScore, steps: int) -> tuple[Tensor, ScoreNorm]:
        """Logits of `config.samples` images drawn by the reverse SDE from N(0, I), and the score norms on the way."""
        shape = (self.config.samples, *self.train.shape)
        x_T = torch.randn(shape, generator=generator(self.config.seed, "prior")).to(self.device)
        noise = StepNoise([self.config.seed], "sampler", shape, self.device)

        def walk(x: Tensor, part: range) -> dict[str, Tensor]:
            norm = ScoreNorm(1)
            x = reverse_sde(
                score.denoiser(), self.schedule, x, self.config.T, steps, lambda step: noise(step)[0],
                observe=lambda s, t: norm.observe(s[None], t[None]), part=part,
            )  # fmt: skip
            return {"x": x, **norm.tensors()}

        samples, norm = x_T, ScoreNorm(1)
        for kept in walk_in_pieces(self.keep, f"samples-{steps}", x_T, steps, walk):
            samples = kept["x"].to(x_T)
            norm.merge(kept)
        return samples, norm

    def ode(self, score: ImageScore, y: Tensor) -> tuple[Tensor, int]:
        """log p of the logits y (n,) by the ODE, averaged over `config.ode_probes` probes; and network evaluations."""
        total = torch.zeros(len(y), dtype=torch.float64)
        evaluations = 0
        for index in range(self.config.ode_probes):
            probe = draw_probe(self.config.probe, y.shape, generator(self.config.seed, "probe", index)).to(y)
            batches = zip(self._batches(y), self._batches(probe), strict=True)
            parts = [
                self.keep(f"ode-{index:02d}-{place:04d}", functools.partial(self._ode_batch, score, *batch))
                for place, batch in enumerate(batches)
            ]
            total += on_cpu(torch.cat([part["log_p"] for part in parts]))
            evaluations += sum(int(part["evaluations"]) for part in parts)
        return total / self.config.ode_probes, evaluations

    def elbo(self, score: ImageScore, y: Tensor) -> Tensor:
        """The ELBO of the logits y (n,), averaged over `config.elbo_draws` stratified, debiased times per image."""
        law = DebiasedTime(self.schedule, self.config.T, self.config.t_eps)
        total = torch.zeros(len(y), dtype=torch.float64)

        def measure(draw: int) -> dict[str, Tensor]:
            source = generator(self.config.seed, "elbo", draw)
            u = (draw + torch.rand(len(y), generator=source)) / self.config.elbo_draws
            eps, eps_T = (torch.randn(y.shape, generator=source).to(y) for _ in range(2))
            batches = zip(*(self._batches(item) for item in (y, u.to(y), eps, eps_T)), strict=True)
            values = [
                elbo_from_denoising(score.denoiser(), self.schedule, x, law, ElboDraw(*drawn)) for x, *drawn in batches
            ]
            return {"values": torch.cat(values)}

        for draw in range(self.config.elbo_draws):
            total += self.keep(f"elbo-{draw:04d}", functools.partial(measure, draw))["values"].to(total.device)
        return total / self.config.elbo_draws

    def _ode_batch(self, score: ImageScore, x: Tensor, probe: Tensor) -> dict[str, Tensor]:
        tolerance = self.config.ode_tolerance
        found = ode_log_likelihood(score.denoiser(), self.schedule, x, self.config.T, probe=probe, tolerance=tolerance)
        return {"log_p": found.log_p, "evaluations": torch.tensor(found.evaluations)}

    def _batches(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(self.config.eval_batch)

    def _logits(self, images: ImageSet, stream: str) -> tuple[Tensor, Tensor]:
        # Noise is drawn once per image from the seed, so that every estimator sees the same numbers.
        u = dequantization_noise(tuple(images.images.shape), self.config.seed + (1 << 32) * (stream == "test"))
        return self.transform.forward(dequantize(images.images, u.to(self.device), images.levels))

    def _settings(self, epoch: int) -> dict[str, object]:
        return {
            "dataset": self.config.dataset,
            "model": self.config.model_name,
            "seed": self.config.seed,
            "split": self.config.split,
            "m": len(self.train),
            "d": self.train.d,
            "T": self.config.T,
            "epoch": epoch,
            "t_eps": self.config.t_eps,
        }

    def _likelihoods(self, score: ImageScore) -> dict[str, float | int]:
        y, logdet = self._logits(self.test, "test")
        logdet = on_cpu(logdet)
        d = self.train.d
        log_p, evaluations = self.ode(score, y)
        ode, ode_se = mean_and_se(self.transform.bpd(log_p, logdet, d))
        lower, lower_se = mean_and_se(self.transform.bpd(self.elbo(score, y), logdet, d))
        histogram, histogram_se = per_pixel_histogram_bpd(
            self.train.images.cpu(), self.test.images.cpu(), self.train.levels
        )
        return {
            "bpd_ode": ode,
            "bpd_ode_se": ode_se,
            "ode_evaluations": evaluations,
            "bpd_elbo": lower,
            "bpd_elbo_se": lower_se,
            "bpd_histogram": histogram,
            "bpd_histogram_se": histogram_se,
        }

    def _exact_terms(self) -> tuple[float, float, float]:
        level = self.schedule.at(torch.tensor(self.config.T, dtype=torch.float64))
        second = float(term2(self.x0.flatten(1), level.alpha))

        def information() -> dict[str, Tensor]:
            outer = self.config.mi_outer if self.config.mi_outer < len(self.train) else None
            draws = 2 if outer else 2 * math.ceil(max(2, 500 // len(self.train)) / 2)
            found = mutual_information(
                self.x0, float(level.alpha), float(level.sigma), outer=outer, draws=draws,
                seed_or_generator=self.config.seed,
            )  # fmt: skip
            return {"nats": torch.tensor([found.value, found.se], dtype=torch.float64)}

        value, se = self.keep("information", information)["nats"].tolist()
        return -value, se, second

    def _losses(self, score: ImageScore) -> ScoreLosses:
        return score_losses(
            Denoiser.of_score(lambda x, t: score(x[0], t[0])[None], self.schedule),
            self.x0[None],
            self.schedule,
            torch.tensor([self.config.T], device=self.device),
            [self.config.seed],
            t_eps=self.config.t_eps,
            draws=self.config.score_draws,
            replicates=self.config.score_replicates,
            score_batch=self.config.eval_batch,
            keep=self.keep,
        )

    def _pictures(self, samples: Tensor) -> dict[str, np.ndarray]:
        def grid(pixels: Tensor) -> np.ndarray:
            return pixels.permute(0, 2, 3, 1).squeeze(-1).cpu().numpy()

        return {
            "samples": grid(self.transform.to_pixels(samples[:PICTURES])),
            "train": grid(self.train.images[:16]),
            "levels": np.array(self.train.levels),
            "T": np.array(self.config.T),
            "seed": np.array(self.config.seed),
            "m": np.array(len(self.train)),
            "split": np.array(self.config.split),
        }


# ----------
# The image study, one run: train a U-Net at one T on few-shot or full data, measure likelihood and bound.
#
# The sweeps are in `diffusion.digits` and its neighbours, one module per data set.

AnyConfig = TypeVar("AnyConfig", bound=ImageConfig)
MakeObjective = Callable[[AnyConfig, ImageScore, ImageSet, LogitTransform], ImageObjective]


def run_image(preset: str, config: ImageConfig) -> None:
    """One run: config, data, model, loop, results."""
    run = Run("diffusion", config.dataset, preset, config)
    device = pick_device(config.device)
    data, test = load_images(config, device)
    with run.open():
        columns, pictures = train_and_measure(run, config, data, test, ImageObjective)
        provenance = run.provenance()
        write_arrays(config.results_dir, "diffusion", run.id, pictures, provenance)
        path = write(config.results_dir, ImageBound, run.id, [ImageBound(**row) for row in columns], provenance)
        run.say(f"{summary(config, columns)}, in {path} after {run.seconds:.0f} s")


def train_and_measure(
    run: Run, config: AnyConfig, data: ImageSet, test: ImageSet, make_objective: MakeObjective[AnyConfig]
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Train the model on the images `data`, from the run's last checkpoint where there is one, and measure it.

    Args:
        run: the run, open.
        config: its settings.
        data: training images, on the device.
        test: held-out images, on the device.
        make_objective: (config, model, images, transform) -> the loss of a step.

    Returns:
        Columns of the rows of the bound, and pictures (see `ImageEvaluation.rows`).
    """
    transform = LogitTransform(data.levels, config.logit_A)
    score = ImageScore(
        UNet(config.unet(), config.seed), VP(config.beta_min, config.beta_max), config.parametrization
    ).to(data.images.device)
    set_arithmetic(score, config)
    objective = make_objective(config, score, data, transform)
    training = Training(
        model=score,
        optimizer=torch.optim.Adam(score.parameters(), lr=config.lr, fused=True),
        objective=objective,
        steps=config.iterations,
        ema_decay=config.ema_decay,
    )
    train(run, training)

    score.load_state_dict(training.averaged(), strict=False)
    epoch = config.iterations // objective.per_epoch
    return ImageEvaluation(config, data, test, transform, Pieces(run.folder, score)).rows(score, epoch)


def summary(config: ImageConfig, columns: list[dict[str, Any]]) -> str:
    """One line of a finished run's settings and its likelihood."""
    bpd = columns[0]["bpd_ode"]
    return f"{config.split}, T = {config.T}, seed {config.seed}: {bpd:.3f} bits/dim by the ODE"


def cost(config: ImageConfig) -> Cost:
    """Expected cost of one run: training, samplers under both step rules, ODE, ELBO and score losses."""
    size = config.unet()
    parameters, per_image = unet_size(size)
    images = float(config.iterations) * min(config.batch, config.m or config.batch)
    sampler_steps = config.sde_steps + max(1, round(config.T * config.sde_steps))
    evaluated = config.samples * sampler_steps + config.test_images * (config.elbo_draws + 3 * 100 * config.ode_probes)
    evaluated += 2 * config.score_draws * config.score_replicates
    memory = 16.0 * parameters + min(config.batch, 4096) * size.model_channels * size.image_size**2 * 4 * 60
    return Cost(parameters, memory, images + evaluated, per_image * (3 * images + evaluated))


def experiment(command: str, sweeps: dict[str, list[ImageConfig]]) -> Experiment:
    """The image study on one data set's sweeps."""
    return Experiment(command, sweeps, ImageBound, ImageConfig.check, run_image, cost, kind=lambda config: config.split)
