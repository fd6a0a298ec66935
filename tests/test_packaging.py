"""The wheel holds the library alone, and its command reads a user's own model from the user's own folder."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

import infolab

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    # A copy, as setuptools leaves its build folder beside the sources.
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for name in names:
        if name.startswith("infolab/") or re.match(r"pyproject|requirements|README|LICENSE", name):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    words = [
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(folder / "source"),
    ]
    subprocess.run([sys.executable, *words], cwd=folder, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel):
    folder = wheel.parent / "installed"
    words = ["-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run([sys.executable, *words], check=True)
    return folder


def run(installed, folder, *words):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True)


def test_the_wheel_holds_the_library_alone_with_its_types_and_requirements(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.split("/")[0] for name in names} == {"infolab", f"infolab-{metadata_version(metadata)}.dist-info"}
    assert "infolab/py.typed" in names
    needed = [
        line.split()[1] for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line
    ]
    listed = [line for line in (ROOT / "requirements-infolab.txt").read_text().splitlines() if not line.startswith("#")]
    assert sorted(needed) == sorted(listed)


def metadata_version(metadata):
    return re.search(r"^Version: (.*)$", metadata, re.M).group(1)


def test_importing_is_light_and_every_public_name_is_there(installed, tmp_path):
    code = (
        "import sys, infolab; assert 'torch' not in sys.modules; "
        "[getattr(infolab, name) for name in infolab.PUBLIC]; "
        "print({name.split('.')[0] for name in sys.modules} & set(sys.argv[1:]))"
    )
    foreign = "matplotlib seaborn tensorboard jinja2 pytest diffusers vae diffusion".split()
    done = run(installed, tmp_path, "-c", code, *foreign)
    assert (done.returncode, done.stdout.strip()) == (0, "set()"), done.stderr


def test_the_command_reads_a_model_of_the_folder_where_it_is_called(installed, tmp_path):
    (tmp_path / "my_model.py").write_text(
        "import torch\n\n\ndef net(x, t):\n    return torch.zeros_like(x)  # v of a standard Gaussian\n"
    )
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((400, 2)))
    words = "-m infolab nll --denoiser my_model:net --predicts v --schedule cosine --data x.npy --points 40 --json"
    done = run(installed, tmp_path, *words.split())
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["nll_nats"]
    assert abs(found["value"] - (1 + np.log(2 * np.pi))) < 4 * found["se_data"] + 1e-3  # entropy of N(0, I) in 2-D
    assert run(installed, tmp_path, "-m", "infolab", "no").returncode == 2
    assert "calibrate" in run(installed, tmp_path, "-m", "infolab", "--help").stdout


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = infolab.no_such_name
