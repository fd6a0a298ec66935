"""Pictures of an image run: samples of each member by the reverse process, beside training images."""

import numpy as np
import torch
from torch import Tensor, nn

from common.data import ImageSet
from common.immse import LogsnrRange
from common.logsnr_schedule import LogsnrLine
from common.pieces import Keep, under, unkept
from common.samplers import StepNoise, reverse_sde, walk_in_pieces
from common.schedules import expand, logsnr_to_alpha_sigma
from common.seeds import generator
from itdiffusion.images_config import ImagesConfig
from itdiffusion.images_train import Members

LOWEST = -8.0  # log-SNR at which the reverse process starts from N(0, I), or the training range's end where lower


def pictures(
    config: ImagesConfig, members: Members, train: ImageSet, law: LogsnrRange, keep: Keep = unkept
) -> dict[str, np.ndarray]:
    """Arrays for the figure: `samples_0`, ... and their names, training images, all uint8 (n, h, w[, 3]).

    `keep` keeps the samples on their way, piece by piece.
    """
    if not config.samples:
        return {}
    found = {
        "train": _grid(train.images[torch.linspace(0, len(train) - 1, config.samples).round().long()]),
        "levels": np.array(train.levels),
        "seed": np.array(config.seed),
        "names": np.array(members.names()),
    }
    for index, (key, member) in enumerate(members.items()):
        x = draw(config, member, train, law, under(keep, key))
        pixels = ((x.clamp(-1, 1) + 1) * (train.levels - 1) / 2).round().to(torch.uint8)
        found[f"samples_{index}"] = _grid(pixels)
    return found


@torch.no_grad()
def draw(config: ImagesConfig, member: nn.Module, train: ImageSet, law: LogsnrRange, keep: Keep = unkept) -> Tensor:
    """Images in [-1, 1] by the reverse SDE on a line of log-SNRs, the last step being the denoiser's x_hat."""
    shape, device = (config.samples, *train.shape), train.images.device
    line = LogsnrLine(law.high, min(LOWEST, law.low))

    def score(z: Tensor, t: Tensor) -> Tensor:
        logsnr = line.t_to_logsnr(t)
        return -member(z, logsnr) / expand(logsnr_to_alpha_sigma(logsnr)[1], z)

    start = torch.randn(shape, generator=generator(config.seed, "prior")).to(device)
    noise = StepNoise([config.seed], "sampler", shape, device)

    def walk(z: Tensor, part: range) -> dict[str, Tensor]:
        steps = config.sample_steps
        return {"x": reverse_sde(score, line, z, 1.0, steps, lambda step: noise(step)[0], part=part)}

    z = start
    for kept in walk_in_pieces(keep, "samples", start, config.sample_steps, walk):
        z = kept["x"].to(start)
    last = torch.full((len(z),), line.high, device=device)
    alpha, sigma = (expand(part, z) for part in logsnr_to_alpha_sigma(last))
    return (z - sigma * member(z, last)) / alpha


def _grid(pixels: Tensor) -> np.ndarray:
    return pixels.permute(0, 2, 3, 1).squeeze(-1).cpu().numpy()
