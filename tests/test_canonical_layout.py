"""What is read back has the memory layout of what was computed: on some processors layouts round differently.

Every kind of thing that is saved, or read from a cache where there is one, is here: dtype, shape, strides and values.
"""

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from infodiffusion.networks import LatentDiffusion
from infodiffusion.outputs import save_npy
from infolab import metrics
from infolab.arrays import read_array
from infolab.config import RunConfig
from infolab.data import ImageSet, folders, load
from infolab.data.factor_files import DSPRITES, SHAPES3D, dsprites, shapes3d
from infolab.data.folders import load_folder, load_resized
from infolab.immse import GaussianReference
from infolab.noise import SampleNoise, StepNoise, curve_noise, generator
from infolab.runs import Run
from infolab.storage import Pieces, load_latest
from infolab.training import Training, train
from itdiffusion import digits
from itdiffusion.checkpoint import load_run
from itdiffusion.images import run_images
from itdiffusion.images_model import load_images, reference_of, training_range
from itdiffusion.images_train import make_members
from itdiffusion.shapes_model import points_law
from vae import full
from vae.evaluate import LogPxMeasurement
from vae.images import load_inputs
from vae.objective import members_of
from vae.run import build

sys.path.append(str(Path(__file__).resolve().parent))
from data_files import cifar_batches, write_cifar_archive, write_cifar_folder, write_idx

pytestmark = [pytest.mark.bits, pytest.mark.usefixtures("no_tensorboard")]


def form(item):
    """What rounding may depend on besides values."""
    strides = item.stride() if isinstance(item, Tensor) else item.strides
    return item.dtype, tuple(item.shape), tuple(strides)


def assert_same(computed, loaded):
    """Two dicts of tensors or arrays, or two things with such a `state_dict`: equal in form and in values."""
    computed, loaded = (item.state_dict() if isinstance(item, nn.Module) else item for item in (computed, loaded))
    assert computed.keys() == loaded.keys()
    for name, item in computed.items():
        assert form(item) == form(loaded[name]), name
        assert np.array_equal(np.asarray(item), np.asarray(loaded[name])), name


def tensors_of(record):
    """The tensors among the fields of a dataclass."""
    found = {item.name: getattr(record, item.name) for item in dataclasses.fields(record)}
    return {name: item for name, item in found.items() if isinstance(item, Tensor)}


def assert_contiguous(images):
    for name, item in tensors_of(images).items():
        assert item.is_contiguous(), name


# ---- Gaussian references


@pytest.mark.parametrize("diagonal", [False, True])
def test_a_gaussian_reference(tmp_path, diagonal):
    data = torch.randn(50, 7, generator=generator(0, "layout"), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(torch.cov(data.T))
    assert not vectors.is_contiguous()  # as LAPACK gives them: what makes this a test
    fitted = GaussianReference.fit(data, diagonal=diagonal, floor=0.1)
    strided = GaussianReference(data[0], values.flip(0).expand(2, 7)[0], None if diagonal else vectors)
    for reference in (fitted, fitted.floored(0.2), fitted.dequantized(0.5), strided):
        reference.save(tmp_path / "r.safetensors")
        loaded = GaussianReference.load(tmp_path / "r.safetensors")
        assert_same(tensors_of(reference), tensors_of(loaded))
        # Some products round differently by alignment: what comes from a file is aligned as torch aligns its own.
        assert {item.data_ptr() % 64 for item in tensors_of(loaded).values()} == {0}


def test_the_cached_reference_of_an_image_run(tmp_path):
    train, _ = load_images(digits.SWEEPS["smoke"][0], torch.device("cpu"))
    computed, cached = reference_of(train, tmp_path), reference_of(train, tmp_path)
    assert_same(tensors_of(computed), tensors_of(cached))
    assert_same({"spectrum": computed.spectrum}, {"spectrum": cached.spectrum})


# ---- images


def test_celebas_crops(tmp_path):
    (tmp_path / folders.FOLDER).mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (4, 218, 178, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / folders.FOLDER / f"{number}.jpg")
    (tmp_path / folders.PARTITION).write_text("".join(f"{number}.jpg {number // 3}\n" for number in range(4)))
    decoded, cached = folders.load("train", tmp_path), folders.load("train", tmp_path)
    assert len(list(tmp_path.glob("crops-32-train-*.npy"))) == 1
    assert_same(tensors_of(decoded), tensors_of(cached))


def _colour_files(folder):
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)):
        Image.fromarray(pixels).save(folder / f"a_{number}.png")


def _of_folder(folder):
    _colour_files(folder)
    return load_folder(folder, "train")


def _of_resized(folder):
    _colour_files(folder)
    return load_resized(folder, "x", "train", 6, 3)


def _of_cifar(folder):
    write_cifar_folder(folder / "cifar-10-batches-py", cifar_batches())
    return load("cifar10", "test", data_dir=folder)


def _of_cifars_archive(folder):
    write_cifar_archive(folder / "cifar-10-python.tar.gz", cifar_batches())
    return load("cifar10", "test", data_dir=folder)


def _of_mnist(folder):
    write_idx(folder / "MNIST" / "raw", zipped=True)
    return load("mnist", "train", data_dir=folder)


def _of_dsprites(folder):
    pixels = np.random.default_rng(0).integers(0, 2, (20, 64, 64), dtype=np.uint8)
    classes = np.asfortranarray(np.tile(np.arange(20)[:, None] % 3, (1, 6)))
    np.savez(folder / DSPRITES, imgs=np.asfortranarray(pixels), latents_classes=classes)
    return dsprites(folder, 64)[0]


def _of_shapes3d(folder):
    h5py = pytest.importorskip("h5py")
    with h5py.File(folder / SHAPES3D, "w") as file:
        file["images"] = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
        file["labels"] = np.tile(np.arange(20.0)[:, None] % 3, (1, 6))
    return shapes3d(folder)[0]


READERS = (
    _of_folder, _of_resized, _of_cifar, _of_cifars_archive, _of_mnist, _of_dsprites, _of_shapes3d,
    lambda folder: load("digits", "train", data_dir=folder),
    lambda folder: load("patches", "test", data_dir=folder),
    lambda folder: load("sprites", "test", data_dir=folder),
)  # fmt: skip


@pytest.mark.parametrize("reader", READERS)
def test_images_are_contiguous_whoever_reads_them(tmp_path, reader):
    images = reader(tmp_path)
    assert_contiguous(images)
    few = images.take(torch.tensor([2, 0, 1]))
    for part in (few, few.padded(70), dataclasses.replace(few, images=few.images.mT)):
        assert_contiguous(part)


def test_an_image_set_of_a_transposed_array():
    pixels = np.zeros((5, 4, 4, 3), np.uint8).transpose(0, 3, 1, 2)
    assert_contiguous(ImageSet("x", "train", torch.from_numpy(pixels), 256, torch.arange(10)[::2]))


# ---- arrays


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_users_array_whatever_its_order(tmp_path, order):
    numbers = np.random.default_rng(0).normal(size=(6, 2))
    np.save(tmp_path / "x.npy", np.asarray(numbers, order=order))
    assert_same({"x": torch.from_numpy(numbers)}, {"x": read_array(tmp_path / "x.npy")})
    np.save(tmp_path / "plain.npy", numbers)
    for name in ("means", "weights"):
        one, two = (getattr(points_law(tmp_path / file).mixture, name) for file in ("x.npy", "plain.npy"))
        assert_same({name: one}, {name: two})


def test_codes_and_samples_that_modes_keep(tmp_path):
    numbers = np.random.default_rng(0).normal(size=(5, 4, 3))
    for array in (numbers, np.asfortranarray(numbers), numbers.transpose(2, 0, 1), numbers[:, ::2]):
        save_npy(tmp_path / "codes.npy", array)
        assert_same({"codes": np.ascontiguousarray(array)}, {"codes": np.load(tmp_path / "codes.npy")})


def test_pieces_of_an_evaluation(tmp_path):
    made = torch.randn(3, 4, generator=generator(0, "piece")).T
    computed, kept = (Pieces(tmp_path, "weights")("piece", lambda: {"a": made, "b": made[::2, 0]}) for _ in range(2))
    assert_same(computed, kept)


def test_pieces_of_log_px(tmp_path):
    config = dataclasses.replace(
        full.SWEEPS["smoke"][0], runs_dir=tmp_path, results_dir=tmp_path, m=40, logpx_images=32, logpx_every=1
    )
    inputs, test = load_inputs(config, torch.device("cpu"))
    members = members_of(config, len(inputs))
    measurement = LogPxMeasurement(Run("vae", "full", "smoke", config), config, inputs, test, members)
    measurement.run.folder.mkdir(parents=True)
    vae = build(config, members, inputs).vae.eval()
    with torch.no_grad():
        (computed,), (loaded,) = measurement.measure(vae, 1), measurement.measure(vae, 1)
    for split in computed:
        assert_same(tensors_of(computed[split]), tensors_of(loaded[split]))


# ---- features and their moments


def test_the_small_feature_network(tmp_path):
    pixels = torch.randint(0, 256, (40, 8, 8, 3), generator=generator(0, "pixels"), dtype=torch.uint8)
    images = pixels.permute(0, 3, 1, 2)
    network = metrics.train_extractor(images, torch.arange(40) % 2, "small-x", steps=2, batch=8)
    network.save(tmp_path / "net.safetensors")
    loaded = metrics.load_extractor(tmp_path / "net.safetensors")
    assert_same(network, loaded)
    copied = images.contiguous()
    assert_same(network, metrics.train_extractor(copied, torch.arange(40) % 2, "small-x", steps=2, batch=8))
    computed, of_copy = metrics.extract(network, images), metrics.extract(loaded, copied)
    assert_same({"values": computed.values}, {"values": of_copy.values})


def test_statistics_of_features(tmp_path):
    sample = metrics.Features(torch.randn(3, 60, generator=generator(0, "features")).T)
    computed = metrics.moments(sample)
    metrics.save_moments(computed, tmp_path / "S.npz")
    assert_same(tensors_of(computed), tensors_of(metrics.load_moments(tmp_path / "S.npz")))
    mean, cov = computed.mean.numpy(), computed.cov.numpy()
    np.savez(tmp_path / "other.npz", mu=np.stack([mean, mean], 1)[:, 0], sigma=np.asfortranarray(cov))
    assert_same(tensors_of(computed), tensors_of(metrics.load_moments(tmp_path / "other.npz")))


# ---- training


class Transposed(nn.Module):
    """A model whose parameter and buffer are views of other strides than a file gives back."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(5, 3).T)
        self.kernel = nn.Parameter(torch.ones(4, 2, 3, 3).to(memory_format=torch.channels_last))
        self.register_buffer("shift", torch.zeros(4, 2).T)


def _training(steps):
    model = Transposed()

    def loss(step):
        return sum((item - step).square().sum() for item in model.parameters())

    return Training(model, torch.optim.Adam(model.parameters(), lr=0.1), loss, steps, ema_decay=0.9)


def _state(training):
    """All tensors that a checkpoint holds, as they are in memory."""
    found = {f"model/{name}": item for name, item in training.model.state_dict().items()}
    found |= {f"ema/{name}": item for name, item in training.ema.items()}
    for index, entries in training.optimizer.state_dict()["state"].items():
        found |= {f"optimizer/{index}/{name}": item for name, item in entries.items()}
    return found


def test_a_checkpoint_of_model_average_and_optimiser(tmp_path):
    run = Run("paper", "study", "smoke", RunConfig(tmp_path / "runs", tmp_path / "results"))
    before, after = _training(3), _training(3)
    for training in (before, after):  # the second finds the first one's last checkpoint
        with run.open():
            train(run, training)
    assert load_latest(run.folder)[0] == 3
    assert len(_state(before)) == 3 + 2 + 2 * 3
    assert_same(_state(before), _state(after))


def test_members_of_an_image_run_out_of_its_folder(tmp_path):
    config = dataclasses.replace(
        digits.SWEEPS["smoke"][0], runs_dir=tmp_path, results_dir=tmp_path, epochs=1, samples=0, points=8,
        variational_steps=0, test_images=20,
    )  # fmt: skip
    run_images("smoke", config)
    run = Run("itdiffusion", config.dataset, "smoke", config)
    images, _ = load_images(config, torch.device("cpu"))
    reference = reference_of(images, tmp_path / "references")
    members = make_members(config, images, reference, training_range(config, reference))
    for index, member in enumerate(members.values()):
        loaded = load_run(run.folder, index).state_dict()
        made = member.state_dict()
        assert {name: form(item) for name, item in made.items()} == {name: form(item) for name, item in loaded.items()}
        # What training leaves alone is equal in values too.
        heads = [name for name in made if name.startswith("head.")]
        assert_same({name: made[name] for name in heads}, {name: loaded[name] for name in heads})
    assert heads


def test_the_diffusion_of_codes():
    codes = torch.randn(3, 50, generator=generator(0, "codes")).T
    trained, empty = LatentDiffusion(codes, 0), LatentDiffusion(torch.zeros(2, 3), 0)
    empty.load_state_dict(trained.state_dict())
    assert_same(trained, empty)


# ---- noise that is kept between calls


def test_noise_drawn_before_is_that_drawn_anew():
    first, other = StepNoise([0, 1], "s", (3, 1, 2, 2)), StepNoise([0, 1], "s", (3, 1, 2, 2))
    first(4)
    assert_same({"noise": first(5)}, {"noise": other(5)})
    first, other = SampleNoise(0, "s", 5, (1, 2, 2)), SampleNoise(0, "s", 5, (1, 2, 2))
    first(4)
    assert_same({"noise": first(5), "start": first.start()}, {"noise": other(5), "start": other.start()})
    points = torch.arange(4)
    one, two = (curve_noise("quasi", (3, 2), 0, points, 8, seed=0) for _ in range(2))
    assert_same({"noise": one}, {"noise": two})
