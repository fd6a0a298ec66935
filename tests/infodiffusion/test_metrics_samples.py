"""Distances of samples: FID and KID against closed forms, against torch-fidelity, and with the errors they state."""

import builtins
import importlib
import math
import re

import pytest
import torch
from gaussian_laws import draw, law

from infolab.errors import UserError
from infolab.metrics import as_features, extract, fid, kid, load_extractor, mmd, network_name, train_extractor
from infolab.metrics.networks import Inception, resize_clean
from infolab.noise import generator


def test_kid_is_unbiased_with_an_honest_error_at_few_examples():
    (m1, S1), (m2, S2) = law(0), law(1)
    # E k(x, y) of (x . y / d + 1)^3 from moments: a large sample's mean stands for it.
    found = [kid(draw(m1, S1, 60, 2 * seed), draw(m2, S2, 50, 2 * seed + 1)) for seed in range(100)]
    values = torch.tensor([item.value for item in found])
    large = kid(draw(m1, S1, 1_500, 1_001), draw(m2, S2, 1_500, 1_002))
    spread = float(values.std())
    assert abs(float(values.mean()) - large.value) < 4 * math.hypot(spread / 10, large.se)
    assert 0.7 < math.sqrt(sum(item.se**2 for item in found) / 100) / spread < 1.4
    assert found[0].name == "kid[none,resize=none,ref=train,n=50]"


def test_fid_and_kid_are_those_of_torch_fidelity_on_the_same_features():
    pytest.importorskip("torch_fidelity")
    metric_fid, metric_kid = (importlib.import_module(f"torch_fidelity.metric_{name}") for name in ("fid", "kid"))
    real, generated = draw(*law(0), 400, 0), draw(*law(1), 400, 1)
    stats = [metric_fid.fid_features_to_statistics(part.values) for part in (real, generated)]
    theirs = metric_fid.fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    assert fid(real, generated, force=True).value == pytest.approx(theirs, rel=1e-6)
    # Subsets as large as the sample: one of them is the estimate over all pairs.
    theirs = metric_kid.kid_features_to_metric(
        real.values, generated.values, kid_subsets=1, kid_subset_size=400, verbose=False
    )
    assert kid(real, generated).value == pytest.approx(theirs["kernel_inception_distance_mean"], rel=1e-9)


def test_mmd_variants_are_named():
    source = generator(0, "mmd")
    x, y = as_features(torch.randn(40, 3, generator=source)), as_features(torch.randn(30, 3, generator=source) + 2)
    median = mmd(x, y)
    assert median.name == "mmd[none,resize=none,ref=train,n=30,kernel=median]"
    assert median.value > 3 * median.se
    published, biased = mmd(x, y, "published"), mmd(x, y, "published", biased=True)
    assert biased.name.endswith("kernel=published,biased]")
    assert biased.value > published.value
    with pytest.raises(UserError, match="kernel"):
        mmd(x, y, "other")


@pytest.fixture(scope="module")
def shapes():
    """Bright squares in one of four corners: uint8 images and the corner."""
    corner = torch.arange(400) % 4
    images = torch.randint(0, 60, (400, 1, 16, 16), generator=generator(0, "shapes"), dtype=torch.uint8)
    for i, c in enumerate(corner.tolist()):
        images[i, :, 8 * (c // 2) : 8 * (c // 2) + 6, 8 * (c % 2) : 8 * (c % 2) + 6] += 150
    return images, corner


@pytest.mark.bits
def test_a_small_network_learns_its_data_set_and_is_kept(shapes, tmp_path):
    images, corner = shapes
    network = train_extractor(images, corner, "small-corners", steps=40, batch=32)
    assert re.fullmatch(r"small-corners-[0-9a-f]{8}", network.name)
    again = train_extractor(images, corner, "small-corners", steps=40, batch=32)
    assert torch.equal(network(images[:5]), again(images[:5]))
    features = extract(network, images)
    assert (features.extractor, features.resize) == (network.name, "none")
    assert abs(float(features.values.mean())) < 1e-3
    assert abs(float(features.values[:, :64].var(0).mean()) - 1) < 0.02
    assert float(features.values[:, 64:].var(0).max()) < 1.02  # the levels, whose unit is 0.5 at least
    # Samples of the wrong kind lie far away, others of the same kind do not.
    half, rest = images[:200], images[200:]
    same, wrong = (
        kid(extract(network, half), extract(network, rest)),
        kid(extract(network, half), extract(network, 255 - rest)),
    )
    assert abs(same.value) < 5 * same.se
    assert wrong.value > 10 * wrong.se
    network.save(tmp_path / "net.safetensors")
    loaded = load_extractor(tmp_path / "net.safetensors")
    assert loaded.name == network.name
    assert torch.equal(loaded(images[:5]), network(images[:5]))
    with pytest.raises(UserError, match="1 channels"):
        extract(network, images.expand(-1, 3, -1, -1))
    with pytest.raises(UserError, match="expected uint8"):
        extract(network, images.float())


def test_networks_of_another_training_have_another_name(shapes):
    images, corner = shapes
    dimmed = images.clone()
    dimmed[7, 0, 3, 3] += 1
    names = [
        network_name(images, corner, "small-corners"),
        network_name(images[:-1], corner[:-1], "small-corners"),
        network_name(dimmed, corner, "small-corners"),
        network_name(images, corner.flip(0), "small-corners"),
        network_name(images, None, "small-corners"),
        network_name(images, corner, "small-corners", steps=10),
    ]
    assert len(set(names)) == len(names)
    assert network_name(images.numpy(), corner[:, None], "small-corners") == names[0]


def test_without_labels_it_learns_rotations_and_other_seeds_have_other_names(shapes):
    network = train_extractor(shapes[0], None, "small-corners", seed=3, steps=2, batch=8)
    assert re.fullmatch(r"small-corners-seed3-[0-9a-f]{8}", network.name)
    assert network.classes == (4,)
    with pytest.raises(UserError, match="expected as many"):
        train_extractor(shapes[0], torch.zeros(3), "small-corners")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights in the layout of the published ones."""
    module = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")

    class Blank(module.FeatureExtractorInceptionV3):
        def load_state_dict(self, state, strict=True):
            pass

    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    torch.save({}, path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = Blank("inception-v3-compat", ["2048"], feature_extractor_weights_path=path)
    torch.save(network.state_dict(), path)
    return path


def test_inception_features_are_torch_fidelitys(weights):
    utils = importlib.import_module("torch_fidelity.utils")
    images = torch.randint(0, 256, (2, 1, 20, 24), generator=generator(0, "images"), dtype=torch.uint8)
    extractor = load_extractor(weights)
    assert extractor.name.startswith("inception-")
    assert extractor.name != "inception-2015"  # not the published weights, so not their name
    assert extractor.resize == "tf-bilinear"
    theirs = utils.create_feature_extractor(
        "inception-v3-compat", ["2048"], cuda=False, verbose=False, feature_extractor_weights_path=str(weights)
    )
    found = extract(extractor, images)
    assert found.values.shape == (2, 2048)
    torch.testing.assert_close(found.values, theirs(images.expand(-1, 3, -1, -1))[0])
    # At the network's own size nothing is resized, so both ways are the same network.
    large = torch.randint(0, 256, (1, 3, 299, 299), generator=generator(1, "images"), dtype=torch.uint8)
    torch.testing.assert_close(Inception(weights, "clean")(large), extractor(large), rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="resize"):
        load_extractor(weights, "nearest")


def test_clean_resizing_keeps_flat_images_averages_and_range():
    flat = torch.full((1, 1, 400, 500), 77, dtype=torch.uint8)
    torch.testing.assert_close(resize_clean(flat), torch.full((1, 1, 299, 299), 77.0))
    # Antialiased: a checkerboard of single pixels becomes grey when it shrinks.
    board = ((torch.arange(600)[:, None] + torch.arange(600)) % 2 * 255).to(torch.uint8)[None, None]
    inside = resize_clean(board)[..., 20:-20, 20:-20]
    assert float(inside.std()) < 40
    assert abs(float(inside.mean()) - 127.5) < 1
    edge = torch.zeros(1, 1, 20, 20, dtype=torch.uint8)
    edge[..., 10:] = 255
    assert float(resize_clean(edge).min()) == 0
    assert float(resize_clean(edge).max()) == 255


def test_files_that_are_no_weights_and_a_missing_package_are_named(weights, tmp_path, monkeypatch):
    (tmp_path / "junk.pth").write_bytes(b"not weights")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    for name in ("junk.pth", "other.pth"):
        with pytest.raises(UserError, match="not a file of the Inception weights"):
            load_extractor(tmp_path / name)
    with pytest.raises(UserError, match="there is no file"):
        load_extractor(tmp_path / "absent.pth")

    def missing(name, *rest):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match="pip install torch-fidelity"):
        load_extractor(weights)


def test_weights_are_read_without_running_code(tmp_path):
    pytest.importorskip("torch_fidelity")

    class Harmful:
        def __reduce__(self):
            return builtins.exec, ("raise SystemExit('code was run')",)

    torch.save({"x": Harmful()}, tmp_path / "harmful.pth")
    with pytest.raises(UserError, match="not a file of the Inception weights"):
        load_extractor(tmp_path / "harmful.pth")
