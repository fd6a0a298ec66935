"""The emulated device refuses what a GPU refuses, and notices faults that are put back into the product."""

import dataclasses

import numpy as np
import pytest
import torch
from emulated_device import counted, without_float64

import infolab.empirical
import infolab.likelihood
import infolab.variational
from diffusion import image_model
from diffusion.digits import SWEEPS
from diffusion.image_model import Denoised, ImageObjective, ImageScore
from infolab import training
from infolab.data import ImageSet, load
from infolab.data.images import LogitTransform
from infolab.denoise import Denoiser
from infolab.device import pick_device
from infolab.empirical import mutual_information_batch
from infolab.errors import UserError
from infolab.likelihood import ode_log_likelihood
from infolab.nn import blocks
from infolab.nn.unet import UNet
from infolab.nn.unet_sampling import PreparedUNet
from infolab.noise import generator
from infolab.schedules import DDPM, VP
from infolab.training import Training
from infolab.variational import VariationalBound

DEVICE = torch.device("emulated")
CONFIG = dataclasses.replace(SWEEPS["smoke"][0], dropout=0.1)


def here(*shape):
    return torch.ones(*shape)


def there(*shape):
    return torch.ones(*shape, device=DEVICE)


# ---- the manners of a GPU


def test_it_is_a_device_of_this_process_only():
    assert pick_device("emulated") == DEVICE
    with pytest.raises(UserError, match="not available"):
        pick_device("emulating")
    assert (there(2) + 1).device == torch.device("emulated:0")
    assert not torch.cuda.is_available() or pick_device("auto").type == "cuda"


MIXED = {
    "addition": lambda: there(2) + here(2),
    "addition to the CPU": lambda: here(2).add_(there(2)),
    "product": lambda: there(2, 2) @ here(2, 2),
    "concatenation": lambda: torch.cat([there(2), here(2)]),
    "where": lambda: torch.where(here(2) > 0, there(2), 0.0),
    "indices into the CPU's": lambda: here(3)[torch.zeros(1, dtype=torch.long, device=DEVICE)],
    "gather": lambda: there(3).gather(0, torch.zeros(1, dtype=torch.long)),
    "values put": lambda: there(3).index_put_((torch.zeros(2, dtype=torch.long),), here(2)),
    "layer's weights": lambda: torch.nn.Linear(2, 2)(there(1, 2)),
    "a product with a scalar tensor": lambda: torch.addmm(torch.tensor(1.0), there(2, 2), there(2, 2)),
    "a generator of the CPU": lambda: there(3).bernoulli_(0.5, generator=generator(0)),
    "a factory's generator": lambda: torch.rand(3, device=DEVICE, generator=generator(0)),
}


@pytest.mark.parametrize("mix", MIXED.values(), ids=MIXED)
def test_operands_on_two_devices_are_refused(mix):
    with pytest.raises(RuntimeError, match="device"):
        mix()


def test_what_a_gpu_takes_from_the_cpu():
    assert (there(2) * torch.tensor(3.0)).tolist() == [3, 3]
    assert there(3)[torch.tensor([0, 2])].tolist() == [1, 1]
    assert there(2).copy_(here(2) * 5).tolist() == [5, 5]
    assert torch.rand(3, device=DEVICE, generator=generator(0, device=DEVICE)).cpu().max() < 1


def test_numpy_wants_the_cpu_first():
    for ask in (lambda x: x.numpy(), np.asarray):
        with pytest.raises(TypeError, match="to numpy"):
            ask(there(2))


@pytest.mark.parametrize("normalise", ["group_norm", "layer_norm", "batch_norm"])
def test_normalisation_takes_one_type(normalise):
    weights = (there(4), there(4))
    ask = {
        "group_norm": lambda x, *affine: torch.nn.functional.group_norm(x, 2, *affine),
        "layer_norm": lambda x, *affine: torch.nn.functional.layer_norm(x.mT, (4,), *affine),
        "batch_norm": lambda x, *affine: torch.nn.functional.batch_norm(x, None, None, *affine, training=True),
    }[normalise]
    ask(there(3, 4, 5), *weights)
    with pytest.raises(RuntimeError, match="weights and biases"):
        ask(there(3, 4, 5), *(item.bfloat16() for item in weights))


def test_float64_is_a_switch():
    assert there(2).double().sum(dtype=torch.float64).item() == 2
    made = (
        lambda: there(2).double(),
        lambda: torch.zeros(2, dtype=torch.float64, device=DEVICE),
        lambda: here(2).double().to(DEVICE),
        lambda: torch.tensor([1.0], dtype=torch.float64, device=DEVICE),
        lambda: there(2).sum(dtype=torch.float64),
    )
    with without_float64():
        assert here(2).double().to(DEVICE, torch.float32).tolist() == [1, 1]
        for make in made:
            with pytest.raises(TypeError, match="float64"):
                make()


def test_copies_and_waits_are_counted_where_they_are_asked_for():
    x, mask, index = there(3), there(3) > 0, torch.zeros(1, dtype=torch.long)
    silent = (lambda: x * 2, lambda: x[:1], lambda: x.sum(), lambda: torch.zeros(2, device=DEVICE), lambda: x.clone())
    copies = (
        lambda: here(3).to(DEVICE),
        lambda: x.copy_(here(3)),
        lambda: x[index],
        lambda: torch.tensor(1.0).to(DEVICE),
    )
    waits = (
        lambda: x.sum().item(), lambda: x.cpu(), lambda: bool(mask.all()), lambda: x[mask], lambda: mask.nonzero(),
        lambda: here(3).copy_(x), lambda: x.tolist(), lambda: int(x[0]), lambda: torch.equal(x, x),
    )  # fmt: skip
    for asked, expected in ((silent, (0, 0)), (copies, (1, 0)), (waits, (0, 1))):
        for ask in asked:
            with counted() as counts:
                ask()
            assert (len(counts.copies), len(counts.waits)) == expected
            assert all(__file__ in place for place in (*counts.copies, *counts.waits))


def test_it_trains_and_is_copied_saved_and_converted():
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1))
    on_cpu = [item.detach().clone() for item in network.parameters()]
    network.to(DEVICE)
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    for _ in range(3):
        optimizer.zero_grad()
        network(there(5, 3)).square().sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    assert all(not torch.equal(a.cpu(), b) for a, b in zip(network.parameters(), on_cpu, strict=True))
    half = torch.nn.Linear(3, 4).to(DEVICE).to(torch.bfloat16)
    assert half(there(1, 3).bfloat16()).dtype == torch.bfloat16
    state = {name: item.cpu() for name, item in network.state_dict().items()}
    other = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 1)).to(DEVICE)
    other.load_state_dict(state)
    torch.testing.assert_close(other(there(5, 3)).cpu(), network(there(5, 3)).cpu())


# ---- faults, put back


def digits():
    return load("digits", "train").subset(16, 0)


def test_labels_left_on_the_cpu_are_noticed(monkeypatch):
    rows = torch.arange(2, device=DEVICE)
    assert digits().to(DEVICE).take(rows).labels.tolist() == digits().labels[:2].tolist()
    monkeypatch.setattr(ImageSet, "to", lambda self, device: dataclasses.replace(self, images=self.images.to(device)))
    with pytest.raises(RuntimeError, match="indices should be on the same device"):
        digits().to(DEVICE).take(rows)


def test_bf16_features_with_float32_factors_are_noticed(monkeypatch):
    network = UNet(CONFIG.unet(), 0).eval().requires_grad_(False).to(DEVICE)
    x, step = there(2, 1, 8, 8), torch.zeros(2, dtype=torch.long, device=DEVICE)
    assert PreparedUNet(network, dtype=torch.bfloat16)(x, step).shape == x.shape

    def mixed(h, norm, factor, shift):
        flat = h.reshape(1, -1, *h.shape[2:])
        groups = len(h) * norm.num_groups
        return torch.group_norm(flat, groups, factor.reshape(-1), shift.reshape(-1), norm.eps).view(h.shape)

    monkeypatch.setattr("infolab.nn.unet_sampling.modulated_norm", mixed)
    assert blocks.modulated_norm is not mixed
    with pytest.raises(RuntimeError, match="group_norm"):
        PreparedUNet(network, dtype=torch.bfloat16)(x, step)


def float64_work():
    """Name -> what the product does in float64 where it can, and the module whose helper decides."""
    model = Denoiser.of_score(lambda x, t: -x, VP(), lambda x, t: (-x, torch.full_like(t, -2.0)))
    return {
        "ode": (infolab.likelihood, lambda: ode_log_likelihood(model, VP(), there(4, 2), 0.5, tolerance=0.1)),
        "bound": (infolab.variational, lambda: VariationalBound(DDPM.linear(10)).prior(there(2, 3))),
        "information": (
            infolab.empirical,
            lambda: mutual_information_batch(
                torch.randn(1, 4, 2).to(DEVICE), torch.ones(1), torch.ones(1), draws=1, seeds=[0], stream="x"
            ),
        ),
    }


@pytest.mark.parametrize("name", ["ode", "bound", "information"])
def test_float64_on_a_device_without_it_is_noticed(name, monkeypatch):
    module, work = float64_work()[name]
    with without_float64():
        work()
        helper, always = ("has_float64", lambda device: True) if name == "ode" else ("to_double", torch.Tensor.double)
        monkeypatch.setattr(module, helper, always)
        with pytest.raises(TypeError, match="float64"):
            work()


def one_step(config=CONFIG):
    """What one training step of the image study asks of the device, after a first one."""
    images, score = digits().to(DEVICE), ImageScore(UNet(config.unet(), 0), VP(), config.parametrization).to(DEVICE)
    objective = ImageObjective(config, score, images, LogitTransform(images.levels))
    work = Training(score, torch.optim.Adam(score.parameters(), fused=True), objective, steps=3)
    training._one_step(work, 0)
    with counted() as counts:
        training._one_step(work, 1)
    return len(counts.copies), len(counts.waits)


def test_a_step_as_it_is():
    assert one_step() == (2, 0)


def test_a_generator_of_another_device_is_noticed(monkeypatch):
    monkeypatch.setattr(image_model, "generator", lambda *stream, device="cpu": generator(*stream))
    with pytest.raises(RuntimeError, match="generator"):
        one_step()


def test_a_draw_left_on_the_cpu_is_noticed(monkeypatch):
    monkeypatch.setattr(image_model, "staged", lambda device, rows, *parts: (rows.to(device), *parts))
    with pytest.raises(RuntimeError, match="same device"):
        one_step()


def test_a_wait_in_the_step_is_noticed(monkeypatch):
    loss = Denoised.loss

    def looking(self):
        found = loss(self)
        assert found.item() < 1e9
        return found

    monkeypatch.setattr(Denoised, "loss", looking)
    assert one_step() == (2, 1)


def test_a_copy_too_many_is_noticed(monkeypatch):
    monkeypatch.setattr(image_model, "staged", lambda device, *parts: tuple(part.to(device) for part in parts))
    assert one_step()[0] > 2
