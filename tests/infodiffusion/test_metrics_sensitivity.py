"""What small feature networks see: the table that is measured, kept, said and asked for."""

import json

import numpy as np
import pytest
import torch
from launching import call
from safetensors import safe_open
from safetensors.torch import save_file

from infodiffusion import sensitivity as sweep
from infolab import results as tables
from infolab.data import load
from infolab.errors import UserError, run_main
from infolab.metrics.commands import main
from infolab.metrics.distances import fid
from infolab.metrics.features import Pixels, extract
from infolab.metrics.inputs import read_images
from infolab.metrics.networks import SmallNetwork, load_small, train_extractor
from infolab.metrics.sensitivity import (
    STRENGTHS,
    Seen,
    Sensitivity,
    blurred,
    measure,
    noised,
    require,
    shifted,
    spoiled,
)
from infolab.noise import generator


def command_line():
    """The command as the process ends."""
    run_main(main)


def source():
    return generator(0, "test")


def rewritten(path, out, change):
    """The network's file with another header."""
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["about"])
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(about)
    save_file(state, out, {"about": json.dumps(about)})
    return out


# ---- distortions


def test_noise_blur_and_shift_do_what_they_say():
    images = torch.full((50, 1, 16, 16), 128, dtype=torch.uint8)
    noisy = noised(images, 20, source()).double() - 128
    # sd of 12,800 draws: relative error 1/sqrt(2 n) = 0.6%; rounding adds 1/12 to a variance of 400.
    assert abs(float(noisy.std()) / (400 + 1 / 12) ** 0.5 - 1) < 4 * 0.0063
    dot = torch.zeros(1, 1, 15, 15, dtype=torch.uint8)
    dot[..., 7, 7] = 255
    found = blurred(dot, 1.0)[0, 0].double()
    spread = (found.sum(0) * (torch.arange(15) - 7.0) ** 2).sum() / found.sum()
    assert abs(float(spread) - 1) < 0.1  # levels are rounded: up to half a level in each of about 40 pixels
    assert torch.equal(shifted(dot, 2.0), dot.roll(2, -1))
    assert shifted(dot, 0.5)[0, 0, 7, 6:10].tolist() == [0, 128, 128, 0]


def test_training_images_are_spoiled_by_what_their_levels_say():
    images = torch.randint(60, 190, (900, 1, 8, 8), generator=source(), dtype=torch.uint8)
    shown, levels = spoiled(images, source())
    plain = (levels == 0).all(1)
    assert torch.equal(shown[plain], images[plain].float())
    # A third each: binomial with n = 900, sd 0.0157.
    for share in (plain, levels[:, 0] > 0, levels[:, 1] > 0):
        assert abs(float(share.double().mean()) - 1 / 3) < 4 * 0.0157
    noise = (shown - images)[levels[:, 0] > 1.1].std()  # sd above 20 grey levels
    assert noise > 20
    assert float(levels[:, 0].amax()) < np.log(11)


# ---- the table


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The file of the network that `features` makes of digits."""
    out = tmp_path_factory.mktemp("digits") / "net.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["metrics", "features", "--data", "digits", "--out", str(out)])
        main()
    return out


@pytest.fixture(scope="module")
def blind(digits, tmp_path_factory):
    """The file of a network that has hardly been trained."""
    held_out, known = read_images("digits:test", "", digits.parent), load("digits", "test")
    train = read_images("digits", "", digits.parent)
    network = train_extractor(train, load("digits", "train").labels, "small-digits", steps=1)
    out = tmp_path_factory.mktemp("blind") / "net.safetensors"
    network.calibrate(held_out, known.labels).save(out)
    return out


def test_digits_see_noise_of_40_and_the_file_keeps_what_is_measured_again(digits):
    network = load_small(digits)
    assert network.sensitivity.asked > 5
    assert network.sensitivity.n == 360
    counts = {name: [row.distortion for row in network.sensitivity.rows].count(name) for name in STRENGTHS}
    assert counts == dict.fromkeys(STRENGTHS, 3)
    known = load("digits", "test")
    again = measure(network, read_images("digits:test", "", digits.parent), known.labels)
    for kept, row in zip(network.sensitivity.rows, again.rows, strict=True):
        assert (kept.distortion, kept.strength, kept.n) == (row.distortion, row.strength, row.n)
        numbers = ((one.fid, one.fid_se, one.clean_fid, one.clean_fid_se) for one in (kept, row))
        assert next(numbers) == pytest.approx(next(numbers), rel=1e-4)
    # By hand: the same halves, the same noise.
    order = torch.randperm(360, generator=generator(0, "sensitivity", "halves"))
    images = read_images("digits:test", "", digits.parent)
    noisy = noised(images[order[180:]], 40, generator(0, "sensitivity", "noise"))
    found = fid(extract(network, images[order[:180]]), extract(network, noisy), force=True)
    row = network.sensitivity.rows[1]
    assert (row.fid, row.fid_se) == pytest.approx((found.value, found.se), rel=1e-4)
    expected = (row.fid - row.clean_fid) / np.hypot(row.fid_se, row.clean_fid_se)
    assert network.sensitivity.asked == pytest.approx(expected)


@pytest.mark.slow
def test_sprites_see_noise_of_40():
    images, held_out = (read_images(f"sprites:{split}", "", None) for split in ("train", "test"))
    network = train_extractor(images, load("sprites").factors, "small-sprites")
    network.calibrate(held_out, load("sprites", "test").factors)
    assert network.sensitivity.n == 3_000
    assert network.sensitivity.asked > 5


def test_a_mode_left_out_is_compared_with_as_many_images():
    images = torch.randint(0, 40, (600, 1, 2, 2), generator=source(), dtype=torch.uint8)
    labels = torch.arange(600) % 3 + 5
    images[labels == 5] += 200
    found = measure(Pixels(), images, labels)
    modes = {row.strength: row for row in found.rows if row.distortion == "mode"}
    assert modes[1.0].standard_errors > 5
    assert modes[1.0].n == pytest.approx(200, abs=4 * 8.2)  # of 300 images, a third: binomial, sd 8.2
    assert modes[0.25].n > modes[0.5].n > modes[1.0].n
    # Without class 5 the mean level of a pixel falls by a third of 200, and four pixels' FID by at least its square.
    assert modes[1.0].fid - modes[1.0].clean_fid > 0.9 * 4 * (200 / 3 / 255) ** 2
    assert {row.distortion for row in measure(Pixels(), images, None).rows} == {"noise", "blur", "shift"}
    assert measure(Pixels(), images[:99], labels[:99]) is None


# ---- what the commands do with it


@pytest.fixture
def samples(tmp_path):
    images = read_images("digits:test", "", tmp_path)
    np.save(tmp_path / "x.npy", images[:180].numpy())
    np.save(tmp_path / "y.npy", images[180:].numpy())
    return ["--real", str(tmp_path / "x.npy"), "--generated", str(tmp_path / "y.npy")]


@pytest.mark.parametrize("command", ["fid", "kid", "mmd"])
def test_every_distance_says_what_its_network_sees(command, digits, samples, monkeypatch, capsys):
    forced = ["--force"] if command == "fid" else []
    code, out, err = call(command_line, monkeypatch, capsys, command, *samples, "--features", digits, *forced, "--json")
    assert code == 0, err
    seen = json.loads(out)["sensitivity"]
    assert seen == load_small(digits).sensitivity.as_record()
    assert seen["noise"]["40"] > 5
    assert "noise 20/40/80: " in err
    code, out, _ = call(command_line, monkeypatch, capsys, command, *samples, "--features", digits, *forced)
    assert code == 0
    assert "sensitivity" not in out


def old(digits, tmp_path):
    """A file as they were before there were tables."""
    network = SmallNetwork("small-digits", 1, (10,), version=1)
    network.save(tmp_path / "new.safetensors")
    return rewritten(tmp_path / "new.safetensors", tmp_path / "old.safetensors", lambda about: about.pop("version"))


@pytest.mark.parametrize("which", ["blind", "old"])
def test_a_blind_network_is_refused_unless_forced(which, blind, digits, samples, tmp_path, monkeypatch, capsys):
    path = blind if which == "blind" else old(digits, tmp_path)
    told = "sees noise of 40/255 by " if which == "blind" else "nobody measured what small-digits sees"
    code, out, err = call(command_line, monkeypatch, capsys, "kid", *samples, "--features", path)
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert told in line
    assert "--force-features" in line
    code, out, err = call(command_line, monkeypatch, capsys, "kid", *samples, "--features", path, "--force-features")
    assert code == 0
    assert "warning: " in err
    assert told in err
    assert out.startswith("kid")


def test_old_networks_give_their_64_features(digits, tmp_path):
    network = load_small(old(digits, tmp_path))
    assert network(torch.zeros(2, 1, 8, 8, dtype=torch.uint8)).shape == (2, 64)
    assert network.sensitivity is None


def test_networks_that_nothing_is_known_of_pass():
    assert require(Pixels(), force=False) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda about: about.update(version=99),
        lambda about: about["sensitivity"].update(version=99),
        lambda about: about["sensitivity"].update(rows=[]),
        lambda about: about["sensitivity"]["rows"][1].update(fid=float("nan")),
        lambda about: about["sensitivity"]["rows"][1].update(fid="1"),
        lambda about: about["sensitivity"]["rows"][1].pop("n"),
        lambda about: about["sensitivity"]["rows"].pop(1),
    ],
)
def test_a_damaged_table_is_refused(digits, tmp_path, change):
    with pytest.raises(UserError, match="small feature network"):
        load_small(rewritten(digits, tmp_path / "net.safetensors", change))


def test_a_folders_network_is_measured_on_every_tenth_image(tmp_path, monkeypatch, capsys):
    images = read_images("digits", "", tmp_path)[:1_100]
    np.save(tmp_path / "x.npy", images.numpy())
    words = ("features", "--data", tmp_path / "x.npy", "--out", tmp_path / "net.safetensors", "--steps", 2, "--json")
    code, out, err = call(command_line, monkeypatch, capsys, *words)
    assert code == 0, err
    assert json.loads(out)["n"] == 990
    assert json.loads(out)["sensitivity"]["n"] == 110
    np.save(tmp_path / "x.npy", images[:900].numpy())
    assert json.loads(call(command_line, monkeypatch, capsys, *words)[1])["sensitivity"] is None


def test_the_sweep_writes_the_table_of_the_network_it_keeps(tmp_path, monkeypatch, capsys):
    where = ("--results-dir", tmp_path / "results", "--runs-dir", tmp_path / "runs")
    code, _, err = call(sweep.main, monkeypatch, capsys, "smoke", *where)
    assert code == 0, err
    rows = tables.read(tmp_path / "results", "infodiffusion/sensitivity")
    (path,) = (tmp_path / "runs").rglob("*.safetensors")
    kept = load_small(path)
    assert set(rows["network"]) == {kept.name} == {path.stem}
    assert rows["fid"].tolist() == [row.fid for row in kept.sensitivity.rows]
    assert rows["standard_errors"].tolist() == [row.standard_errors for row in kept.sensitivity.rows]


def test_a_table_reads_as_it_was_written():
    rows = tuple(Seen("noise", sd, "", 50, 50, sd, 0.3, 1.0, 0.4) for sd in (20.0, 40.0))
    kept = Sensitivity(rows)
    assert Sensitivity.from_json(json.loads(json.dumps(kept.as_json()))) == kept
    assert kept.asked == pytest.approx((40 - 1) / 0.5)
