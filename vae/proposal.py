"""The laws of z in importance sampling: the model's own encoder, or a second one with full covariance.

The second encoder starts as the model's and is trained for a fixed decoder on the training images, to the same ELBO;
its Gaussian has a full covariance matrix. It changes the variance of p_hat(x), never its mean.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from common.data import epoch_permutation
from common.networks.arithmetic import bf16_forward
from common.seeds import derive, generator
from vae.images import Inputs
from vae.likelihoods import Bernoulli
from vae.logpx import GaussianProposal
from vae.models import VAE, Flat

Proposal = Callable[[Tensor], GaussianProposal]
"""Images (n, c, h, w) -> q(z | x)."""

BATCH = 256
"""Images of one step of the second encoder's training."""
LR = 1e-3
"""Its learning rate at the start; it falls to 0 along a half cosine."""


def encoder_proposal(vae: VAE, member: int) -> Proposal:
    """q(z | x) of one member's own encoder (published)."""

    def outputs(x: Tensor) -> Tensor:
        if isinstance(vae.encoder, Flat):  # of several networks only this one is needed
            layers = vae.encoder.mlp.member(member)
            return (bf16_forward if vae.encoder.precision == "bf16" else _forward)(layers, x.flatten(1))
        return vae.encoder(x[None])[0]

    @torch.no_grad()
    def propose(x: Tensor) -> GaussianProposal:
        mu, log_variance = outputs(x).chunk(2, dim=1)
        return GaussianProposal(mu, torch.exp(0.5 * log_variance))

    return propose


class FullCovariance:
    """q(z | x) = N(mu, C C^T), C lower triangular, from an MLP encoder trained for one member's fixed decoder.

    Args:
        vae: Bernoulli MLP VAEs, of which `member` is taken.
        member: which.
        seed: seed of the training's noise and order.
    """

    def __init__(self, vae: VAE, member: int, seed: int):
        assert isinstance(vae.encoder, Flat)
        assert isinstance(vae.decoder, Flat)
        layers = vae.encoder.mlp.member(member)
        self.decoder = vae.decoder.mlp.member(member)
        self.latent = layers[-1][0].shape[1] // 2
        self.seed = seed
        self.lower = torch.tril_indices(self.latent, self.latent, -1, device=layers[0][0].device)
        extra = self.lower.shape[1]
        weight, bias = layers[-1]
        # The model's encoder with C diagonal is where it starts.
        layers[-1] = (
            torch.cat([weight, weight.new_zeros(len(weight), extra)], 1),
            torch.cat([bias, bias.new_zeros(extra)]),
        )
        self.parameters = [item.clone().requires_grad_() for layer in layers for item in layer]

    @torch.no_grad()
    def __call__(self, x: Tensor) -> GaussianProposal:
        """q(z | x) of images (n, c, h, w)."""
        return self._propose(x.flatten(1))

    def train(self, inputs: Inputs, rows: Tensor, epochs: int) -> int:
        """Minimise the negative ELBO on the images at `rows` of `inputs`; returns the number of images visited."""
        per_epoch = -(-len(rows) // BATCH)
        optimizer = torch.optim.Adam(self.parameters, lr=LR, fused=True)
        source = generator(self.seed, "proposal", "eps")
        for step in range(epochs * per_epoch):
            epoch, part = divmod(step, per_epoch)
            if part == 0:
                order = rows[epoch_permutation(len(rows), derive(self.seed, "proposal"), epoch)]
            index = order[part * BATCH : (part + 1) * BATCH]
            x = inputs.pixels[index].float().flatten(1)
            for group in optimizer.param_groups:
                group["lr"] = LR * 0.5 * (1 + math.cos(math.pi * step / (epochs * per_epoch)))
            eps = torch.randn(len(x), self.latent, generator=source).to(x)
            optimizer.zero_grad(set_to_none=True)
            self._negative_elbo(x, eps).mean().backward()
            optimizer.step()
        return epochs * len(rows)

    def _propose(self, x: Tensor) -> GaussianProposal:
        out = _forward(list(zip(self.parameters[::2], self.parameters[1::2], strict=True)), x)
        mu, log_variance, below = out.split([self.latent, self.latent, self.lower.shape[1]], dim=1)
        scale = torch.diag_embed(torch.exp(0.5 * log_variance))
        return GaussianProposal(
            mu, scale.index_put((torch.arange(len(x), device=x.device)[:, None], *self.lower), below)
        )

    def _negative_elbo(self, x: Tensor, eps: Tensor) -> Tensor:
        # E_q[log q - log p(z)] by its value at z, which is the lower-variance gradient here as well.
        q = self._propose(x)
        z = q.sample(eps[:, None])[:, 0]
        logits = _forward(self.decoder, z)
        log_p = Bernoulli().log_prob(logits[None], x[None])[0]
        return 0.5 * (z.square() - eps.square()).sum(1) - q.log_det() - log_p


def _forward(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    h = x
    for index, (weight, bias) in enumerate(layers):
        h = torch.addmm(bias, h, weight)
        if index < len(layers) - 1:
            h = h.relu_()
    return h
