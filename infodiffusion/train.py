"""Training: one model on images, or the diffusion over the codes of a trained one."""

import copy
from typing import Any

import torch
from torch import Tensor

from infodiffusion.checkpoint import build, experiment_of, images_of, load_coded
from infodiffusion.config import InfoConfig
from infodiffusion.networks import LatentDiffusion
from infodiffusion.objective import Objective, evaluator, schedule_of
from infodiffusion.outputs import encode, spread_over
from infodiffusion.tables import InfoTraining
from infolab import distributed
from infolab.device import on_cpu, pick_device, set_arithmetic, staged
from infolab.nn.blocks import set_dropout_generator
from infolab.noise import derive, generator
from infolab.results import write
from infolab.runs import Run
from infolab.schedules import append_dims
from infolab.storage import Pieces
from infolab.training import Training, train

MEASURED = 1024
"""Most test images of the losses."""


def train_model(preset: str, config: InfoConfig) -> None:
    """Train the model of `config` and write its losses."""
    run = Run("infodiffusion", experiment_of(config), preset, config)
    distributed.join()
    device = pick_device(config.device)
    with distributed.first_goes_ahead():  # one download
        images, test = images_of(config, device)
    with run.open():
        model = build(config).to(device).train()
        set_arithmetic(model, config)
        averaged = copy.deepcopy(model).eval().requires_grad_(False)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=device.type != "mps"
        )
        objective = Objective(config, model, images, optimizer)
        measure = evaluator(config, test)

        def evaluate(step: int) -> list[dict[str, Any]]:
            averaged.load_state_dict(training.averaged(), strict=False)
            epoch = step // objective.per_epoch
            return [{"epoch": epoch, **measure(averaged, epoch), "seconds": run.seconds}]

        every = config.evaluate_every * objective.per_epoch
        training = Training(
            model=model,
            optimizer=optimizer,
            objective=objective,
            steps=objective.steps,
            ema_decay=config.ema_decay,
            max_grad_norm=1.0,
            evaluate=evaluate,
            evaluate_after={*(range(every, objective.steps, every) if every else ()), objective.steps},
        )
        rows = train(run, training)
        if distributed.is_first():
            _write(run, config, rows, "images", len(images), min(MEASURED, len(test)))


def train_latent(preset: str, config: InfoConfig) -> None:
    """Train the diffusion over the codes of the model that `config` describes (Wang et al. 2023, latent sampler)."""
    run = Run("infodiffusion", experiment_of(config), preset, config)
    device = pick_device(config.device)
    images, test = images_of(config, device)
    model = load_coded(config, device)
    with run.open():
        keep = Pieces(run.folder, model)
        codes = torch.from_numpy(encode(model, images, keep, "train"))
        latent = LatentDiffusion(codes, derive(config.seed, "latent")).to(device).train()
        optimizer = torch.optim.AdamW(latent.parameters(), lr=2 * config.lr, weight_decay=config.weight_decay)
        unseen = torch.from_numpy(encode(model, spread_over(test, MEASURED), keep, "test"))
        objective = LatentObjective(config, latent, codes.to(device), unseen.to(device))

        def evaluate(step: int) -> list[dict[str, Any]]:
            return [{"epoch": step // objective.per_epoch, **objective.measure(), "seconds": run.seconds}]

        training = Training(
            model=latent,
            optimizer=optimizer,
            objective=objective,
            steps=objective.steps,
            max_grad_norm=1.0,
            evaluate=evaluate,
            evaluate_after={objective.steps},
        )
        _write(run, config, train(run, training), "codes", len(codes), len(unseen))


class LatentObjective:
    """Mean (eps - eps_hat)^2 of normalised codes at uniform steps, a function of (seed, step).

    Args:
        config: the run's settings.
        latent: the denoiser.
        codes: the training codes (n, a_dim), on the device.
        unseen: codes of test images, which `measure` takes, normalised as the training codes are.
    """

    def __init__(self, config: InfoConfig, latent: LatentDiffusion, codes: Tensor, unseen: Tensor):
        self.config, self.latent = config, latent
        self.codes, self.unseen = ((part - latent.centre) / latent.scale for part in (codes, unseen))
        schedule = schedule_of(config)
        self.alpha, self.sigma = schedule.alpha.to(codes), schedule.sigma.to(codes)
        self.batch = min(config.latent_batch, len(codes))
        self.per_epoch = len(codes) // self.batch
        self.steps = config.latent_epochs * self.per_epoch

    def __call__(self, step: int) -> Tensor:
        """The loss of an optimiser step."""
        source = generator(self.config.seed, "latent step", step)
        rows = torch.randint(len(self.codes), (self.batch,), generator=source)
        set_dropout_generator(
            self.latent, generator(self.config.seed, "latent dropout", step, device=self.codes.device)
        )
        rows, at, eps = staged(self.codes.device, rows, *self._draws(self.batch, source))
        return self._errors(self.codes[rows], at, eps).mean()

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """The loss without dropout on the codes of test images."""
        self.latent.eval()
        drawn = self._draws(len(self.unseen), generator(self.config.seed, "latent evaluation"))
        errors = on_cpu(self._errors(self.unseen, *staged(self.codes.device, *drawn)))
        self.latent.train()
        return {
            "data_loss": float(errors.mean()), "data_loss_se": float(errors.std() / len(errors) ** 0.5),
            "mmd": 0.0, "kl_nats": 0.0,
        }  # fmt: skip

    def _draws(self, n: int, source: torch.Generator) -> tuple[Tensor, Tensor]:
        """Steps (n,) and noise (n, a_dim)."""
        step = torch.randint(self.config.T, (n,), generator=source)
        return step, torch.randn(n, self.codes.shape[1], generator=source)

    def _errors(self, a: Tensor, step: Tensor, eps: Tensor) -> Tensor:
        alpha, sigma = (append_dims(part[step], a) for part in (self.alpha, self.sigma))
        a_t = alpha * a + sigma * eps
        return (eps - self.latent(a_t, step)).square().mean(1)


def _write(run: Run, config: InfoConfig, rows: list[dict[str, Any]], what: str, m: int, n: int) -> None:
    common: dict[str, Any] = {
        "dataset": config.dataset, "model": config.model_name, "what": what, "prior": config.prior,
        "seed": config.seed, "m": m, "n": n,
    }  # fmt: skip
    path = write(
        config.results_dir, InfoTraining, run.id, [InfoTraining(**common, **row) for row in rows], run.provenance()
    )
    run.say(
        f"{config.model_name}: loss {rows[-1]['data_loss']:.4f} on test {what}, in {path} after {run.seconds:.0f} s"
    )
