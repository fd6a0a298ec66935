"""The batched networks: fused loss against autograd, members alone and together, slopes, the theorem's model."""

import math

import pytest
import torch

from infolab.errors import UserError
from scoregen import network as module
from scoregen.network import ScoreNetworks, frozen_features


def batch(k, n, seed=0):
    source = torch.Generator().manual_seed(seed)
    x, eps = (torch.randn(k, n, generator=source, dtype=torch.float64) for _ in range(2))
    t, sigma = (torch.rand(k, n, generator=source, dtype=torch.float64) for _ in range(2))
    return x, t, sigma, eps


def stacked(k, n):
    x, t, sigma, eps = batch(k, n)
    return module.stack_inputs(x, t), sigma[..., None], eps[..., None]


def networks(kind="swish", width=13, seeds=(0, 1, 2), scaling="sqrt"):
    model = ScoreNetworks(width, seeds, kind, scaling).double()
    if kind == "features":  # A starts at 0, where nothing can be seen
        torch.nn.init.uniform_(model.out, -1, 1, generator=torch.Generator().manual_seed(3))
    return model


def gradients(model, loss):
    model.zero_grad()
    loss.sum().backward()
    return [item.grad.clone() for item in model.parameters()]


@pytest.mark.parametrize("kind", ["swish", "features"])
@pytest.mark.parametrize(("block", "small"), [(1 << 17, 1 << 16), (1 << 17, 0), (64, 0), (150, 0), (30, 0)])
def test_fused_loss_and_gradients_are_those_of_autograd(monkeypatch, kind, block, small):
    monkeypatch.setattr(module, "BLOCK", block)  # one block, whole networks, parts of a network
    monkeypatch.setattr(module, "SMALL", small)
    model, (x, t, sigma, eps) = networks(kind), batch(3, 11)
    plain = (sigma * model(x, t) + eps).square().mean(1)
    expected = gradients(model, plain)
    fused = model.loss(*stacked(3, 11))
    torch.testing.assert_close(fused, plain.detach(), rtol=1e-12, atol=1e-12, check_layout=False)
    for ours, theirs in zip(gradients(model, fused), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_gradcheck_of_the_fused_loss():
    model, data = networks(width=4, seeds=(0, 1)), stacked(2, 3)

    def loss(hidden, out):
        return module._FusedLoss.apply(hidden, out, "swish", model.scale, None, *data)

    assert torch.autograd.gradcheck(loss, (model.hidden, model.out))


def test_members_that_are_left_out_cost_and_get_nothing():
    model, data = networks(), stacked(3, 7)
    whole = gradients(model, model.loss(*data))
    loss = model.loss(*data, [0, 2])
    assert float(loss[1].detach()) == 0
    for all_three, two in zip(whole, gradients(model, loss), strict=True):
        assert torch.equal(two[[0, 2]], all_three[[0, 2]])
        assert not two[1].any()


def test_a_network_that_has_overflowed_leaves_the_others_alone():
    model, data = networks(), stacked(3, 7)
    whole = gradients(model, model.loss(*data))
    with torch.no_grad():
        model.out[1] = float("nan")
    loss = model.loss(*data)
    assert torch.isfinite(loss).all()
    assert float(loss[1].detach()) == 0
    for before, after in zip(whole, gradients(model, loss), strict=True):
        assert torch.equal(before[[0, 2]], after[[0, 2]])
        assert not after[1].any()


def test_a_member_alone_starts_where_it_starts_in_the_batch():
    x, t, *_ = batch(3, 5)
    for kind in ("swish", "features"):
        alone = ScoreNetworks(6, [1], kind)
        assert torch.equal(alone.hidden[0], ScoreNetworks(6, [0, 1, 2], kind).hidden[1])
    model = networks(seeds=(4, 5, 6))
    torch.testing.assert_close(networks(seeds=(5,))(x[1:2], t[1:2]), model(x, t)[1:2])


def test_both_scalings_start_as_the_same_function():
    x, t, *_ = batch(3, 5)
    torch.testing.assert_close(networks(scaling="sqrt")(x, t), networks(scaling="standard")(x, t), rtol=1e-6, atol=1e-7)


def test_the_formula():
    model, (x, t, *_) = networks(width=5, seeds=(7,)), batch(1, 4)
    w, u, b = model.hidden[0]
    z = x[0, :, None] * w + t[0, :, None] * u + b
    by_hand = (z * torch.sigmoid(z)) @ model.out[0, :, 0] / math.sqrt(5)
    torch.testing.assert_close(model(x, t)[0], by_hand)
    features = networks("features", width=5, seeds=(7,))
    w, u, b = features.hidden[0]
    by_hand = (x[0, :, None] * w + t[0, :, None] * u + b).relu() @ features.out[0, :, 0] / 5
    torch.testing.assert_close(features(x, t)[0], by_hand)
    assert not any(name == "hidden" for name, _ in features.named_parameters())


def test_the_laws_of_the_initial_weights():
    uniform, normal = (ScoreNetworks(4000, [0], "swish", "sqrt", init) for init in ("uniform", "normal"))
    assert float(uniform.hidden.abs().max().detach()) <= 2**-0.5
    assert float(uniform.out.std().detach()) == pytest.approx(3**-0.5, rel=0.05)
    assert float(normal.hidden.std().detach()) == pytest.approx(1, rel=0.05)
    assert float(normal.out.std().detach()) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("kind", ["swish", "features"])
@pytest.mark.parametrize("block", [1 << 17, 40])
def test_value_and_slope(monkeypatch, kind, block):
    monkeypatch.setattr(module, "BLOCK", block)
    model, (x, *_) = networks(kind), batch(3, 9)
    x.requires_grad_()
    value = model(x, torch.full_like(x, 0.3))
    (slope,) = torch.autograd.grad(value.sum(), x)
    ours = model.value_and_slope(x.detach(), 0.3)
    torch.testing.assert_close(ours[0], value.detach())
    torch.testing.assert_close(ours[1], slope)


def test_frozen_features_have_signs_and_bounded_kinks():
    W, *U = frozen_features(200, 0)
    assert set(W.tolist()) == {-1.0, 1.0}
    assert all(float(row.abs().max()) <= module.FEATURE_REACH for row in U)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match="unknown network 'relu'"):
        ScoreNetworks(3, [0], "relu")
    with pytest.raises(UserError, match="unknown scaling"):
        ScoreNetworks(3, [0], "swish", "ntk")
