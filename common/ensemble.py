"""Many small networks of one size, trained and evaluated as one batch of matrix products."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.networks.mlp import MLP, initial_layers


class EnsembleMLP(nn.Module):
    """k independent MLPs of the same layer sizes; member i computes what `MLP(sizes, seeds[i])` computes.

    Weights are (k, in, out), so a layer of all members is one batched matrix product. The members share nothing:
    the gradient of the sum of their losses is each one's own gradient, and elementwise optimisers (Adam, SGD without
    clipping) treat them as if alone.

    Args:
        sizes: layer sizes, d + 1 first (point and time), d last.
        seeds: one seed of the initial weights per member (k,).
    """

    def __init__(self, sizes: tuple[int, ...], seeds: Sequence[int]):
        super().__init__()
        self.sizes = tuple(sizes)
        members = [initial_layers(self.sizes, seed) for seed in seeds]
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for layer in zip(*members, strict=True):
            self.weights.append(nn.Parameter(torch.stack([weight for weight, _ in layer])))
            self.biases.append(nn.Parameter(torch.stack([bias for _, bias in layer])[:, None]))

    def __len__(self) -> int:
        return self.weights[0].shape[0]

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Outputs (k, n, d) at points x (k, n, d) and times t (k, n), member by member."""
        h = torch.cat([x, t[..., None]], dim=-1)
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = torch.baddbmm(bias, h, weight)
            if index < last:
                h = F.silu(h)
        return h

    @torch.no_grad()
    def value_and_divergence(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs (k, n, d) and their exact divergence sum_j d out_j / d x_j (k, n), by forward differentiation.

        The d tangents ride through the hidden layers as d more batches of rows: about 1 + d forward passes, and no
        graph is kept.
        """
        k, n, d = x.shape
        h = torch.cat([x, t[..., None]], dim=-1)
        tangent = None
        for weight, bias in list(zip(self.weights, self.biases, strict=True))[:-1]:
            z = torch.baddbmm(bias, h, weight)
            if tangent is None:
                # d z / d x_j is row j of the first weight, the same at every point.
                moved = weight[:, :d, None, :].expand(k, d, n, weight.shape[-1])
            else:
                moved = torch.bmm(tangent.reshape(k, d * n, -1), weight).view(k, d, n, -1)
            gate = torch.sigmoid(z)
            slope = torch.addcmul(gate, z, gate * (1 - gate))
            h, tangent = z * gate, moved * slope[:, None]
        out = torch.baddbmm(self.biases[-1], h, self.weights[-1])
        assert tangent is not None  # there is at least one hidden layer
        divergence = torch.einsum("kjnh,khj->kn", tangent, self.weights[-1])
        return out, divergence

    def select(self, members: Sequence[int]) -> "EnsembleMLP":
        """A new batch of the named members, with copies of their present weights."""
        chosen = EnsembleMLP(self.sizes, [0] * len(members))
        index = torch.as_tensor(list(members), device=self.weights[0].device)
        chosen.to(self.weights[0])  # its device and type
        with torch.no_grad():
            for ours, theirs in zip(chosen.parameters(), self.parameters(), strict=True):
                ours.copy_(theirs[index])
        return chosen

    def member(self, index: int) -> MLP:
        """Member `index` as a plain MLP with copies of its present weights."""
        alone = MLP(self.sizes, 0).to(self.weights[0])
        with torch.no_grad():
            for ours, theirs in zip(alone.parameters(), self.parameters(), strict=True):
                ours.copy_(theirs[index].reshape(ours.shape))
        return alone
