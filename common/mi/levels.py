"""Where on the log-SNR axis the noise is drawn: a density that follows the size of the learned correction."""

import torch
from torch import Tensor

BINS = 24
UNIFORM = 0.3
"""Share of the draws that stays uniform, so that no log-SNR is left out."""


class Levels:
    """A piecewise constant density of log-SNR on (low, high), at first uniform.

    Args:
        low: lower end.
        high: upper end.
        device: where log-SNRs are.
    """

    def __init__(self, low: float, high: float, device: torch.device | str = "cpu"):
        self.low, self.high = low, high
        self.masses = torch.full((BINS,), 1 / BINS, device=device)
        self._size, self._count = torch.zeros(2, BINS, device=device)

    def quantile(self, u: Tensor) -> Tensor:
        """The log-SNR below which a share u of the draws lies; any shape."""
        edges = torch.cat([self.masses.new_zeros(1), self.masses.cumsum(0)])
        place = torch.searchsorted(edges, u.contiguous(), right=True).clamp(1, BINS) - 1
        within = ((u - edges[place]) / self.masses[place]).clamp(0, 1)
        return self.low + (place + within) * (self.high - self.low) / BINS

    def density(self, a: Tensor) -> Tensor:
        """Density of the draws at log-SNRs a."""
        return self.masses[self.bin(a)] * BINS / (self.high - self.low)

    def bin(self, a: Tensor) -> Tensor:
        """The bin of each log-SNR."""
        return ((a - self.low) * (BINS / (self.high - self.low))).long().clamp(0, BINS - 1)

    def look(self, a: Tensor, correction: Tensor) -> None:
        """Take the size of corrections (k, n, d) at log-SNRs a (k, n) into account at the next `freeze`."""
        place = self.bin(a).flatten()
        self._size.index_add_(0, place, correction.square().sum(-1).flatten())
        self._count.index_add_(0, place, torch.ones(place.shape, device=place.device))

    def freeze(self) -> None:
        """Draw from now on in proportion to the root mean square of the corrections seen since the last call."""
        size = (self._size / self._count.clamp(min=1)).sqrt()
        total = size.sum()
        if float(total) > 0:
            self.masses = UNIFORM / BINS + (1 - UNIFORM) * size / total
        self._size, self._count = torch.zeros_like(self._size), torch.zeros_like(self._count)


def strata(k: int, n: int, source: torch.Generator) -> Tensor:
    """Uniform numbers (k, n) on the CPU, one in each n-th of (0, 1), in increasing order."""
    return (torch.arange(n) + torch.rand(k, n, generator=source)) / max(n, 1)
