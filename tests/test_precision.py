"""One meaning of --precision everywhere: networks in bfloat16, what is around them in float32, near the float32 run."""

import dataclasses

import pytest
import torch
from torch import nn

from diffusion import digits
from diffusion.image import run_image
from infodiffusion.config import InfoConfig, canonical_config
from infolab.config import run_id
from infolab.device import Network, bf16_forward, set_arithmetic
from infolab.results import read
from itdiffusion import digits as itdigits
from itdiffusion.images import run_images
from scoregen.clusters import run_clusters
from scoregen.clusters_model import SWEEPS as CLUSTERS
from vae import full
from vae.run import run_vae

pytestmark = pytest.mark.usefixtures("no_tensorboard")

STUDIES = {
    "diffusion": (run_image, digits.SWEEPS["smoke"][0], "diffusion/image_bound", "bpd_ode"),
    "itdiffusion": (run_images, itdigits.SWEEPS["smoke"][0], "itdiffusion/nll", "nll_bpd"),
    "vae": (run_vae, dataclasses.replace(full.SWEEPS["smoke"][0], epochs=1), "vae/curves", "logpx_nats"),
    "scoregen": (run_clusters, CLUSTERS["smoke"][0], "scoregen/clusters", "loss"),
}


@pytest.mark.parametrize("study", STUDIES)
def test_training_and_evaluation_in_bfloat16(study, tmp_path, monkeypatch):
    run, config, table, column = STUDIES[study]
    called = []
    original = Network.__call__

    def noted(self, *args, **kwargs):
        called.append(self.precision)
        found = original(self, *args, **kwargs)
        assert found.dtype == torch.float32
        return found

    monkeypatch.setattr(Network, "__call__", noted)
    values = {}
    for precision in ("fp32", "bf16"):
        here = {"runs_dir": tmp_path / precision / "runs", "results_dir": tmp_path / precision / "results"}
        called.clear()
        run("smoke", dataclasses.replace(config, precision=precision, **here))
        assert set(called) == {precision}
        rows = read(here["results_dir"], table)
        assert rows["model"].str.contains(",bf16").all() == (precision == "bf16")
        values[precision] = float(rows[column].iloc[0])
    assert values["bf16"] != values["fp32"]
    assert values["bf16"] == pytest.approx(values["fp32"], rel=0.05)


def test_a_setting_of_old_runs_leaves_their_ids():
    for _, config, _, _ in STUDIES.values():
        assert run_id(dataclasses.replace(config, compile=True, deterministic=True)) == run_id(config)
        assert run_id(dataclasses.replace(config, precision="tf32")) != run_id(config)


def test_every_mode_of_infodiffusion_has_the_precision():
    config = InfoConfig(precision="bf16")
    assert {canonical_config(config, mode).precision for mode in ("train", "eval", "save_latent", "disentangle")} == {
        "bf16"
    }


def test_products_by_hand_are_those_of_autocast():
    layers = [(torch.randn(5, 7), torch.randn(7)), (torch.randn(7, 3), torch.randn(3))]
    mlp = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    with torch.no_grad():
        for (weight, bias), layer in zip(layers, (mlp[0], mlp[2]), strict=True):
            layer.weight.copy_(weight.T)
            layer.bias.copy_(bias)
        x = torch.randn(11, 5)
        with torch.autocast("cpu", torch.bfloat16):
            expected = mlp(x).float()
        torch.testing.assert_close(bf16_forward(layers, x), expected, rtol=2**-7, atol=2**-7)


@pytest.mark.slow
def test_compiled_networks_give_the_same_numbers_to_rounding(tmp_path):
    run, config, table, column = STUDIES["diffusion"]
    values = []
    for compiled in (False, True):
        here = {"runs_dir": tmp_path / f"{compiled}/runs", "results_dir": tmp_path / f"{compiled}/results"}
        run("smoke", dataclasses.replace(config, compile=compiled, **here))
        values.append(float(read(here["results_dir"], table)[column].iloc[0]))
    assert values[1] == pytest.approx(values[0], rel=1e-4)


def test_a_copy_keeps_the_precision():
    import copy

    from infolab.nn.unet import UNet

    network = UNet(digits.SWEEPS["smoke"][0].unet())
    set_arithmetic(nn.ModuleList([network]), dataclasses.replace(digits.SWEEPS["smoke"][0], precision="bf16"))
    assert copy.deepcopy(network).precision == "bf16"
