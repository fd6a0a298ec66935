"""Damaged and foreign files, through the commands: exit code 2, one sentence, nothing written; or the right numbers."""

import gzip
import json
import struct
import zipfile

import numpy as np
import pytest
import torch
from foreign_files import LONG, READERS, outcome
from launching import call

from infolab import bound, files, kl, nll
from infolab.arrays import read_array
from infolab.data import cifar, load
from infolab.data.factor_files import SHAPES3D, shapes3d
from infolab.errors import UserError
from infolab.files import load_npy, load_npz
from infolab.memorization import read_long
from infolab.metrics import Features, fid, load_moments, moments
from infolab.metrics.commands import main as metrics_main
from infolab.mi.command import main as mi_main
from infolab.pretrained import load_denoiser
from itdiffusion.shapes_model import points_law
from vae import memorization

POINTS = np.random.default_rng(1).standard_normal((60, 2))
ZIPPED = gzip.compress(LONG.encode(), mtime=0)
COMMANDS = {
    "terms": (bound.main, "--data {}"),
    "nll": (nll.main, "--denoiser math:sqrt --data {}"),
    "nll reference": (nll.main, "--denoiser math:sqrt --data good.npy --reference {}"),
    "mi": (mi_main, "--x {} --y good.npy"),
    "kl": (kl.main, "--score math:sqrt --modes {}"),
    "fid": (lambda: files_main("fid"), "--real {} --generated good.npy --force"),
    "kid": (lambda: files_main("kid"), "--real good.npy --generated {}"),
    "mig": (lambda: files_main("mig"), "--codes {} --factors good.npy"),
    "stats": (lambda: files_main("stats"), "--images {} --out S.npz"),
    "features": (lambda: files_main("features"), "--data {} --out net.safetensors"),
}


def files_main(command):
    """`python -m infodiffusion.metrics COMMAND`, ending as the process does."""
    import sys

    from infolab.errors import run_main

    sys.argv.insert(1, command)
    run_main(metrics_main)


@pytest.fixture
def ends(tmp_path, monkeypatch, capsys):
    """(command, file) -> the sentence with which the command ends; nothing else is printed or written."""
    monkeypatch.chdir(tmp_path)
    np.save("good.npy", POINTS)

    def run(name, file):
        before = sorted(tmp_path.rglob("*"))
        main, words = COMMANDS[name]
        code, out, err = call(main, monkeypatch, capsys, *words.format(file).split())
        assert (code, out, err.count("\n"), err[:7]) == (2, "", 1, "error: "), (name, err)
        assert str(file) in err
        assert sorted(tmp_path.rglob("*")) == before
        return err

    return run


def announcing(shape):
    """A .npy file whose header announces more numbers than it has."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(64)


FILES = {
    "empty.npy": (lambda path: path.write_bytes(b""), "it is empty"),
    "text.npy": (lambda path: path.write_text("1,2\n3,4\n"), "magic string"),
    "half.npy": (lambda path: path.write_bytes(npy(POINTS)[:500]), "announces 960 bytes of numbers and it holds 372"),
    "more.npy": (lambda path: path.write_bytes(npy(POINTS) + b"\0"), "announces 960 bytes of numbers and it holds 961"),
    "huge.npy": (lambda path: path.write_bytes(announcing((10**15,))), "announces 8,000,000,000,000,000 bytes"),
    "several.npy": (lambda path: path.write_bytes(npz(mu=POINTS)), "several arrays"),
    "names.npy": (lambda path: np.save(path, np.array(["a", "b"])), "type <U1"),
    "objects.npy": (lambda path: np.save(path, np.array([None, 1])), "Python objects"),
    "folder.npy": (lambda path: path.mkdir(), "is a folder"),
}


def npy(array):
    import io

    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npz(**arrays):
    import io

    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


LABELS = {("mi", "names.npy")}
"""What takes names of classes."""


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name in COMMANDS for kind in FILES if (name, kind) not in LABELS]
)
def test_a_file_that_is_no_array_of_numbers(ends, tmp_path, name, kind):
    write, said = FILES[kind]
    write(tmp_path / kind)
    if kind == "folder.npy" and name in ("fid", "kid", "stats", "features"):  # take folders of images
        said = "has no .png" if name == "features" else ""
    assert said in ends(name, kind)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b[: len(b) // 2], "File is not a zip file"),
        (lambda b: b[: len(b) // 2] + b"\xff" * 6 + b[len(b) // 2 + 6 :], "CRC"),
        (lambda b: b"", "File is not a zip file"),
        (lambda b: npy(POINTS), "File is not a zip file"),
    ],
)
def test_statistics_that_are_cut_or_changed_inside(ends, tmp_path, change, said):
    (tmp_path / "S.npz").write_bytes(change(npz(mu=np.zeros(60), sigma=np.cov(POINTS))))  # sigma fills the middle
    err = ends("fid", "S.npz")
    assert said in err
    assert "infodiffusion.metrics stats" in err


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"mu": np.array(["a", "b"])}, "mu of type <U1"),
        ({"sigma": np.array([["1", "0"], ["0", "1"]])}, "sigma of type <U1"),
        ({"n": np.array([3, 4])}, "n is of shape (2,)"),
        ({"n": np.array("many")}, "no number of examples"),
        ({"n": np.array(-1)}, "no number of examples"),
        ({"extractor": np.array([1.0])}, "are no names"),
    ],
)
def test_statistics_of_other_types_are_refused(ends, tmp_path, arrays, said):
    np.savez(tmp_path / "S.npz", **({"mu": np.zeros(2), "sigma": np.eye(2)} | arrays))
    assert said in ends("fid", "S.npz")


def test_big_endian_numbers_are_read_right(tmp_path):
    mean, cov = POINTS.mean(0), np.cov(POINTS.T)
    np.savez(tmp_path / "S.npz", mu=mean.astype(">f8"), sigma=cov.astype(">f8"), n=np.array(60, ">i4"))
    found = load_moments(tmp_path / "S.npz")
    assert (found.mean.tolist(), found.cov.tolist(), found.n) == (mean.tolist(), cov.tolist(), 60)
    sample = Features(torch.from_numpy(POINTS + 1))
    assert fid(found, sample, force=True).value == pytest.approx(
        fid(moments(Features(torch.from_numpy(POINTS))), sample, force=True).value
    )
    for kind in (">f8", ">f4", ">i8", ">u2", "<f8"):
        array = np.arange(1, 7).reshape(3, 2).astype(kind)
        np.save(tmp_path / "x.npy", array)
        assert read_array(tmp_path / "x.npy").tolist() == [[1, 2], [3, 4], [5, 6]]
        assert points_law(tmp_path / "x.npy").mixture.means.shape == (3, 2)
    # In a library call too.
    big = Features(POINTS.astype(">f8"))
    assert torch.equal(big.values, torch.from_numpy(POINTS))


def test_points_of_three_columns_are_refused(tmp_path):
    np.save(tmp_path / "p.npy", np.zeros((5, 3)))
    with pytest.raises(UserError, match=r"shape \(5, 3\).*expected finite points \(n, 2\)"):
        points_law(tmp_path / "p.npy")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("header", ["", "x,y\n", "# x,y\n"])
def test_every_row_of_a_csv_of_points_is_read(tmp_path, encoding, header):
    (tmp_path / "p.csv").write_text(header + "10,1\n20,2\n60,3\n", encoding=encoding)
    found = points_law(tmp_path / "p.csv").mixture.means[:, 0]
    assert len(found) == 3
    # Standardised: 10 and 20 are a fifth of the whole range apart.
    assert float((found[1] - found[0]) / (found[2] - found[0])) == pytest.approx(0.2)


@pytest.mark.parametrize("text", ["1,2\nx,y\n3,4\n", "x,y\n1,2\nn1,2\n", "x,y\n1 000,2\n3,4\n", "1,2\n3,4\n5,\n"])
def test_a_row_that_is_no_point_is_not_left_out(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match="is not a set of points"):
        points_law(tmp_path / "p.csv")


def test_a_table_of_scores_with_a_byte_order_mark_is_read_whole(tmp_path):
    (tmp_path / "a.csv").write_text(LONG, encoding="utf-8-sig")
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(LONG.encode("utf-8-sig")))
    for name in ("a.csv", "b.csv.gz"):
        found = read_long(tmp_path / name)
        assert len(found) == 12
        assert found["run"].tolist() == ["r0"] * 6 + ["r1"] * 6


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "a.csv.gz",
            gzip.compress(LONG.encode())[:12] + b"\xff" * 6 + gzip.compress(LONG.encode())[18:],
            "error: Error -3",
        ),
        ("a.csv.gz", gzip.compress(LONG.encode())[:-9], "end-of-stream"),
        ("a.csv.gz", LONG.encode(), "Not a gzipped file"),
        ("a.csv.gz", b"", "0 bytes"),
        ("a.csv", b"", "No columns"),
        ("a.csv", ZIPPED, "decode"),
        ("a.csv", b"run,index,inside,logpx\na,True,1,-1\nb,True,0,-2\na,False,0,-1\nb,False,1,-3\n", "True or False"),
    ],
)
def test_a_bad_table_of_scores_is_refused_before_anything_is_written(
    tmp_path, monkeypatch, capsys, name, content, said
):
    (tmp_path / name).write_bytes(content)
    words = ("scores", "--logpx", tmp_path / name, "--out", tmp_path / "out.csv")
    code, out, err = call(memorization.main, monkeypatch, capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not (tmp_path / "out.csv").exists()


def test_indices_of_any_kind_have_scores(tmp_path):
    from infolab.memorization import score_table, summary

    for names in ([0, 1], [1.5, 2.5], ["a", "b"], [True, "x"]):
        text = "run,index,inside,logpx\n" + "".join(
            f"r{k},{name},{(i + k) % 2},{-i - k}\n" for k in range(2) for i, name in enumerate(names)
        )
        (tmp_path / "a.csv").write_text(text)
        long = read_long(tmp_path / "a.csv")
        found = summary(score_table(long), long)
        assert found["n"] == 2
        assert found["score_nats"]["value"] == 0  # -1 - 0 inside less outside, and 1


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", [b"", b"text of no such kind", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"{}"])
def test_every_reader_says_what_is_wrong_and_where(tmp_path, name, content):
    path = READERS[name].write(tmp_path)
    path.write_bytes(content)
    message, found = outcome(name, tmp_path)
    if name == "checkpoint":
        assert found == []  # set aside
        assert (tmp_path / f"{path.name}.corrupt").exists()
    elif name == "scheduler" and content == b"{}":
        assert found[0][0] == 1000  # diffusers' own defaults
    else:
        assert found is None
        assert path.name in message


def test_a_damaged_scheduler_of_a_whole_folder_is_named(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    with torch.random.fork_rng(devices=[]):
        unet = diffusers.UNet2DModel(
            sample_size=8, block_out_channels=(32,), layers_per_block=1, down_block_types=("DownBlock2D",),
            up_block_types=("UpBlock2D",),
        )  # fmt: skip
    unet.save_pretrained(tmp_path)
    path = tmp_path / "scheduler_config.json"
    for content in ('{"num_train_timesteps": 1', '{"beta_end": "x"}', "[1]", '{"num_train_timesteps": 1e15}', "\x00"):
        path.write_text(content)
        with pytest.raises(UserError, match=r"scheduler_config\.json' is not a scheduler_config\.json") as error:
            load_denoiser(tmp_path)
        assert "\n" not in str(error.value)
    path.write_text(json.dumps({"num_train_timesteps": 20, "beta_end": 0.5}), encoding="utf-8-sig")
    assert load_denoiser(tmp_path).schedule.steps == 20
    weights = next(tmp_path.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="not a whole DDPM of diffusers"):
        load_denoiser(tmp_path)


def test_3dshapes_that_are_cut_or_of_another_shape(tmp_path):
    h5py = pytest.importorskip("h5py")
    other_shape, other_type = np.zeros((4, 64, 64), np.uint8), np.zeros((4, 64, 64, 3))
    for images in (other_shape, other_type):
        with h5py.File(tmp_path / SHAPES3D, "w") as file:
            file["images"], file["labels"] = images, np.zeros((4, 6))
        with pytest.raises(UserError, match="is not 3dshapes' file"):
            shapes3d(tmp_path)
    path = tmp_path / SHAPES3D
    for content in (path.read_bytes()[:2000], b""):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is not 3dshapes' file"):
            shapes3d(tmp_path)


def test_what_the_memory_cannot_hold_is_refused_before_it_is_taken(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros(1000))
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(bytes(100_000)))  # 133 bytes
    with zipfile.ZipFile(tmp_path / "S.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mu.npy", npy(np.zeros(1000)))
    monkeypatch.setattr(files, "_memory", lambda: 5_000)
    for read in (
        lambda: load_npy(tmp_path / "x.npy"),
        lambda: load_npz(tmp_path / "S.npz", ("mu",)),
        lambda: read_long(tmp_path / "a.csv.gz"),
    ):
        with pytest.raises(UserError, match="needs more memory than there is"):
            read()


def test_a_pickle_that_asks_for_places_without_end_is_refused(tmp_path):
    write = READERS["cifar batch"].write
    content = write(tmp_path).read_bytes()
    # LONG_BINPUT keeps a value under a number; all numbers before it would take memory (64 GiB here).
    (tmp_path / cifar.FOLDER / "test_batch").write_bytes(content[:2] + b"}r\xff\xff\xff\xff0" + content[2:])
    with pytest.raises(UserError, match="keeps value number 4,294,967,295"):
        load("cifar10", "test", data_dir=tmp_path)


def test_the_files_of_a_study_are_all_read_before_a_table_is_written(tmp_path, monkeypatch, capsys):
    for lr in ("a", "b"):
        (tmp_path / lr).mkdir()
        READERS["study"].write(tmp_path / lr)
    last = sorted((tmp_path / "b").iterdir())[-1]
    for content in (last.read_bytes()[:40], last.read_bytes()[:12] + b"\xff" * 6 + last.read_bytes()[18:]):
        last.write_bytes(content)
        words = ("import", tmp_path, "--results-dir", tmp_path / "results", "--data-dir", tmp_path)
        code, _, err = call(memorization.main, monkeypatch, capsys, *words)
        assert (code, err.count("\n")) == (2, 1)
        assert str(last) in err
        assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("store", "said"),
    [("good.npy", "is what is read"), ("a.txt", "ends in .npy"), ("no/a.npy", "no folder"), (".", "ends in .npy")],
)
def test_where_curves_cannot_be_stored_is_said_before_the_work(ends, store, said):
    COMMANDS["store"] = (nll.main, "--denoiser math:sqrt --data good.npy --store {}")
    assert said in ends("store", store)
