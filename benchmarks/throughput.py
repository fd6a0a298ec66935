"""`python -m benchmarks.throughput --device cuda`: images a second in training and in the evaluation of the NLL.

The image study's U-Net (`--network`), on drawn pixels: what a device does, to set beside `--dry-run` and other devices.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.commands import Parser, check_writable, provenance
from diffusion.image_model import ImageConfig, ImageObjective, ImageScore
from infolab.data import ImageSet
from infolab.data.images import LogitTransform
from infolab.denoise import Denoiser
from infolab.device import PRECISIONS, describe, pick_device, set_arithmetic, set_up
from infolab.errors import run_main
from infolab.immse import GaussianReference, LogsnrRange, make_grid, measure_curve
from infolab.nn.unet import NETWORKS, UNet
from infolab.noise import generator
from infolab.results import write
from infolab.results.tables import Throughput
from infolab.schedules import VP

REPEATS = 5
POINTS = 8  # log-SNR points of a curve
LEVELS = 256


def main() -> None:
    """Measure in each precision that is asked for, print and keep the rows."""
    parser = Parser(prog="python -m benchmarks.throughput", description=__doc__)
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto")
    parser.add_argument("--network", default="mnist", choices=sorted(NETWORKS), help="size of the U-Net")
    parser.add_argument("--batch", type=int, default=128, help="images of a step and of a network call")
    parser.add_argument("--steps", type=int, default=20, help="steps of one repetition")
    parser.add_argument("--precisions", default="fp32,tf32,bf16", help="which, separated by commas")
    parser.add_argument("--compile", action="store_true", help="compile the network")
    parser.add_argument("--results-dir", type=Path, default=Path("results"), help="folder of the tables")
    options = parser.parse_args()
    for precision in options.precisions.split(","):
        if precision not in PRECISIONS:
            parser.error(f"unknown precision '{precision}': choose among {', '.join(PRECISIONS)}")
    check_writable(options.results_dir / "bench")
    rows = []
    for precision in options.precisions.split(","):
        config = ImageConfig(
            dataset="mnist", network=options.network, batch=options.batch, m=0, precision=precision,
            compile=options.compile, device=options.device,
        )  # fmt: skip
        rows += measure(config, options.steps)
    record = provenance("bench", "throughput", {"steps": options.steps, "repeats": REPEATS})
    print("written to", write(options.results_dir, Throughput, "throughput", rows, record))


def measure(config: ImageConfig, steps: int) -> list[Throughput]:
    """Both rows of one precision."""
    set_up(config)
    device = pick_device(config.device)
    name = describe(config).removeprefix("device: ").split(", ")[0]
    network = UNet(config.unet(), 0)
    shape = (4 * config.batch, network.config.in_channels, *[network.config.image_size] * 2)
    pixels = torch.randint(LEVELS, shape, generator=generator(0, "pixels"), dtype=torch.uint8)
    images = ImageSet("mnist", "train", pixels, LEVELS).to(device)
    score = ImageScore(network, VP(), config.parametrization).to(device)
    set_arithmetic(score, config)
    rows = []
    for work, run, count in (
        ("train", _training(config, score, images), steps * config.batch),
        ("nll", _curves(config, score, images), len(images) * POINTS),
    ):
        run(steps)  # warm-up, and compilation
        rates = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            run(steps)
            rates.append(count / (time.perf_counter() - start))
        row = Throughput(
            work=work, setting=f"unet[{config.network}], batch {config.batch}", device=name,
            precision=config.precision, compiled=config.compile, images_per_second=statistics.median(rates),
            images_per_second_low=min(rates), images_per_second_high=max(rates),
            parameters=sum(item.numel() for item in network.parameters()),
        )  # fmt: skip
        print(f"{work:6} {row.setting}, {config.precision}: {row.images_per_second:,.0f} images/s on {name}")
        rows.append(row)
    return rows


def _training(config: ImageConfig, score: ImageScore, images: ImageSet) -> Callable[[int], None]:
    objective = ImageObjective(config, score, images, LogitTransform(LEVELS, config.logit_A))
    optimizer = torch.optim.Adam(score.parameters(), lr=config.lr, fused=True)
    done = 0

    def run(steps: int) -> None:
        nonlocal done
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            loss = objective(done)
            loss.backward()
            optimizer.step()
            done += 1
        float(loss.detach())  # waits for the device

    return run


def _curves(config: ImageConfig, score: ImageScore, images: ImageSet) -> Callable[[int], None]:
    x = images.images.float() / 127.5 - 1
    reference = GaussianReference.fit(x, diagonal=True, floor=1e-6)
    grid = make_grid(LogsnrRange(0.0, 3.0), POINTS, "deterministic", 0)

    denoiser = Denoiser.of_eps(lambda z, logsnr: score.network(z, torch.sigmoid(-logsnr)))

    def run(steps: int) -> None:
        with torch.no_grad():
            measure_curve(denoiser, x, grid, reference, batch=config.batch)

    return run


if __name__ == "__main__":
    run_main(main)
