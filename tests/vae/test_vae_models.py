"""The VAEs: shapes, members that share nothing, initial weights that are functions of the seed, the ELBO."""

import pytest
import torch

from infolab.nn.mlp import GaussianCode
from infolab.noise import generator
from vae.config import MODELS, VAEConfig
from vae.models import StackedMLP, build_decoder, build_vae

COLOUR = {"mix-logistics-dc": 3, "diagonal-gaussian-dc": 3, "constant-gaussian-dc": 3}


def config(model, **changes):
    return VAEConfig(model=model, features=2, latent=3, hidden=(9, 7), **changes)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_finite_elbo_and_gradients_for_all_parameters(model):
    shape = (COLOUR.get(model, 1), 32, 32)
    vae = build_vae(config(model), [0], shape, 256)
    x = (torch.rand(1, 4, *shape, generator=generator(0, "x")) < 0.5).float()
    eps = torch.randn(1, 4, 3, generator=generator(0, "eps"))
    loss = vae.negative_elbo(x, eps)
    assert loss.shape == (1, 4)
    loss.sum().backward()
    for name, parameter in vae.named_parameters():
        assert parameter.grad is not None, name
        assert bool(torch.isfinite(parameter.grad).all()), name
    z = torch.zeros(1, 2, 3)
    mean = vae.likelihood.mean(vae.decoder(z))
    assert mean.shape == (1, 2, *shape)
    assert float(mean.detach().min()) >= 0
    assert float(mean.detach().max()) <= 1


@pytest.mark.parametrize(("model", "parameters"), [("bernoulli-mlp", 1_332_256), ("bernoulli-dc", 1_447_936)])
def test_published_sizes(model, parameters):
    # 1024-512-256-2x16 and back, with biases; four convolutions F .. 8F, F = 32, without.
    vae = build_vae(VAEConfig(model=model), [0], (1, 32, 32), 2)
    if model == "bernoulli-dc":
        encoder = 16 * (1 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + 2 * (64 + 128 + 256) + (1024 + 1) * 32
        decoder = 4 * 16 * 256 + 16 * (256 * 128 + 128 * 64 + 64 * 32 + 32) + 2 * (256 + 128 + 64 + 32)
        parameters = encoder + decoder
    else:
        encoder = 1025 * 512 + 513 * 256 + 257 * 32
        parameters = encoder + 17 * 256 + 257 * 512 + 513 * 1024
    assert sum(item.numel() for item in vae.parameters()) == parameters


def test_weights_are_a_function_of_the_seed_and_members_start_as_they_would_alone():
    both, second = (build_vae(config("bernoulli-mlp"), seeds, (1, 4, 4), 2) for seeds in ([1, 2], [2]))
    for ours, alone in zip(both.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours[1:], alone)
        assert not torch.equal(ours[:1], alone)
    for model in ("bernoulli-dc", "mix-logistics-dc"):
        shape = (COLOUR.get(model, 1), 32, 32)
        first, again, other = (build_vae(config(model), [seed], shape, 256) for seed in (1, 1, 2))
        assert torch.equal(first.decoder.layers[1].weight, again.decoder.layers[1].weight)
        assert not torch.equal(first.decoder.layers[1].weight, other.decoder.layers[1].weight)


def test_a_batch_of_networks_computes_what_each_computes_alone():
    both = build_vae(config("bernoulli-mlp"), [1, 2], (1, 4, 4), 2)
    x = (torch.rand(2, 6, 1, 4, 4, generator=generator(0, "x")) < 0.5).float()
    eps = torch.randn(2, 6, 3, generator=generator(0, "eps"))
    loss = both.negative_elbo(x, eps)
    loss.sum().backward()
    for j, seed in enumerate((1, 2)):
        alone = build_vae(config("bernoulli-mlp"), [seed], (1, 4, 4), 2)
        mine = alone.negative_elbo(x[j : j + 1], eps[j : j + 1])
        torch.testing.assert_close(loss[j], mine[0])
        mine.sum().backward()
        for ours, theirs in zip(both.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(ours.grad[j], theirs.grad[0])


def test_kl_is_that_of_torch_distributions():
    mu, log_variance = torch.randn(2, 5, 3, generator=generator(0, "mu"), dtype=torch.float64).chunk(2, dim=0)
    code = GaussianCode(mu, log_variance)
    q = torch.distributions.Normal(mu, (0.5 * log_variance).exp())
    prior = torch.distributions.Normal(torch.zeros_like(mu), torch.ones_like(mu))
    torch.testing.assert_close(code.kl(), torch.distributions.kl_divergence(q, prior).sum(-1))


def test_an_untrained_decoder_is_another_one():
    vae = build_vae(config("bernoulli-mlp"), [1], (1, 4, 4), 2)
    other = build_decoder(config("bernoulli-mlp"), [7], (1, 4, 4))
    z = torch.ones(1, 2, 3)
    assert vae.decoder(z).shape == other(z).shape == (1, 2, 1, 4, 4)
    assert not torch.equal(vae.decoder(z), other(z))


def test_relu_between_layers_and_none_at_the_end():
    mlp = StackedMLP((2, 3, 1), [0])
    (w1, b1), (w2, b2) = mlp.member(0)
    x = torch.tensor([[[1.0, -2.0]]])
    torch.testing.assert_close(mlp(x)[0].detach(), torch.relu(x[0] @ w1 + b1) @ w2 + b2)
