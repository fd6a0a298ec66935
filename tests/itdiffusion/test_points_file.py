import math

import numpy as np
import pytest
import torch

from infolab.errors import UserError
from infolab.noise import generator
from itdiffusion.shapes_model import points_law

POINTS = np.array([[0.0, 10.0], [4.0, 12.0], [8.0, 30.0]])


def write(folder, kind):
    path = folder / f"points.{kind}"
    if kind == "npy":
        np.save(path, POINTS)
    elif kind == "csv":
        path.write_text("x,y\n" + "".join(f"{x},{y}\n" for x, y in POINTS))
    elif kind == "txt":
        path.write_text("".join(f"{x}  {y}\n" for x, y in POINTS))
    else:  # as in the Datasaurus file, where other sets stand beside the dino
        rows = "".join(f"dino\t{x}\t{y}\n" for x, y in POINTS)
        path.write_text(f"dataset\tx\ty\naway\t1.0\t2.0\n{rows}star\t3.0\t4.0\n")
    return path


@pytest.mark.parametrize("kind", ["npy", "csv", "txt", "tsv"])
def test_every_kind_of_file_gives_the_same_law(tmp_path, kind):
    law = points_law(write(tmp_path, kind), jitter=0.5)
    torch.testing.assert_close(law.mixture.mean(), torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(law.mixture.cov().diagonal(), torch.ones(2, dtype=torch.float64))
    scale = math.sqrt(POINTS[:, 0].var() + 0.25)
    assert float(law.mixture.means[2, 0] - law.mixture.means[0, 0]) == pytest.approx(8 / scale)


def test_samples_have_the_stated_density(tmp_path):
    law = points_law(write(tmp_path, "npy"), jitter=0.5)
    x = law.sample(4000, generator(0, "points-file"))
    value = -law.log_prob(x)
    assert abs(float(value.mean()) - law.entropy().value) < 4 * float(value.std()) / math.sqrt(4000)


@pytest.mark.parametrize("text", ["", "x,y\n", "1,2\n", "1,2,3\n4,5,6\n", "1,2\n3\n", "1,2\n3,nan\n"])
def test_what_is_not_a_set_of_points_is_refused(tmp_path, text):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=r"bad.csv.*expected"):
        points_law(path)


def test_a_missing_file_and_a_bad_jitter_are_refused(tmp_path):
    with pytest.raises(UserError, match="there is no file"):
        points_law(tmp_path / "none.npy")
    with pytest.raises(UserError, match="--jitter"):
        points_law(write(tmp_path, "npy"), jitter=0.0)
