"""The variational columns of an image run: the discrete-time bound of a mass and of a density, member by member."""

from typing import Any

import torch
from torch import nn

from common import distributed
from common.data import ImageSet
from common.pieces import Keep, unkept
from common.schedules import DDPM
from common.variational import NOISE_BLOCK, BoundTerms, VariationalBound, continuous_model
from itdiffusion.images_config import ImagesConfig
from itdiffusion.images_data import step_of, to_unit
from itdiffusion.images_rows import variational_row
from itdiffusion.pretrained import PretrainedDenoiser


def variational_rows(
    config: ImagesConfig, member: nn.Module, test: ImageSet, settings: dict[str, Any], keep: Keep = unkept
) -> list[dict[str, Any]]:
    """Rows of `itdiffusion/nll`: the bound of the grey levels' mass, then that of the density of [-1, 1] images.

    A pre-trained network is taken on its own schedule, at whole steps and with its own variance; one that was trained
    on continuous log-SNR on DDPM's linear schedule of 1,000 steps with the variance beta. Started by torchrun, each
    process takes whole blocks of the images. `keep` keeps what is measured piece by piece.
    """
    if isinstance(member, PretrainedDenoiser):
        schedule, model, variance = member.schedule, member.step_model(), member.variance
    else:
        schedule, variance = DDPM.linear(), "large"
        model = continuous_model(member, schedule)
    mass = VariationalBound(schedule, variance, levels=test.levels)
    density = VariationalBound(schedule, variance)
    steps = max(0, config.variational_steps)
    first, stop = _blocks_of_mine(len(test))
    x = to_unit(test.images[first:stop], test.levels)
    parts: list[tuple[BoundTerms, torch.Tensor]] = []
    if len(x):
        drawn = {"seed": config.seed, "batch": config.eval_batch, "first": first}
        terms = mass.terms(model, x, steps=steps, keep=keep, **drawn)
        narrow = keep("density", lambda: {"values": density.reconstruction(model, x, **drawn)})
        parts.append((terms, narrow["values"]))
    whole = [part for found in distributed.gather(parts) for part in found]
    of_mass = _joined([terms for terms, _ in whole])
    of_density = BoundTerms(
        of_mass.prior,
        of_mass.transitions,
        torch.cat([narrow for _, narrow in whole]),
        of_mass.se_steps,
        of_mass.evaluations,
    )
    evaluated = min(steps, schedule.steps - 1) or schedule.steps - 1
    return [
        variational_row(mass.estimate(of_mass, test.d), evaluated + 1, step_of(test.levels), settings),
        variational_row(density.estimate(of_density, test.d), evaluated + 1, 0.0, settings),
    ]


def _blocks_of_mine(n: int) -> tuple[int, int]:
    """This process's images: whole blocks of noise, so that what an image gets does not depend on who measures it."""
    blocks = -(-n // NOISE_BLOCK)
    rank, size = distributed.rank(), distributed.world_size()
    return min(n, rank * blocks // size * NOISE_BLOCK), min(n, (rank + 1) * blocks // size * NOISE_BLOCK)


def _joined(parts: list[BoundTerms]) -> BoundTerms:
    """The terms of all images; the processes share their steps, so the error of leaving some out does not average."""
    n = sum(len(part.prior) for part in parts)
    return BoundTerms(
        prior=torch.cat([part.prior.cpu() for part in parts]),
        transitions=torch.cat([part.transitions.cpu() for part in parts]),
        reconstruction=torch.cat([part.reconstruction.cpu() for part in parts]),
        se_steps=sum(part.se_steps * len(part.prior) for part in parts) / n,
        evaluations=sum(part.evaluations for part in parts),
    )
