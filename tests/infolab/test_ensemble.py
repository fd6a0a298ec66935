"""Networks trained as one batch give what each gives alone; divergence against autograd; selecting members."""

import pytest
import torch

from infolab.epochs import NoisedEpochs
from infolab.nn.mlp import MLP, EnsembleMLP
from infolab.schedules import VP

SIZES = (3, 16, 16, 16, 2)
SEEDS = [3, 0, 7]


def points(k, n, dtype=torch.float64):
    source = torch.Generator().manual_seed(0)
    x = torch.randn(k, n, 2, generator=source, dtype=torch.float64).to(dtype)
    return x, torch.rand(k, n, generator=source, dtype=torch.float64).to(dtype)


def test_forward_is_each_network_alone():
    batch = EnsembleMLP(SIZES, SEEDS).double()
    x, t = points(3, 20)
    out = batch(x, t)
    for index, seed in enumerate(SEEDS):
        torch.testing.assert_close(out[index], MLP(SIZES, seed).double()(x[index], t[index]), rtol=1e-13, atol=1e-14)


def dsm_loss(model, batch):
    """1/2 |sigma s + eps|^2 with the network's output a = g s, written plainly, one value per network."""
    residual = batch.eps + batch.sigma_over_g[..., None] * model(batch.x_t, batch.t)
    return residual.square().sum(-1).mean(-1) / 2


def test_training_together_is_training_each_alone_with_torchs_adam():
    data = points(3, 10)[0]
    T = torch.tensor([0.3, 1.0, 1.8], dtype=torch.float64)
    steps = 60

    def epochs(members):
        return NoisedEpochs(data[members], VP(), T[members], [SEEDS[i] for i in members], batch=4)

    together = EnsembleMLP(SIZES, SEEDS).double()
    optimizer = torch.optim.Adam(together.parameters(), lr=1e-2, fused=True)
    batches = epochs([0, 1, 2])
    for step in range(steps):
        optimizer.zero_grad()
        dsm_loss(together, batches(step)).sum().backward()
        optimizer.step()

    for index, seed in enumerate(SEEDS):
        alone = MLP(SIZES, seed).double()
        start = [item.detach().clone() for item in alone.parameters()]
        optimizer = torch.optim.Adam(alone.parameters(), lr=1e-2)
        own = epochs([index])
        for step in range(steps):
            optimizer.zero_grad()
            batch = own(step)
            residual = batch.eps[0] + batch.sigma_over_g[0, :, None] * alone(batch.x_t[0], batch.t[0])
            (residual.square().sum(-1).mean() / 2).backward()
            optimizer.step()
        for before, ours, theirs in zip(start, together.member(index).parameters(), alone.parameters(), strict=True):
            assert float((theirs - before).detach().abs().max()) > 0.05  # it has learned something
            torch.testing.assert_close(ours, theirs, rtol=1e-7, atol=1e-9)


def test_members_share_no_gradient():
    batch = EnsembleMLP(SIZES, SEEDS).double()
    x, t = points(3, 5)
    batch(x, t)[1].square().sum().backward()
    for item in batch.parameters():
        assert item.grad is not None
        assert not item.grad[[0, 2]].any()
        assert item.grad[1].any()


@pytest.mark.parametrize("sizes", [(3, 8, 2), SIZES, (5, 16, 16, 4)])
def test_value_and_divergence_against_autograd(sizes):
    d = sizes[-1]
    batch = EnsembleMLP(sizes, SEEDS).double()
    source = torch.Generator().manual_seed(1)
    x = torch.randn(3, 7, d, generator=source, dtype=torch.float64)
    t = torch.rand(3, 7, generator=source, dtype=torch.float64)
    value, divergence = batch.value_and_divergence(x, t)
    torch.testing.assert_close(value, batch(x, t).detach(), rtol=1e-13, atol=1e-14)
    x = x.requires_grad_()
    out = batch(x, t)
    truth = sum(torch.autograd.grad(out[..., j].sum(), x, retain_graph=True)[0][..., j] for j in range(d))
    torch.testing.assert_close(divergence, truth, rtol=1e-12, atol=1e-13)


def test_select_and_member_copy_the_present_weights():
    batch = EnsembleMLP(SIZES, SEEDS)
    with torch.no_grad():
        for item in batch.parameters():
            item.mul_(1.5)
    x, t = points(3, 6, torch.float32)
    out = batch(x, t)
    chosen = batch.select([2, 0, 2])
    assert (len(batch), len(chosen)) == (3, 3)
    torch.testing.assert_close(chosen(x[[2, 0, 2]], t[[2, 0, 2]]), out[[2, 0, 2]])
    torch.testing.assert_close(batch.member(1)(x[1], t[1]), out[1])
    with torch.no_grad():
        for item in (*chosen.parameters(), *batch.member(1).parameters()):
            item.zero_()
    torch.testing.assert_close(batch(x, t), out)  # copies, not views
