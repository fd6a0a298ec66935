"""Importance-weighted log p(x) of a VAE with its effective sample size: proposals, decoding, estimate."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from infolab.data import epoch_permutation
from infolab.device import bf16_forward, to_double
from infolab.errors import UserError
from infolab.noise import derive, generator
from vae.images import Inputs
from vae.models import VAE, Bernoulli, Flat, Likelihood

# ----------
# log p(x | z) of one network for many codes per image: fused for the Bernoulli MLP, plain for the convolutions.

ROWS = 1024
"""Codes decoded at a time: the largest buffer, ROWS x 1024 pixels in float32, is 4 MB."""
GROUP = 32
"""Factors 1 + exp(-|l|), each in (1, 2], that are multiplied before a logarithm is taken: at most 2^32."""


class FusedBernoulli:
    """log p(x | z) = x . l - sum_i softplus(l_i), l = h W + b, for many z per image of one Bernoulli MLP.

    With softplus(l) = l / 2 + |l| / 2 + log(1 + exp(-|l|)) this is

        (x - 1/2) . l - sum_i |l_i| / 2 - sum_groups log prod_{i in group} (1 + exp(-|l_i|)).

    The images enter by h . (W y) + b . y, y = x - 1/2, a product over hidden units instead of pixels; a logarithm is
    taken once for a group of pixels, and one set of buffers serves all blocks of ROWS codes.

    Args:
        layers: weight (in, out) and bias (out,) of each decoder layer.
        rows: codes decoded at a time.
    """

    def __init__(self, layers: list[tuple[Tensor, Tensor]], rows: int = ROWS):
        self.layers, self.rows = layers, rows
        self.buffers = [weight.new_empty(rows, weight.shape[1]) for weight, _ in layers]

    @torch.no_grad()
    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), (n, N), of images x (n, ...) of zeros and ones and codes z (n, N, L)."""
        n, n_z, _ = z.shape
        weight, bias = self.layers[-1]
        y = x.reshape(n, -1).to(weight.dtype) - 0.5
        seen, constant = y @ weight.T, y @ bias  # W y and b . y of each image
        found = weight.new_empty(n, n_z)
        images, codes = max(1, self.rows // n_z), min(self.rows, n_z)
        for first in range(0, n, images):
            for start in range(0, n_z, codes):
                here = slice(first, first + images), slice(start, start + codes)
                found[here] = self._log_p(z[here], seen[first : first + images])
        return found + constant[:, None]

    def _log_p(self, z: Tensor, seen: Tensor) -> Tensor:
        """h . (W y) - sum_i (softplus(l_i) - l_i / 2) of some images and codes (g, c, L), (g, c)."""
        g, c, _ = z.shape
        h = z.reshape(g * c, -1)
        for (weight, bias), buffer in zip(self.layers[:-1], self.buffers[:-1], strict=True):
            h = torch.mm(h, weight, out=buffer[: g * c]).add_(bias).relu_()
        inner = torch.bmm(h.view(g, c, -1), seen[:, :, None])[..., 0]
        weight, bias = self.layers[-1]
        logits = torch.mm(h, weight, out=self.buffers[-1][: g * c]).add_(bias)
        return inner - _even_softplus(logits).view(g, c)


def _even_softplus(logits: Tensor) -> Tensor:
    """sum_i |l_i| / 2 + log(1 + exp(-|l_i|)) = sum_i softplus(l_i) - l_i / 2 of each row (overwritten)."""
    group = max(size for size in range(1, GROUP + 1) if logits.shape[1] % size == 0)
    negative = logits.copysign_(-1.0)
    half = -0.5 * negative.sum(1)
    factors = negative.exp_().add_(1)
    return half + factors.unflatten(1, (group, -1)).prod(1).log_().sum(1)


class PlainDecoder:
    """log p(x | z) of one network of a VAE by its decoder and likelihood; batch norm as in evaluation.

    Args:
        decode: codes (n, L) -> outputs (1, n, ...).
        likelihood: of the images given these outputs.
        rows: codes decoded at a time.
    """

    def __init__(self, decode: Callable[[Tensor], Tensor], likelihood: Likelihood, rows: int = ROWS):
        self.decode, self.likelihood, self.rows = decode, likelihood, rows

    @torch.no_grad()
    def __call__(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z), (n, N), of images x (n, c, h, w) and codes z (n, N, L)."""
        n, n_z, latent = z.shape
        image = torch.arange(n, device=z.device).repeat_interleave(n_z)
        parts = [
            self.likelihood.log_prob(self.decode(codes), x[rows][None])[0]
            for codes, rows in zip(z.reshape(-1, latent).split(self.rows), image.split(self.rows), strict=True)
        ]
        return torch.cat(parts).view(n, n_z)


def make_log_likelihood(vae: VAE, member: int) -> FusedBernoulli | PlainDecoder:
    """The fastest log p(x | z) of one member.

    Raises:
        UserError: a convolutional VAE has one member only.
    """
    if isinstance(vae.decoder, Flat):
        layers, shape = vae.decoder.mlp.member(member), vae.decoder.shape or ()
        if vae.decoder.precision != "bf16" and isinstance(vae.likelihood, Bernoulli):
            return FusedBernoulli(layers)
        return PlainDecoder(lambda codes: bf16_forward(layers, codes).view(1, -1, *shape), vae.likelihood)
    if member:
        raise UserError(f"a convolutional VAE is a batch of one network: there is no member {member}")
    return PlainDecoder(lambda codes: vae.decoder(codes[None]), vae.likelihood)


# ----------
# Importance-weighted log p(x) of a VAE with its effective sample size: a lower bound in expectation.
#
# log p_hat(x) = log (1/N) sum_k w_k, w_k = p(x | z_k) N(z_k; 0, I) / q(z_k | x), z_k ~ q(z | x) (Burda, Grosse and
# Salakhutdinov 2016). p_hat itself is unbiased. Weights are summed in float64.

NOISE_BLOCK = 16
"""Images whose noise is drawn together: image i's noise is a function of (seed, i), however many are evaluated."""

LogLikelihood = Callable[[Tensor, Tensor], Tensor]
"""(x (n, ...), z (n, N, L)) -> log p(x | z) (n, N)."""


@dataclass(frozen=True)
class LogPx:
    """The estimate for each image, float64 (n,).

    Attributes:
        value: log p_hat(x), nats.
        elbo: mean of log w_k, nats: the evidence lower bound with the same proposal.
        ess: effective sample size (sum w)^2 / sum w^2, in 1 .. N.
        n_z: N.
    """

    value: Tensor
    elbo: Tensor
    ess: Tensor
    n_z: int

    @property
    def se(self) -> Tensor:
        """Standard error of each value over independent z, sqrt(1/ess - 1/N) to first order (of p_hat / p)."""
        return (1 / self.ess - 1 / self.n_z).clamp(min=0).sqrt()

    @staticmethod
    def join(parts: list["LogPx"]) -> "LogPx":
        """The estimates of several blocks of images as one."""
        values, elbos, sizes = ([getattr(part, name) for part in parts] for name in ("value", "elbo", "ess"))
        return LogPx(torch.cat(values), torch.cat(elbos), torch.cat(sizes), parts[0].n_z)


@dataclass(frozen=True)
class GaussianProposal:
    """q(z | x) = N(mu, C C^T) of n images: mu (n, L), C lower triangular (n, L, L), or its diagonal (n, L)."""

    mu: Tensor
    scale: Tensor

    def sample(self, eps: Tensor) -> Tensor:
        """z = mu + C eps at standard normal eps (n, N, L)."""
        if self.scale.ndim == 2:
            return torch.addcmul(self.mu[:, None], self.scale[:, None], eps)
        return torch.baddbmm(self.mu[:, None], eps, self.scale.mT)

    def log_det(self) -> Tensor:
        """log |C|, (n,)."""
        diagonal = self.scale if self.scale.ndim == 2 else self.scale.diagonal(dim1=-2, dim2=-1)
        return diagonal.log().sum(-1)

    def take(self, rows: slice) -> "GaussianProposal":
        """The proposal of some of the images."""
        return GaussianProposal(self.mu[rows], self.scale[rows])


def importance_log_px(
    x: Tensor, proposal: GaussianProposal, eps: Tensor, log_likelihood: LogLikelihood, block: int = NOISE_BLOCK
) -> LogPx:
    """log p_hat(x) of images x (n, ...) from standard normal eps (n, N, L).

    log w = log p(x | z) + log N(z; 0, I) - log q(z | x) = log p(x | z) - |z|^2 / 2 + |eps|^2 / 2 + log |C|.

    Args:
        x: images as the decoder's likelihood takes them.
        proposal: q(z | x) of the same images.
        eps: noise; its rows are N(0, I), independent or not (shifted Sobol points).
        log_likelihood: the decoder.
        block: images decoded at a time.
    """
    parts = []
    for first in range(0, len(x), block):
        rows = slice(first, first + block)
        part, noise = proposal.take(rows), eps[rows]
        z = part.sample(noise)
        log_w = to_double(log_likelihood(x[rows], z))
        log_w += 0.5 * to_double(noise.square().sum(-1) - z.square().sum(-1)) + to_double(part.log_det())[:, None]
        parts.append(_summary(log_w))
    return LogPx.join(parts)


def _summary(log_w: Tensor) -> LogPx:
    n_z = log_w.shape[1]
    top = log_w.amax(1, keepdim=True)
    w = torch.exp(log_w - top)
    total = w.sum(1)
    value = top[:, 0] + total.log() - math.log(n_z)
    return LogPx(value, log_w.mean(1), total.square() / w.square().sum(1), n_z)


@dataclass(frozen=True)
class Points:
    """Standard normal points of the proposal, eps (n, N, L) of the images first .. first + n - 1.

    Attributes:
        kind: random (independent), or sobol: one Sobol set of N points for all images, shifted modulo 1 by an
            independent uniform vector for each image (Cranley and Patterson 1976): each point is exactly N(0, I), so
            p_hat stays unbiased, and the points of one image cover the space evenly.
        n_z: N.
        latent: L.
        seed: seed of the noise.
        stream: name of the noise; one name for networks that are to share it.
    """

    kind: str
    n_z: int
    latent: int
    seed: int
    stream: tuple[str | int, ...] = ()
    _sobol: dict[str, Tensor] = field(default_factory=dict, repr=False)

    def __call__(self, first: int, n: int) -> Tensor:
        """The points, float32 on the CPU.

        Raises:
            UserError: the first image is not at the start of a block of 16 (its noise would depend on the batch).
        """
        if first % NOISE_BLOCK:
            raise UserError(f"noise is drawn in blocks of {NOISE_BLOCK} images: start at a multiple of it, not {first}")
        blocks = [self._block(number) for number in range(first // NOISE_BLOCK, -(-(first + n) // NOISE_BLOCK))]
        return torch.cat(blocks)[:n]

    def _block(self, number: int) -> Tensor:
        source = generator(self.seed, "logpx", *self.stream, number)
        if self.kind == "random":
            return torch.randn(NOISE_BLOCK, self.n_z, self.latent, generator=source)
        shift = torch.rand(NOISE_BLOCK, 1, self.latent, generator=source)
        u = (self._sobol_points() + shift).remainder_(1.0)
        # Halves of float32's step keep both ends off 0 and 1; nothing else moves.
        return u.clamp_(2**-25, 1 - 2**-24).mul_(2).sub_(1).erfinv_().mul_(math.sqrt(2))

    def _sobol_points(self) -> Tensor:
        if "points" not in self._sobol:
            engine = torch.quasirandom.SobolEngine(self.latent, scramble=False)
            self._sobol["points"] = engine.draw(self.n_z)
        return self._sobol["points"]


# ----------
# The distributions of z in importance sampling: the model's own encoder, or a second one with full covariance.
#
# The second encoder starts as the model's and is trained for a fixed decoder on the training images, to the same ELBO;
# its Gaussian has a full covariance matrix. It changes the variance of p_hat(x), never its mean.

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
