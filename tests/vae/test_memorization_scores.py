"""Memorization scores against closed forms: a Gaussian's leave-one-out and leave-fold-out, by file and by grid."""

import dataclasses
import gzip
import json

import numpy as np
import pandas as pd
import pytest
from launching import call
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from infolab.config import run_id
from infolab.memorization import MeanErrors, ScoreSums, read_long, score_table
from infolab.results import read, write_arrays
from vae import memorization
from vae.cv import SWEEPS
from vae.grids import as_grid
from vae.images import load_inputs
from vae.memorization import grid_scores
from vae.objective import fold_of

N, D, K, L = 60, 3, 5, 2


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D)) @ rng.normal(size=(D, D))
    x[0] *= 6  # one that every fit without it finds unlikely
    return x


def log_density(fit, x):
    """log N(x; maximum likelihood fit)."""
    return multivariate_normal(fit.mean(0), np.cov(fit.T, bias=True)).logpdf(x)


def leave_one_out(x):
    """M_i = 1/2 [d log(n/(n-1)) + log q + n D_i/((n-1) q) - D_i], q = 1 - D_i/(n-1)."""
    n, d = x.shape
    centred = x - x.mean(0)
    D_i = np.einsum("id,de,ie->i", centred, np.linalg.inv(np.cov(x.T, bias=True)), centred)
    q = 1 - D_i / (n - 1)
    return 0.5 * (d * np.log(n / (n - 1)) + np.log(q) + n * D_i / ((n - 1) * q) - D_i)


def fold_runs(x, folds):
    """(repeat, fold, log p(x) of all points, inside) of each refit."""
    for repeat, of in enumerate(folds):
        for fold in range(of.max() + 1):
            yield repeat, fold, log_density(x[of != fold], x), of != fold


def leave_fold_out(x, folds):
    """The score by its definition, point by point."""
    runs = list(fold_runs(x, folds))
    found = []
    for i in range(len(x)):
        sides = [[logpx[i] for _, _, logpx, inside in runs if inside[i] == wanted] for wanted in (True, False)]
        found.append(logsumexp(sides[0]) - np.log(len(sides[0])) - logsumexp(sides[1]) + np.log(len(sides[1])))
    return np.array(found)


def long_file(path, rows):
    frame = pd.DataFrame(rows, columns=["run", "index", "inside", "logpx"])
    frame.to_csv(path, index=False)
    return path


def test_leave_one_out_of_a_gaussian_is_the_closed_form(points, tmp_path):
    rows = [("all", i, 1, v) for i, v in enumerate(log_density(points, points))]
    rows += [(f"without {i}", i, 0, float(log_density(np.delete(points, i, 0), points[i]))) for i in range(N)]
    table = score_table(read_long(long_file(tmp_path / "long.csv", rows)))
    np.testing.assert_allclose(table["score"], leave_one_out(points), rtol=1e-9, atol=1e-11)
    assert table["score"].idxmax() == 0
    assert (table["runs_in"] == 1).all()


def test_leave_fold_out_of_a_gaussian_by_file(points, tmp_path, monkeypatch, capsys):
    folds = [fold_of(N, K, 0, repeat).numpy() for repeat in range(L)]
    rows = [
        (f"{repeat}/{fold}", 100 + i, int(inside[i]), logpx[i])
        for repeat, fold, logpx, inside in fold_runs(points, folds)
        for i in range(N)
    ]
    np.random.default_rng(1).shuffle(rows)
    path, out = long_file(tmp_path / "long.csv.gz", rows), tmp_path / "scores.csv"
    words = ["scores", "--logpx", path, "--out", out, "--json"]
    code, printed, _ = call(memorization.main, monkeypatch, capsys, *words)
    assert code == 0
    table, expected = pd.read_csv(out), leave_fold_out(points, folds)
    assert table["index"].tolist() == list(range(100, 100 + N))
    np.testing.assert_allclose(table["score"], expected, rtol=1e-9)
    assert set(table["runs_in"]) == {(K - 1) * L}
    assert set(table["runs_out"]) == {L}
    record = json.loads(printed)
    assert record["score_nats"]["value"] == pytest.approx(expected.mean())
    found = record["score_quantile_0.95_nats"]
    assert found["value"] == pytest.approx(np.sort(expected)[56])
    assert found["low"] <= found["value"]
    assert found["high"] is None  # 60 images do not bound it: all lie below it with chance 0.95^60


def test_the_error_of_a_table_says_what_it_is_over(points, tmp_path, monkeypatch, capsys):
    folds = [fold_of(N, K, 0, repeat).numpy() for repeat in range(L)]
    fitted = list(fold_runs(points, folds))
    errors = MeanErrors(N)
    for repeat in range(L):
        errors.add(np.stack([logpx for r, _, logpx, _ in fitted if r == repeat])[:, None], folds[repeat])
    halves = [np.random.default_rng(run).random(N) < 0.5 for run in range(8)]
    designs = {
        "grid": ([(f"{r}/{k}", inside, logpx) for r, k, logpx, inside in fitted], errors.found()[0].se, False),
        "halves": ([(str(r), one, log_density(points[one], points)) for r, one in enumerate(halves)], None, True),
    }
    for name, (runs, se, images_only) in designs.items():
        rows = [(run, i, int(inside[i]), logpx[i]) for run, inside, logpx in runs for i in range(N)]
        words = ["scores", "--logpx", long_file(tmp_path / f"{name}.csv", rows), "--out", tmp_path / f"{name}-out.csv"]
        _, printed, said = call(memorization.main, monkeypatch, capsys, *words, "--json")
        found = json.loads(printed)["score_nats"]
        score = pd.read_csv(tmp_path / f"{name}-out.csv")["score"]
        assert found["se"] == pytest.approx(score.std() / len(score) ** 0.5 if images_only else se)
        assert found["se_over"] == ("images" if images_only else "images and networks")
        assert ("over images only, the runs as they are" in said) == images_only
        _, text, _ = call(memorization.main, monkeypatch, capsys, *words)
        assert f"nats over {found['se_over']}, {len(score)} examples" in text


def test_leave_fold_out_of_a_gaussian_by_grid(tmp_path):
    """The arrays that runs of a grid leave behind, with a Gaussian's log p(x) in place of the networks'."""
    grid = dataclasses.replace(as_grid(SWEEPS["smoke"][0]), results_dir=tmp_path, m=N, K=K, L=L, epochs=2)
    inputs, _ = load_inputs(grid, "cpu")
    x = inputs.pixels.flatten(1).numpy()[:, :64:13] + np.random.default_rng(2).normal(size=(N, 5))
    for repeat in range(L):
        folds = fold_of(N, K, grid.seed, repeat).numpy()
        runs = [logpx for _, _, logpx, _ in fold_runs(x, [folds])]
        for group in ([0, 1, 2], [3, 4]):  # the folds of a repeat need not be in one run
            arrays = {
                "epochs": np.array([1, 2]), "folds": np.array(group), "train_index": inputs.index.numpy(),
                "train_label": inputs.labels.numpy(),
                "train_logpx": np.stack([np.stack([runs[fold] - 1, runs[fold]]) for fold in group]),
            }  # fmt: skip
            config = {**json.loads(json.dumps(dataclasses.asdict(SWEEPS["smoke"][0]), default=str)), "m": N, "K": K}
            config |= {"repeat": repeat, "folds": group}
            write_arrays(tmp_path, "vae", f"{repeat}-{group[0]}", arrays, {"experiment": "cv", "config": config})
    rows = grid_scores(grid, inputs)
    expected = leave_fold_out(x, [fold_of(N, K, grid.seed, repeat).numpy() for repeat in range(L)])
    np.testing.assert_allclose([row.score for row in rows[N:]], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose([row.logpx_in for row in rows[:N]], [row.logpx_in - 1 for row in rows[N:]], rtol=1e-6)
    assert [row.index for row in rows[:N]] == inputs.index.tolist()
    assert {(row.runs_in, row.runs_out, row.L) for row in rows} == {(8, 2, 2)}


def test_the_error_of_a_score_is_that_of_the_means_over_runs():
    rng, n = np.random.default_rng(3), 4000
    sums = ScoreSums(n)
    for inside in [True] * 18 + [False] * 12:
        sums.add(np.log(rng.gamma(20.0, size=n)), np.full(n, inside))
    found = sums.scores()
    # sd of log(mean of gammas of relative sd 20^-1/2), delta method
    expected = np.sqrt(1 / 20 / 18 + 1 / 20 / 12)
    assert found.score.std() == pytest.approx(expected, rel=0.05)
    assert np.sqrt((found.score_se**2).mean()) == pytest.approx(expected, rel=0.05)
    one = ScoreSums(1)
    one.add(np.array([-1.0]), np.array([True]))
    one.add(np.array([-2.0]), np.array([False]))
    assert one.scores().score[0] == 1.0
    assert np.isnan(one.scores().score_se[0])


def test_runs_far_below_the_others_do_not_underflow():
    sums = ScoreSums(1)
    for logpx, inside in ((-40_000.0, True), (-41_000.0, True), (-45_000.0, False)):
        sums.add(np.array([logpx]), np.array([inside]))
    assert sums.scores().score[0] == pytest.approx(5000 - np.log(2))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run,index,logpx\na,0,-1\n", "no column 'inside'"),
        ("run,index,inside,logpx\n", "no rows"),
        ("run,index,inside,logpx\na,0,1,-1\na,0,0,-2\n", "stands twice"),
        ("run,index,inside,logpx\na,0,2,-1\n", "line 2: inside is 2"),
        ("run,index,inside,logpx\na,0,1,\n", "line 2: logpx is empty"),
        ("run,index,inside,logpx\na,0,1,-inf\n", "not finite"),
        ("run,index,inside,logpx\na,0,1,x\n", "not finite numbers"),
        ("run,index,inside,logpx\na,0,1,-1\nb,1,0,-1\n", "no index is inside one run and outside another"),
    ],
)
def test_a_bad_table_is_refused_in_one_sentence(tmp_path, monkeypatch, capsys, text, expected):
    path = tmp_path / "long.csv"
    path.write_text(text)
    words = ["scores", "--logpx", path, "--out", tmp_path / "out.csv"]
    code, out, err = call(memorization.main, monkeypatch, capsys, *words)
    assert (code, out) == (2, "")
    assert expected in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.csv").exists()


def test_the_table_that_is_read_is_not_overwritten(tmp_path, monkeypatch, capsys):
    path = tmp_path / "long.csv"
    path.write_text("run,index,inside,logpx\na,0,1,-1\nb,0,0,-2\n")
    before = path.read_bytes()
    monkeypatch.chdir(tmp_path)
    code, _, err = call(memorization.main, monkeypatch, capsys, "scores", "--logpx", path, "--out", "long.csv")
    assert code == 2
    assert "is what is read" in err
    assert path.read_bytes() == before


def test_unknown_commands_and_missing_files(tmp_path, monkeypatch, capsys):
    for words, expected in (
        (["score"], "unknown command 'score'"),
        (["scores", "--out", tmp_path / "a.csv"], "--logpx is missing"),
        (["scores", "--logpx", tmp_path / "no.csv", "--out", tmp_path / "a.csv"], "there is no file"),
        (["scores", "--logpx", tmp_path / "no.csv", "--out", tmp_path / "a.txt"], "ends in .csv"),
        (["import"], "name the folder"),
        (["import", tmp_path / "none"], "is not a folder"),
        (["import", tmp_path], "no files"),
    ):
        code, _, err = call(memorization.main, monkeypatch, capsys, *words)
        assert code == 2
        assert expected in err


def public_file(folder, repeat, fold, logpx, inside, **meta):
    """A result file of the public study, as its code writes it."""
    sides = {"train": inside, "test": ~inside}
    logpxs = {
        epoch: {name: {int(i): float(logpx[i] + lift) for i in np.flatnonzero(side)} for name, side in sides.items()}
        for epoch, lift in ((5, -1.0), (10, 0.0))
    }
    meta = {
        "seed": 42, "epochs": 10, "learning_rate": 1e-3, "batch_size": 64, "img_dim": 32, "latent_dim": 16,
        "mode": "split-cv", "num_iw_samples": 256, "trainer_params": {}, "num_feature": None,
        "model": "BernoulliMLPVAE_512-256-16", "dataset": "BinarizedMNIST", "run": repeat, "fold_idx": fold, **meta,
    }  # fmt: skip
    results = {"logpxs": logpxs, "losses": {"train": [9.0, 8.0], "test": [9.5, 8.5]}}
    name = f"{meta['dataset']}_{meta['model']}_seed42_cv_repeat{repeat}_fold{fold}.json.gz"
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_bytes(gzip.compress(json.dumps({"meta": meta, "results": results}, indent="\t").encode()))
    return path


def test_files_of_the_public_study_are_imported(points, tmp_path, monkeypatch, capsys):
    folds = [fold_of(N, K, 0, repeat).numpy() for repeat in range(L)]
    for name, lr, lift in (("lr3", 1e-3, 0.0), ("lr4", 1e-4, 2.0)):
        for repeat, fold, logpx, inside in fold_runs(points, folds):
            public_file(tmp_path / name, repeat, fold, logpx + lift * inside, inside, learning_rate=lr)
    flags = ["--results-dir", tmp_path / "results", "--data-dir", tmp_path / "no-data"]
    for _ in range(2):  # importing again replaces
        code, _, err = call(memorization.main, monkeypatch, capsys, "import", tmp_path, *flags)
        assert code == 0, err
    table = read(tmp_path / "results", "vae/memorization")
    assert len(table) == 2 * 2 * N
    for lr, lift in ((1e-3, 0.0), (1e-4, 2.0)):
        last = table[(table["lr"] == lr) & (table["epoch"] == 10)].sort_values("index")
        np.testing.assert_allclose(last["score"], leave_fold_out(points, folds) + lift, rtol=1e-9)
    assert set(table["label"]) == {-1}
    assert set(table["dataset"]) == {"mnist"}
    assert (set(table["K"]), set(table["L"])) == ({K}, {L})
    losses = read(tmp_path / "results", "vae/imported_losses")
    assert len(losses) == 2 * K * L * 2 * 2
    assert set(losses[(losses["epoch"] == 2) & (losses["split"] == "test")]["loss_nats"]) == {8.5}


def test_two_grids_of_the_same_settings_stand_side_by_side(points, tmp_path, monkeypatch, capsys):
    folds = [fold_of(N, K, 0, repeat).numpy() for repeat in range(L)]
    for name, lift in (("a", 0.0), ("b", 2.0)):
        for repeat, fold, logpx, inside in fold_runs(points, folds):
            public_file(tmp_path / name, repeat, fold, logpx + lift * inside, inside)
    flags = ["--results-dir", tmp_path / "results", "--data-dir", tmp_path / "no-data"]
    for name in ("a", "b", "a"):
        assert call(memorization.main, monkeypatch, capsys, "import", tmp_path / name, *flags)[0] == 0
    table = read(tmp_path / "results", "vae/memorization")
    assert len(table) == 2 * 2 * N
    assert table["estimator"].nunique() == 2
    means = sorted(table[table["epoch"] == 10].groupby("estimator")["score"].mean())
    assert means[1] - means[0] == pytest.approx(2.0)
    losses = read(tmp_path / "results", "vae/imported_losses")
    assert losses.groupby("grid").size().tolist() == [2 * K * L * 2] * 2


def test_damaged_or_foreign_files_are_named(points, tmp_path, monkeypatch, capsys):
    folds = [fold_of(N, K, 0, 0).numpy()]
    paths = [public_file(tmp_path / "a", *run) for run in fold_runs(points, folds)]
    flags = ["--results-dir", tmp_path / "results", "--data-dir", tmp_path / "no-data"]
    whole = paths[2].read_bytes()
    other = json.loads(gzip.decompress(whole))
    other["meta"]["seed"] = 43
    other_images = json.loads(gzip.decompress(whole))
    other_images["results"]["logpxs"]["5"]["test"]["999"] = -1.0
    other_images["results"]["logpxs"]["10"]["test"]["999"] = -1.0
    for content, expected in (
        (whole[:100], "is not a result file of the study"),
        (gzip.compress(b'{"meta": {}}'), "is not a result file of the study"),
        (gzip.compress(json.dumps(other).encode()), "has seed 43"),
        (gzip.compress(json.dumps(other_images).encode()), "other images than in the first file"),
    ):
        paths[2].write_bytes(content)
        code, _, err = call(memorization.main, monkeypatch, capsys, "import", tmp_path, *flags)
        assert code == 2
        assert expected in err
        assert paths[2].name in err
    assert not (tmp_path / "results").exists()


def test_the_id_of_a_grid_is_that_of_all_its_runs():
    (grid,) = (as_grid(config) for config in SWEEPS["smoke"])
    assert run_id(dataclasses.replace(grid, within=0.5)) == run_id(grid)
    assert run_id(dataclasses.replace(grid, L=1)) != run_id(grid)


def test_names_of_runs_and_examples_are_names(tmp_path, monkeypatch, capsys):
    text = "run,index,inside,logpx\nNA,007,1,-1\nNone,007,0,-2\nNA,7,0,-5\nNone,7,1,-3\n01,cat,1,0\n1,cat,0,-4\n"
    (tmp_path / "long.csv").write_text(text)
    words = ["--logpx", tmp_path / "long.csv", "--out", tmp_path / "scores.csv"]
    code, _, err = call(memorization.main, monkeypatch, capsys, "scores", *words)
    assert code == 0, err
    found = pd.read_csv(tmp_path / "scores.csv", dtype={"index": str}).set_index("index")["score"]
    assert found.to_dict() == {"007": 1.0, "7": 2.0, "cat": 4.0}


def test_numbers_of_examples_are_sorted_as_numbers(tmp_path):
    rows = "".join(f"{run},{i},{int(run == 'a')},-1\n" for run in "ab" for i in (10, 9, 100, 0))
    (tmp_path / "long.csv").write_text("run,index,inside,logpx\n" + rows)
    assert score_table(read_long(tmp_path / "long.csv"))["index"].tolist() == [0, 9, 10, 100]
