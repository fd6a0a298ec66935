"""Launchers find the repository wherever they are called from: through a link, with CDPATH set, by a relative path."""

import subprocess

import pytest
from launching import REPOSITORY, environment, recording_python

LAUNCHERS = sorted(
    str(path.relative_to(REPOSITORY)) for name in ("run", "submit") for path in REPOSITORY.glob(f"*/{name}_*.sh")
)


def test_every_script_goes_home_in_the_same_way():
    home = 'CDPATH=\'\' cd "$(dirname "$(readlink -f "$0")")/.."'
    scripts = [path for path in REPOSITORY.glob("*/*.sh") if "dirname" in path.read_text()]
    assert len(scripts) > len(LAUNCHERS)
    assert [path.name for path in scripts if home not in path.read_text()] == []


@pytest.mark.parametrize("script", LAUNCHERS[::4])
def test_a_launcher_finds_the_repository(script, tmp_path):
    python = recording_python(tmp_path / "python", 3)
    (tmp_path / "trap" / script.split("/")[0]).mkdir(parents=True)  # CDPATH would lead here
    link = tmp_path / "launch.sh"
    link.symlink_to(REPOSITORY / script)
    for words, place in (([script], REPOSITORY), ([str(link)], tmp_path)):
        done = subprocess.run(
            ["sh", *words, "smoke", "--count"], cwd=place, capture_output=True, text=True,
            env=environment(PY=python, CDPATH=str(tmp_path / "trap")),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert done.stdout == "3\n"
