"""The sweeps of the image studies: the published settings, and what `--m` and `--count` make of them."""

import dataclasses

import pytest
from image_studies import STUDIES
from image_studies import ran_images as ran
from launching import call, ids

from diffusion import cifar10, digits, fashion_mnist, mnist
from infolab.nn.unet import cifar10_config, mnist_config


@pytest.mark.parametrize(("study", "network"), [(mnist, mnist_config), (cifar10, cifar10_config)])
def test_paper_sweeps_are_the_published_ones(study, network):
    configs = study.SWEEPS["paper"]
    grid = {(m, round(0.2 * k, 1), seed) for m in (16, 0) for k in range(1, 11) for seed in (0, 1, 2)}
    assert len(configs) == len(grid)
    assert {(c.m, c.T, c.seed) for c in configs} == grid
    for c in configs:
        assert (c.R, c.iterations, c.lr, c.batch, c.sde_steps, c.dropout) == (4000, 10_000, 1e-4, 128, 1000, 0)
        assert (c.logit_A, c.test_images, c.parametrization, c.time_sampler) == (0.05, 100, "drift", "uniform")
        assert (c.unet(), c.flip) == (network(), study is cifar10)


def test_fashion_mnist_has_mnists_sweeps_under_its_own_name():
    for preset, configs in fashion_mnist.SWEEPS.items():
        assert [dataclasses.replace(c, dataset="mnist") for c in configs] == mnist.SWEEPS[preset]
        assert {c.dataset for c in configs} == {"fashion-mnist"}


@pytest.mark.parametrize("study", STUDIES.values(), ids=STUDIES)
@pytest.mark.parametrize("m", [16, 0])
def test_m_takes_one_half_of_a_sweep_with_the_settings_of_that_half(study, m, tmp_path):
    for preset, configs in study.SWEEPS.items():
        half = [config for config in configs if config.m == m]
        if half:
            assert ran(study, tmp_path, preset, "--m", m) == ids(half)


def test_m_reaches_every_run_of_its_kind_and_keeps_the_settings_of_that_kind(tmp_path):
    few, full = ([c for c in digits.SWEEPS["quick"] if bool(c.m) == bool(m)] for m in (16, 0))
    assert ran(digits, tmp_path, "--m", 100) == ids(dataclasses.replace(c, m=100) for c in few)
    assert ran(digits, tmp_path, "--m", 0, "--T", 0.5) == ids(c for c in full if c.T == 0.5)
    # A sweep without full runs has no settings for them: its own are taken.
    assert ran(mnist, tmp_path, "--m", 0) == ids(dataclasses.replace(c, m=0) for c in mnist.SWEEPS["quick"])


def test_count_needs_no_device_and_does_nothing(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call(mnist.main, monkeypatch, capsys, "paper", "--device", "cuda:7", "--count") == (0, "60\n", "")
    assert call(mnist.main, monkeypatch, capsys, "paper", "--m", "0", "--count") == (0, "30\n", "")
    assert list(tmp_path.iterdir()) == []
