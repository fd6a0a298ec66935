import math

import pytest
import torch

from infolab.epochs import ChannelEpochs
from infolab.immse import LogsnrRange
from infolab.noise import generator

LAW = LogsnrRange(0.0, 3.0)


def batches(k=2, n=50, seeds=(0, 1), batch=16, **settings):
    data = torch.randn(k, n, 2, generator=generator(0, "data"), dtype=torch.float64)
    return ChannelEpochs(data, LAW, list(seeds), batch, **settings)


def points_of(epochs, step):
    """x behind a batch: (z - sigma eps) / alpha."""
    b = epochs(step)
    alpha, sigma = b.logsnr.sigmoid().sqrt(), (-b.logsnr).sigmoid().sqrt()
    return (b.z - sigma[..., None] * b.eps) / alpha[..., None]


def test_an_epoch_visits_each_point_at_most_once_and_leaves_out_the_remainder():
    epochs = batches()
    assert epochs.steps_per_epoch == 3
    for epoch in (0, 1):
        seen = torch.cat([points_of(epochs, 3 * epoch + part) for part in range(3)], 1)
        for network in range(2):
            distance = torch.cdist(seen[network], epochs.data[network])
            nearest = distance.min(1)
            assert float(nearest.values.max()) < 1e-4  # at the lowest log-SNR alpha is 0.002
            assert len(set(nearest.indices.tolist())) == 48


@pytest.mark.bits
def test_noise_does_not_depend_on_batch_size_company_or_order_of_asking():
    whole = batches(batch=24)
    alone = ChannelEpochs(whole.data[1:], LAW, [1], 12)
    for step in (3, 0, 2, 1):
        ours, theirs = whole(step // 2), alone(step)
        rows = slice(12 * (step % 2), 12 * (step % 2) + 12)
        assert torch.equal(ours.z[1, rows], theirs.z[0])
        assert torch.equal(ours.weight[1, rows], theirs.weight[0])
    far = batches(batch=24)
    assert torch.equal(far(200).z, batches(batch=24)(200).z)


@pytest.mark.bits
def test_networks_of_one_seed_share_the_noise_and_others_do_not():
    epochs = batches(k=3, seeds=(5, 5, 6))
    b = epochs(0)
    assert torch.equal(b.eps[0], b.eps[1])
    assert not torch.equal(b.eps[0], b.eps[2])
    assert not torch.equal(b.z[0], b.z[1])


@pytest.mark.parametrize("stratified", [False, True])
def test_the_weights_make_the_mean_an_integral_over_log_snr(stratified):
    # Int s(a) (1 - s(a)) da over [low, high] is s(high) - s(low).
    epochs = batches(k=1, n=4000, seeds=(0,), batch=4000, stratified=stratified)
    b = epochs(0)
    values = (b.weight * b.logsnr.sigmoid() * (-b.logsnr).sigmoid())[0]
    truth = 1 / (1 + math.exp(-LAW.high)) - 1 / (1 + math.exp(-LAW.low))
    error = float(values.std()) / math.sqrt(4000)
    assert abs(float(values.mean()) - truth) < 4 * error
    if stratified:
        assert abs(float(values.mean()) - truth) < 0.1 * error


def test_stratified_log_snrs_are_evenly_spread_in_any_batch():
    epochs = batches(k=1, n=640, seeds=(0,), batch=64, stratified=True)
    for step in range(10):
        u = (epochs(step).logsnr[0] / 3).sigmoid().sort().values
        assert float(u.diff().max()) < 3 / 64


def test_eps_is_standard_normal():
    eps = batches(k=1, n=20_000, seeds=(3,), batch=20_000)(0).eps[0]
    assert float(eps.mean(0).abs().max()) < 4 / math.sqrt(20_000)
    assert float((eps.var(0) - 1).abs().max()) < 4 * math.sqrt(2 / 20_000)
