"""Pre-trained networks by path: diffusers' own eps at its steps, IDDPM's of the same weights, or one sentence."""

import json

import pytest
import torch

from infolab.denoise import Denoiser
from infolab.errors import UserError
from infolab.nn.unet import UNet, UNetConfig
from infolab.noise import generator
from infolab.pretrained import load_denoiser, load_hugging_face, load_iddpm
from infolab.schedules import DDPM

diffusers = pytest.importorskip("diffusers")

SMALL = UNetConfig(
    image_size=8,
    model_channels=32,
    channel_mult=(1, 1),
    num_res_blocks=1,
    attention_resolutions=(4,),
    num_heads=4,
    learn_sigma=True,
    time_scale=1.0,
)


def images(n: int = 5) -> torch.Tensor:
    return torch.randn(n, 3, 8, 8, generator=generator(0, "z"))


@pytest.fixture(scope="module")
def hugging_face(tmp_path_factory):
    """A DDPM folder with random weights, as `save_pretrained` writes it, and the network itself."""
    folder = tmp_path_factory.mktemp("hub") / "ddpm-small"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = diffusers.UNet2DModel(
            sample_size=8,
            block_out_channels=(32, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=None,
        ).eval()
    unet.save_pretrained(folder)
    diffusers.DDPMScheduler(variance_type="fixed_large").save_pretrained(folder)
    return folder, unet


@pytest.fixture(scope="module")
def iddpm(tmp_path_factory):
    """A checkpoint in improved-diffusion's layout, and the network with the same weights."""
    network = UNet(SMALL)
    with torch.no_grad():
        for name, item in network.named_parameters():
            item.add_(0.05 * torch.randn(item.shape, generator=generator(0, name)))
    path = tmp_path_factory.mktemp("openai") / "small.pt"
    torch.save(network.state_dict(), path)
    return path, network


def test_diffusers_folder_gives_diffusers_own_eps_at_whole_steps(hugging_face):
    folder, unet = hugging_face
    denoiser = load_denoiser(folder, (3, 8, 8))
    steps = torch.tensor([0, 1, 250, 700, 999])
    logsnr = DDPM.linear().logsnr[steps]
    with torch.no_grad():
        torch.testing.assert_close(denoiser.eps(images(), logsnr), unet(images(), steps).sample, rtol=1e-5, atol=1e-5)
    assert denoiser.name == "ddpm[ddpm-small]"
    assert denoiser.levels == 256


def test_a_path_is_a_denoiser_too(hugging_face, iddpm):
    steps, (folder, unet), path = torch.tensor([0, 1, 250, 700, 999]), hugging_face, iddpm[0]
    wrapped = Denoiser.wrap(folder)
    with torch.no_grad():
        found = wrapped.eps_at_step(images(), steps, DDPM.linear())
        torch.testing.assert_close(found, unet(images(), steps).sample, rtol=1e-5, atol=1e-5)
        # The network with a variance output on another schedule: eps_hat alone.
        eps_hat, v = load_iddpm(path, SMALL).eval().at_step(images(), steps, DDPM.linear())
    assert eps_hat.shape == images().shape
    assert v is None


def test_the_schedule_is_that_of_diffusers(hugging_face):
    denoiser = load_hugging_face(hugging_face[0])
    own = diffusers.DDPMScheduler().alphas_cumprod.double()
    torch.testing.assert_close(denoiser.schedule.abar, own, rtol=1e-4, atol=0)
    assert denoiser.variance == "large"


KINDS = {
    "linear": {},
    "scaled linear": {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
    "squared cosine": {"beta_schedule": "squaredcos_cap_v2"},
    "given": {"trained_betas": [1e-4 + 1e-5 * i for i in range(1000)]},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("predicts", ["epsilon", "sample", "v_prediction"])
def test_every_prediction_and_schedule_is_read_as_diffusers_reads_it(hugging_face, tmp_path, kind, predicts):
    """x0_hat of our eps_hat at whole steps is diffusers' own pred_original_sample, in a pipeline's folder."""
    _, unet = hugging_face
    scheduler = diffusers.DDPMScheduler(prediction_type=predicts, clip_sample=False, **KINDS[kind])
    diffusers.DDPMPipeline(unet, scheduler).save_pretrained(tmp_path)
    denoiser = load_denoiser(tmp_path, (3, 8, 8))
    steps = torch.tensor([1, 100, 250, 700, 900])
    abar = scheduler.alphas_cumprod.double()
    torch.testing.assert_close(denoiser.schedule.abar, abar, rtol=1e-3, atol=1e-8)  # diffusers' products are float32
    logsnr = denoiser.schedule.logsnr[steps]
    with torch.no_grad():
        ours = denoiser.eps(images(), logsnr)
        again, _ = denoiser.at_step(images(), steps, denoiser.schedule)
        for i, step in enumerate(steps.tolist()):
            out = unet(images()[i : i + 1], step).sample
            x0 = scheduler.step(out, step, images()[i : i + 1]).pred_original_sample
            alpha, sigma = abar[step].sqrt().float(), (1 - abar[step]).sqrt().float()
            # eps = (z - alpha x0) / sigma, whose rounding grows by alpha / sigma, 70 at step 1.
            torch.testing.assert_close(alpha * x0[0] + sigma * ours[i], images()[i], rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(ours[i], again[i], rtol=1e-3, atol=2e-3 * float(alpha / sigma))


def test_time_is_interpolated_for_each_sample(hugging_face):
    folder, unet = hugging_face
    denoiser = load_denoiser(folder)
    knots = DDPM.linear().logsnr
    logsnr = torch.tensor([0.25 * knots[10] + 0.75 * knots[11], knots[500], knots[0] + 5.0])
    with torch.no_grad():
        expected = unet(images(3), torch.tensor([10.75, 500.0, 0.0])).sample
        torch.testing.assert_close(denoiser.eps(images(3), logsnr), expected, rtol=1e-4, atol=1e-4)


def test_iddpm_is_fed_at_the_log_snr_of_a_step_what_its_training_fed_there(iddpm):
    path, network = iddpm
    denoiser = load_iddpm(path, SMALL).eval()
    step = torch.tensor([0, 1, 399, 1999, 3900], dtype=torch.float64)
    o = 0.008  # step i has the signal abar((i + 1) / N)
    cosine = torch.cos((torch.stack([torch.zeros(5), (step + 1) / 4000]) + o) / (1 + o) * torch.pi / 2) ** 2
    with torch.no_grad():
        expected = network.eval()(images(), (step * 1000 / 4000).float())[:, :3]
        # float32 network; one step off, a quarter of a unit of time, differs by 1e-2 here
        logsnr = torch.logit(cosine[1] / cosine[0])
        torch.testing.assert_close(denoiser.eps(images(), logsnr), expected, rtol=1e-4, atol=1e-4)
        own, _ = denoiser.at_step(images(), step.long(), denoiser.schedule)
    torch.testing.assert_close(own, expected)


def test_whole_steps_of_iddpm_are_fed_as_in_training_with_the_variance(iddpm):
    path, network = iddpm
    denoiser = load_iddpm(path, SMALL).eval()
    steps = torch.tensor([0, 3999, 100, 1, 2])
    with torch.no_grad():
        eps_hat, v = denoiser.at_step(images(), steps, denoiser.schedule)
        out = network.eval()(images(), steps * 0.25)
    torch.testing.assert_close(eps_hat, out[:, :3])
    torch.testing.assert_close(v, out[:, 3:])


def test_whole_steps_of_ddpm_have_no_variance_output(hugging_face):
    folder, unet = hugging_face
    with torch.no_grad():
        denoiser = load_hugging_face(folder).eval()
        eps_hat, v = denoiser.at_step(images(), torch.full((5,), 7), denoiser.schedule)
        torch.testing.assert_close(eps_hat, unet(images(), 7).sample)
    assert v is None


def test_a_checkpoint_of_another_size_is_refused_by_name(iddpm):
    with pytest.raises(UserError, match="does not fit this network"):
        load_denoiser(iddpm[0])


def test_paths_without_a_denoiser_are_refused(tmp_path, hugging_face):
    with pytest.raises(UserError, match="there is no"):
        load_denoiser(tmp_path / "nowhere.pt")
    with pytest.raises(UserError, match="holds no denoiser"):
        load_denoiser(tmp_path)
    (tmp_path / "bad.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="not a PyTorch file"):
        load_denoiser(tmp_path / "bad.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="no state dict"):
        load_denoiser(tmp_path / "list.pt")
    with pytest.raises(UserError, match="shape"):
        load_denoiser(hugging_face[0], (1, 8, 8))


def test_incomplete_and_foreign_folders_are_refused(tmp_path, hugging_face):
    config = json.loads((hugging_face[0] / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="not a whole DDPM"):
        load_denoiser(tmp_path)
    whole = tmp_path / "whole"
    diffusers.UNet2DModel.from_pretrained(hugging_face[0]).save_pretrained(whole)
    for words, said in (
        ({"beta_schedule": "sigmoid"}, "noise schedule 'sigmoid'"),
        ({"prediction_type": "flow_prediction"}, "predicts 'flow_prediction'"),
        ({"rescale_betas_zero_snr": True}, "signal of 0"),
        ({"trained_betas": [0.1, 2.0]}, "betas"),
    ):
        (whole / "scheduler_config.json").write_text(json.dumps(words))
        with pytest.raises(UserError, match=said):
            load_denoiser(whole)


def test_no_diffusers_is_one_sentence(monkeypatch, hugging_face):
    monkeypatch.setitem(__import__("sys").modules, "diffusers", None)
    with pytest.raises(UserError, match="pip install diffusers"):
        load_denoiser(hugging_face[0])
