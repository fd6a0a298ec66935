"""A launcher of each paper, twice: at once, and stopped by its time limit and started again. The results are equal."""

import pandas as pd
import pytest
from launching import shell

LAUNCHERS = (
    "diffusion/run_digits.sh", "itdiffusion/run_digits.sh", "vae/run_memorization.sh", "scoregen/run_digit_clusters.sh",
    "infodiffusion/run_digits.sh",
)  # fmt: skip
TRY_AGAIN = 75


def results_of(folder):
    """Tables without the seconds that they took, and the bytes of arrays, by their path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".npz":
            found[name] = path.read_bytes()
        elif path.name.endswith((".csv", ".csv.gz")):
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
            found[name] = table.drop(columns="seconds", errors="ignore").to_csv()
    return found


@pytest.mark.slow
@pytest.mark.bits
@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_a_smoke_run_that_was_stopped_has_the_results_of_one_that_was_not(launcher, tmp_path):
    def launch(folder, *words):
        places = ("--runs-dir", tmp_path / folder / "runs", "--results-dir", tmp_path / folder / "results")
        return shell(launcher, "smoke", *places, *words, cwd=tmp_path, JOBS=1)

    done = launch("whole")
    assert done.returncode == 0, done.stderr
    assert launch("stopped", "--max-minutes", "1e-9").returncode == TRY_AGAIN
    done = launch("stopped")
    assert done.returncode == 0, done.stderr
    assert "resumed at step" in done.stderr
    whole, stopped = (results_of(tmp_path / folder / "results") for folder in ("whole", "stopped"))
    assert len(whole) > 1
    assert whole == stopped
