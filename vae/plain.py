"""Chen, Zhu, Shkurti (2025), VAE half, and van den Burg, Williams (2021) in one file: bounds and memorization scores.

`python -m vae.plain` takes about 40 seconds on one core: a Bernoulli VAE on binarized digits, its ELBO, the bound on
its generalization, importance-weighted log p(x), and a small cross-validated grid of such VAEs with the memorization
score of every image. Fast path: `logpx.py`, `evaluate.py`, `infolab/memorization.py`; the test that both give the same
numbers: tests/vae/test_vae_plain.py. All results are in nats per image.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.distributions import MultivariateNormal
from torch.nn.functional import binary_cross_entropy

TRAIN = 1437  # of the 1,797 digits (the paper: 60,000 of MNIST); the others test
LATENT, HIDDEN = 16, (512, 256)
BATCH, LR = 64, 1e-3
EPOCHS = 60  # the paper: 100
N_Z = 64  # codes per image of log p(x); the paper: 256
K, L = 4, 2  # folds and repeats of the grid; the paper: 10 and 10
SEED = 0


class VAE(nn.Module):
    """The Bernoulli MLP VAE: d-512-256-2L, L-256-512-d with sigmoid outputs."""

    def __init__(self, d: int, latent: int = LATENT, hidden: Sequence[int] = HIDDEN):
        super().__init__()
        self.latent = latent
        self.encoder = nn.Sequential(nn.Flatten(), *_layers([d, *hidden]))
        self.mu, self.log_variance = nn.Linear(hidden[-1], latent), nn.Linear(hidden[-1], latent)
        self.decoder = nn.Sequential(*_layers([latent, *reversed(hidden)]), nn.Linear(hidden[0], d), nn.Sigmoid())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of q(z | x), (n, L) each."""
        h = self.encoder(x)
        return self.mu(h), self.log_variance(h)

    def log_p(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x | z) of images (n, ...) and codes (n, L), (n,)."""
        return -binary_cross_entropy(self.decoder(z), x.flatten(1), reduction="none").sum(1)

    def terms(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """REC = -log p(x | z) and KL(q(z | x) || N(0, I)) of each image, (n,), and the code z = mu + sigma eps (n, L).

        The ELBO is -(REC + KL).
        """
        mu, log_variance = self.encode(x)
        z = mu + torch.exp(0.5 * log_variance) * eps
        return -self.log_p(x, z), -0.5 * (1 + log_variance - mu.pow(2) - log_variance.exp()).sum(1), z


def _layers(sizes: Sequence[int]) -> Iterator[nn.Module]:
    for fan_in, fan_out in itertools.pairwise(sizes):
        yield nn.Linear(fan_in, fan_out)
        yield nn.ReLU(True)


def train(
    vae: VAE, optimizer: torch.optim.Optimizer, batches: Iterable[Tensor], source: torch.Generator
) -> list[float]:
    """One Adam step on the negative ELBO, summed over each batch of images; returns the losses per image."""
    losses = []
    for x in batches:
        optimizer.zero_grad()
        rec, kl, _ = vae.terms(x, torch.randn(len(x), vae.latent, generator=source))
        loss = (rec + kl).sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() / len(x))
    return losses


def epoch(grey: Tensor, source: torch.Generator) -> Iterator[Tensor]:
    """Batches of the images (n, d) in [0, 1] in random order, black and white pixels drawn anew, as published."""
    for rows in torch.randperm(len(grey), generator=source).split(BATCH):
        yield torch.bernoulli(grey[rows], generator=source)


def new_vae(d: int, seed: int) -> VAE:
    """A VAE with initial weights of its own seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VAE(d)


def train_vae(grey: Tensor, seed: int) -> VAE:
    """A VAE trained on the images (n, d) for EPOCHS epochs."""
    source, vae = torch.Generator().manual_seed(seed), new_vae(grey.shape[1], seed)
    optimizer = torch.optim.Adam(vae.parameters(), lr=LR)
    for _ in range(EPOCHS):
        train(vae, optimizer, epoch(grey, source), source)
    return vae.requires_grad_(False)


def bound(rec: Tensor, kl: Tensor, factor: float, mi: float = 0.0, m: int = 1) -> tuple[float, float]:
    """REC + factor sqrt(KL) + factor sqrt(MI/m), means over images (n,), and its standard error over them.

    Chen et al., section 5: factor 2 and the mutual information of decoder and training set (m images); the previous
    bound and the curve on test images: factor 1 without the last term. Error to first order in the mean of the KL.
    """
    root = math.sqrt(float(kl.mean()))
    se = float((rec + factor / (2 * root) * kl).std()) / math.sqrt(len(rec))
    return float(rec.mean()) + factor * (root + math.sqrt(max(mi, 0.0) / m)), se


@torch.no_grad()
def log_px(vae: VAE, x: Tensor, n_z: int, eps: Tensor) -> Tensor:
    """log (1/N_z) sum_k p(x | z_k) N(z_k; 0, I) / q(z_k | x) of images x (n, ...), (n,): a lower bound in expectation.

    The codes are z_k = mu + sigma eps_k, with noise eps (n_z, n, L).
    """
    mu, log_variance = vae.encode(x)
    prior = MultivariateNormal(torch.zeros(vae.latent), torch.eye(vae.latent))
    posterior = MultivariateNormal(mu, scale_tril=torch.diag_embed(torch.exp(0.5 * log_variance)))
    z = mu + torch.exp(0.5 * log_variance) * eps
    log_p = vae.log_p(x.repeat(n_z, *[1] * (x.ndim - 1)), z.flatten(0, 1)).view(n_z, len(x))
    return torch.logsumexp(log_p + prior.log_prob(z) - posterior.log_prob(z), 0) - math.log(n_z)


def memorization(logpx: Tensor, inside: Tensor) -> Tensor:
    """M_i = logmeanexp over networks trained on image i minus that over the others, (n,), of log p(x_i) (networks, n).

    `inside` (networks, n) is true where the network was trained on the image (van den Burg, Williams, section 3.2).
    """
    sides = []
    for side in (inside, ~inside):
        sides.append(torch.logsumexp(logpx.masked_fill(~side, -math.inf), 0) - side.sum(0).to(logpx).log())
    return sides[0] - sides[1]


def grid(grey: Tensor, x: Tensor, source: torch.Generator) -> tuple[Tensor, Tensor]:
    """log p(x) (K L, n) of the drawn images x under VAEs that hold out one fold each, and which had which inside."""
    logpx, inside = [], []
    for _ in range(L):
        folds = torch.randperm(len(grey), generator=source) % K
        for fold in range(K):
            inside.append(folds != fold)
            vae = train_vae(grey[inside[-1]], SEED + len(inside))
            logpx.append(log_px(vae, x, N_Z, torch.randn(N_Z, len(x), vae.latent, generator=source)))
    return torch.stack(logpx), torch.stack(inside)


def main() -> dict[str, tuple[float, float]]:
    """Print and return the values and their standard errors, nats per image."""
    source = torch.Generator().manual_seed(SEED)
    digits = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    grey, unseen = digits[torch.randperm(len(digits), generator=source)].tensor_split([TRAIN])
    x, test = torch.bernoulli(grey, generator=source), torch.bernoulli(unseen, generator=source)
    vae, untrained = train_vae(grey, SEED), new_vae(x.shape[1], SEED + 1000).requires_grad_(False)
    rec, kl, z = vae.terms(x, torch.randn(len(x), LATENT, generator=source))
    test_rec, test_kl, _ = vae.terms(test, torch.randn(len(test), LATENT, generator=source))
    mi = float((-rec - untrained.log_p(x, z)).mean())
    logpx, inside = grid(grey, x, source)
    scores = memorization(logpx, inside)
    values = {
        "ELBO, training images": mean_and_se(-rec - kl),
        "ELBO, test images": mean_and_se(-test_rec - test_kl),
        "log p(x), test images": mean_and_se(
            log_px(vae, test, N_Z, torch.randn(N_Z, len(test), LATENT, generator=source))
        ),
        "bound of Chen et al., MI by an untrained decoder": bound(rec, kl, 2.0, mi, len(x)),
        "bound of Chen et al., MI = mean memorization score": bound(rec, kl, 2.0, float(scores.mean()), len(x)),
        "previous bound": bound(rec, kl, 1.0),
        "REC + sqrt(KL), test images": bound(test_rec, test_kl, 1.0),
        "memorization score, mean": mean_and_se(scores),
    }
    print(f"Binarized digits, {len(x)} training images, {EPOCHS} epochs, N_z = {N_Z}, K = {K}, L = {L}; nats per image")
    for name, (value, se) in values.items():
        print(f"  {name:52} {value:7.3f} +- {se:.3f}")
    print(f"  {'memorization score, 0.95 quantile':52} {float(scores.quantile(0.95)):7.3f}")
    print("The paper: bound of Chen et al. above the test curve, previous bound below it as training goes on (MNIST,")
    print("epoch 100: 83.3, 81.0, 78.5); a few images have scores far above the mean (0.95 quantile 14.5).")
    return values


def mean_and_se(values: Tensor) -> tuple[float, float]:
    """Mean and standard error of values (n,)."""
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


if __name__ == "__main__":
    main()
