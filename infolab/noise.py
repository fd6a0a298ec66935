"""All randomness: named streams of one seed, and noise that is a function of (seed, step or point, example)."""

import hashlib
import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor, nn

from infolab.errors import UserError, check_choice

# ----------
# All randomness of a run flows from one recorded seed through named streams.


def derive(seed: int, *stream: str | int) -> int:
    """Return a 63-bit seed for the stream named by `stream`, a function of its arguments only.

    Streams with different names are independent for all practical purposes (BLAKE2b of the name), so noise can be a
    function of (seed, step, sample index) and never of the batch size, the resume point or who drew before.

    >>> derive(0, "noise", 3) == derive(0, "noise", 3), derive(0, "noise", 3) == derive(0, "noise", 4)
    (True, False)
    """
    text = "/".join(str(part) for part in (int(seed), *stream))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(seed: int, *stream: str | int, device: str | torch.device = "cpu") -> torch.Generator:
    """Return a fresh `torch.Generator` at the start of the stream named by `stream` (see `derive`)."""
    return torch.Generator(device=device).manual_seed(derive(seed, *stream))


# ----------
# The noise of a curve: a function of (seed, example, log-SNR point), spread evenly along the curve by default.

BLOCK = 64
"""Examples whose noise comes from one stream; example i has row i % BLOCK of stream i // BLOCK."""
KINDS = ("quasi", "independent", "shared")


def curve_noise(kind: str, shape: tuple[int, ...], first: int, points: Tensor, total: int, seed: int) -> Tensor:
    """Standard normal noise of examples first .. first + n - 1 at some points of the curve, (n, points, d) float32.

    quasi: eps_ij = Phi^-1(frac(q_j + r_i)), q_j the Sobol sequence in d dimensions along the curve and r_i uniform
    (Cranley and Patterson 1976). Each eps_ij is exactly normal, but along the curve the noise of one example is spread
    evenly, so that the integral over the curve averages it better than independent draws. independent: a draw per
    point. shared: one draw per example for the whole curve, (n, 1, d); errors of neighbouring points then add up.

    Args:
        kind: one of `KINDS`.
        shape: (n, d).
        first: index of the first example in its data set.
        points: indices j of the points (int64).
        total: J, points of the whole curve.
        seed: of everything.

    Raises:
        UserError: an unknown kind.
    """
    n, d = shape
    check_choice("noise", kind, KINDS)
    if kind == "independent":
        drawn = [_rows(seed, f"point {j}", n, d, first, normal=True) for j in points.tolist()]
        return torch.stack(drawn, 1)
    if kind == "shared":
        return _rows(seed, "shared", n, d, first, normal=True)[:, None]
    shift = _rows(seed, "shift", n, d, first, normal=False)
    u = torch.frac(_sobol_along_a_curve(d, total, seed)[points] + shift[:, None])
    # Float32 uniforms are multiples of 2^-24: the ends are moved in by half of that.
    return torch.special.ndtri(u.clamp(2.0**-25, 1 - 2.0**-24))


def blocks(n: int, size: int, first: int = 0) -> Iterator[slice]:
    """Slices of about `size` examples, cut where the noise streams of a data set begin."""
    step = max(1, size // BLOCK) * BLOCK
    start = 0
    while start < n:
        stop = min(n, (first + start) // step * step + step - first)
        yield slice(start, stop)
        start = stop


def _rows(seed: int, stream: str, n: int, d: int, first: int, *, normal: bool) -> Tensor:
    parts, draw = [], torch.randn if normal else torch.rand
    for block in range(first // BLOCK, (first + n - 1) // BLOCK + 1):
        rows = draw(BLOCK, d, generator=generator(seed, "immse", stream, block))
        parts.append(rows[max(0, first - block * BLOCK) : first + n - block * BLOCK])
    return torch.cat(parts)


def sobol(d: int, total: int, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The first `total` points of a scrambled Sobol sequence in d dimensions, (total, d).

    The sequence is known in 21,201 dimensions. More are taken in blocks of that size, each with a scrambling of its
    own: every coordinate is then as evenly spread along the curve, and coordinates of different blocks are as random
    draws to each other.

    Args:
        d: dimensions, any number.
        total: points.
        seed: of the scrambling.
        dtype: float32 or float64.
    """
    parts = []
    for first in range(0, d, torch.quasirandom.SobolEngine.MAXDIM):
        own = seed if first == 0 else derive(seed, "sobol", first) % 2**31
        size = min(torch.quasirandom.SobolEngine.MAXDIM, d - first)
        parts.append(torch.quasirandom.SobolEngine(size, scramble=True, seed=own).draw(total, dtype=dtype))
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


@lru_cache(maxsize=4)
def _sobol_along_a_curve(d: int, total: int, seed: int) -> Tensor:
    return sobol(d, total, derive(seed, "immse", "sobol") % 2**31)


# ----------
# Noise of the samplers as a function of (seed, step, sample index), never of the batch.


class StepNoise:
    """Standard normal noise that is a function of (seed, step, sample index) alone.

    Args:
        seeds: one seed per member of a batch of networks (k,); the noise of step i is then (k, n, *event).
        stream: name of the stream, so that training, sampling and evaluation never share noise.
        shape: (n, *event), the samples of one member.
    """

    BLOCK = 32  # steps drawn at a time: one generator call instead of 32, the same numbers whoever asks

    def __init__(self, seeds: list[int], stream: str, shape: tuple[int, ...], device: torch.device | str = "cpu"):
        self.seeds, self.stream, self.shape, self.device = seeds, stream, shape, device
        self._block = -1
        self._noise = torch.empty(0)

    def __call__(self, step: int) -> Tensor:
        """Noise (k, n, *event) of this step, on the device."""
        block, within = divmod(step, self.BLOCK)
        if block != self._block:
            n, *event = self.shape
            drawn = [
                # Samples first, so that the noise of sample i does not depend on how many are drawn.
                torch.randn(n, self.BLOCK, *event, generator=generator(seed, self.stream, block)).transpose(0, 1)
                for seed in self.seeds
            ]
            self._noise = torch.stack(drawn, dim=1).to(self.device)
            self._block = block
        return self._noise[within]


class SampleNoise:
    """Noise of one network's samples, a function of (seed, stream, jump, sample index) alone.

    Samples drawn in batches are those drawn at once: give each batch the index of its first sample.

    Args:
        seed: seed of the samples.
        stream: name of the stream.
        n: samples of this batch.
        event: shape of one sample.
        first: index of the batch's first sample among all.

    Raises:
        UserError: a negative index or no samples.

    >>> whole, part = SampleNoise(0, "samples", 40, (2,)), SampleNoise(0, "samples", 5, (2,), first=30)
    >>> torch.equal(whole(7)[30:35], part(7)), torch.equal(whole.start()[30:35], part.start())
    (True, True)
    """

    SAMPLES, JUMPS = 16, 8  # drawn by one generator

    def __init__(
        self,
        seed: int,
        stream: str,
        n: int,
        event: tuple[int, ...],
        first: int = 0,
        device: torch.device | str = "cpu",
    ):
        if n < 1 or first < 0:
            raise UserError(f"n={n} samples from index {first}: expected at least 1 sample, from index 0 on")
        self.seed, self.stream, self.n, self.event, self.first, self.device = seed, stream, n, event, first, device
        self._block = -1
        self._noise = torch.empty(0)

    def start(self) -> Tensor:
        """Standard normal x_T (n, *event), on the device."""
        return self._draw("start", 1)[0]

    def __call__(self, jump: int) -> Tensor:
        """Noise (n, *event) of this jump of the sampler, on the device."""
        block, within = divmod(jump, self.JUMPS)
        if block != self._block:
            self._noise, self._block = self._draw(block, self.JUMPS), block
        return self._noise[within]

    def _draw(self, name: str | int, count: int) -> Tensor:
        """Noise (count, n, *event): whole blocks of samples, cut to those of this batch."""
        low, high = self.first // self.SAMPLES, (self.first + self.n - 1) // self.SAMPLES
        drawn = [
            torch.randn(self.SAMPLES, count, *self.event, generator=generator(self.seed, self.stream, name, block))
            for block in range(low, high + 1)
        ]
        start = self.first - low * self.SAMPLES
        return torch.cat(drawn)[start : start + self.n].transpose(0, 1).to(self.device)


# ----------
# Initial weights as a function of a seed and of each parameter's name, never of the global random state.

# A transposed convolution's weight is (in, out, ...): weight[0] has PyTorch's own idea of its fan-in.
_LAYERS_WITH_FAN_IN = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)
_NORMS = (nn.GroupNorm, nn.LayerNorm, nn.modules.batchnorm._BatchNorm)


@torch.no_grad()
def initialise_(module: nn.Module, seed: int) -> None:
    """Draw every parameter of `module` from PyTorch's default distributions, each from its own named stream.

    Linear and convolution weights and biases: U(-1/sqrt(fan_in), 1/sqrt(fan_in)), which is what PyTorch's
    `kaiming_uniform_(a=sqrt(5))` comes to. Normalisation layers: weight 1, bias 0. A parameter called `name` is drawn
    from `generator(seed, "init", name)`, on the CPU in float32, so that the weights do not depend on the device, the
    order of construction or the presence of other parameters.

    Raises:
        UserError: a parameter belongs to a kind of layer that is not listed above.
    """
    for prefix, layer in module.named_modules():
        for name, parameter in layer.named_parameters(prefix=prefix, recurse=False):
            if isinstance(layer, _NORMS):
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            elif isinstance(layer, _LAYERS_WITH_FAN_IN):
                bound = 1 / math.sqrt(layer.weight[0].numel())
                drawn = torch.rand(parameter.shape, generator=generator(seed, "init", name), device="cpu")
                parameter.copy_(drawn * (2 * bound) - bound)
            else:
                raise UserError(
                    f"no initial distribution is known for '{name}' of a {type(layer).__name__}: "
                    "use linear, convolution and normalisation layers"
                )


@torch.no_grad()
def zero_(layer: nn.Module) -> None:
    """Set every parameter of `layer` to 0, so that the branch it ends starts as the zero function."""
    for parameter in layer.parameters():
        parameter.zero_()
