import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.image import imread
from synthetic_results import TIMES, bound_row, write_calibration, write_images, write_toy, write_toy_clouds

import scripts
from diffusion.tables import ToyBound
from infolab import results as tables
from infolab.errors import UserError
from scripts import diffusion_toy, figures, style, summaries

ROOT = Path(__file__).resolve().parents[2]
# Of the sets that share their figures one is drawn: digits of the VAEs, sprites of the models with a code.
ELSEWHERE = {
    "vae_": ("mnist", "fashion-mnist", "cifar10", "celeba"),
    "info_": ("digits", "fashion-mnist", "celeba"),
}
DRAWN = [
    name for name in figures.all_products()
    if not name.startswith(("mnist", "fashion-mnist", "cifar10"))
    and not any(name.startswith(paper) and other in name for paper, sets in ELSEWHERE.items() for other in sets)
]  # fmt: skip


@pytest.mark.parametrize("name", DRAWN)
def test_each_product_is_written_and_not_blank(full_results, name):
    results, reasons = full_results
    product = figures.all_products()[name]
    assert reasons[name] is None
    assert all(path.stat().st_size > 0 for path in product.outputs(results))
    if product.folder == "figures":
        pixels = np.round(255 * imread(product.target(results))[..., :3]).astype(int)
        assert len(np.unique(pixels @ [65536, 256, 1])) > 10
        assert product.outputs(results)[0].read_bytes().startswith(b"%PDF")
        assert pixels.size > 3 * 600 * 300


def test_a_data_set_without_rows_is_skipped_by_name(full_results):
    results, reasons = full_results
    assert reasons["mnist_bpd_T"] == "no rows of mnist in diffusion/image_bound; run sh diffusion/run_mnist.sh"
    product = figures.all_products()["mnist_bpd_T"]
    assert product.skip_note(results).read_text().startswith("skipped mnist_bpd_T: no rows")
    assert not product.target(results).exists()


def test_summary_table_holds_the_means(full_results):
    results, _ = full_results
    frame = tables.read(results, "diffusion/toy_bound")
    rows = frame[(frame["T"] == 0.2) & (frame["variant"] == "published") & (frame["step_rule"] == "fixed_number")]
    values = rows["bound_nats"].to_numpy()
    expected = summaries.number(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))
    text = (results / "tables/diffusion/toy_table_T.md").read_text()
    line = next(line for line in text.splitlines() if line.startswith("| 0.2 | published"))
    assert f"| {expected} |" in line
    tex = (results / "tables/diffusion/toy_table_T.tex").read_text()
    assert tex.count(r" \\") == 1 + 2 * len(TIMES)
    assert expected.replace("±", r"$\pm$") in tex


def test_reference_is_drawn_and_marked_where_the_user_has_nothing(tmp_path):
    write_toy(tmp_path / "reference")
    fig = diffusion_toy.bound_T(tmp_path)
    assert "reference data" in fig.get_suptitle()
    write_toy(tmp_path)
    assert "reference data" not in diffusion_toy.bound_T(tmp_path).get_suptitle()


def test_own_rows_without_the_sweep_leave_the_reference_in_its_place(tmp_path):
    write_toy(tmp_path / "reference")
    row = bound_row(ToyBound, np.random.default_rng(0), m=10, T=1.0, seed=0)
    tables.write(tmp_path, ToyBound, "smoke", [row], {})
    assert "reference data" in diffusion_toy.bound_T(tmp_path).get_suptitle()


def test_title_says_epochs_seeds_and_legend_the_slope(tmp_path):
    write_toy(tmp_path)
    fig = diffusion_toy.bound_m(tmp_path)
    assert "after 2,000 epochs" in fig.get_suptitle()
    assert "band: 95% interval of the mean over 3 seeds" in fig.get_suptitle()
    labels = [text.get_text() for axes in fig.axes for text in axes.get_legend().get_texts()]
    assert any(label.startswith(("median: slope -0.50", "median: slope -0.49")) for label in labels), labels


def test_a_bound_that_bends_has_no_slope_and_ten_points_do_not_count(tmp_path):
    rng, noise = np.random.default_rng(0), np.random.default_rng(1)

    def bound(m: int) -> float:
        bend = {"bent": 0.15 * np.log(m / 400) ** 2, "line": 0.0}[kind]
        return (100 if m == 10 else 1) * 300 * m**-0.3 * float(np.exp(bend + 0.02 * noise.standard_normal()))

    for kind, expected in (("bent", "no power law"), ("line", "slope -0.3")):
        rows = [
            bound_row(ToyBound, rng, m=m, T=1.0, seed=seed, bound_nats=bound(m))
            for m in (10, 100, 200, 600, 2000)
            for seed in range(4)
        ]
        tables.write(tmp_path / kind, ToyBound, "run", rows, {})
        fig = diffusion_toy.bound_m(tmp_path / kind)
        label = fig.axes[0].get_legend().get_texts()[0].get_text()
        assert label.startswith(f"bound, published: {expected}"), label
        assert "m from 100" in fig.get_suptitle()


def test_negative_kl_is_left_out_of_the_logarithmic_axis_and_said(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        bound_row(ToyBound, rng, m=m, T=1.0, seed=seed, kl_test_nats=-0.01 if m == 1000 else 1.0 / m)
        for m in (10, 100, 1000)
        for seed in (0, 1)
    ]
    tables.write(tmp_path, ToyBound, "run", rows, {})
    fig = diffusion_toy.bound_m(tmp_path)
    assert any("m = 1,000" in text.get_text() for axes in fig.axes for text in axes.texts)
    assert figures.draw(figures.all_products()["toy_bound_m"], tmp_path) is None


def test_terms_stack_to_the_bound(tmp_path):
    rng = np.random.default_rng(0)
    row = {"term1": -2.0, "term2": 0.5, "term3": 0.25, "score_loss_nats": 1.0, "R": 2.0}
    total = -2.0 + np.sqrt(2) * 2.0 * 0.75 + 1.0
    rows = [
        bound_row(ToyBound, rng, m=10, T=T, seed=0, variant=variant, bound_nats=float(total), **row)
        for T in TIMES
        for variant in ("published", "exact")
    ]
    tables.write(tmp_path, ToyBound, "run", rows, {})
    axes = diffusion_toy.terms_T(tmp_path).axes[0]
    assert sum(bar.get_height() for group in axes.containers for bar in group[:1]) == pytest.approx(total)
    assert axes.containers[0][0].get_height() == -2.0


def test_only_smoke_seed_still_draws(tmp_path):
    write_toy(tmp_path, seeds=(0,))
    for name in ("toy_bound_T", "toy_bound_m", "toy_terms_T", "toy_variants_T", "toy_table_T"):
        built = figures.all_products()[name].build(tmp_path)
        if not name.startswith("toy_table"):
            assert "one seed" in built.get_suptitle()


def test_saving_twice_gives_the_same_bytes_and_leaves_the_style_alone(tmp_path):
    write_calibration(tmp_path)
    before = dict(mpl.rcParams)
    product = figures.all_products()["estimators"]
    figures.draw(product, tmp_path)
    first = [path.read_bytes() for path in product.outputs(tmp_path)]
    figures.draw(product, tmp_path)
    assert [path.read_bytes() for path in product.outputs(tmp_path)] == first
    assert dict(mpl.rcParams) == before


def test_rows_that_are_gone_take_their_figure_along(tmp_path):
    path = write_toy(tmp_path)
    product = figures.all_products()["toy_bound_T"]
    figures.draw(product, tmp_path)
    path.unlink()
    assert figures.draw(product, tmp_path) == "no rows in diffusion/toy_bound; run sh diffusion/run_toy.sh"
    assert not any(path.exists() for path in product.outputs(tmp_path))


def test_colours_differ_in_greyscale():
    def lightness(color):
        linear = np.array(
            [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in mpl.colors.to_rgb(color)]
        )
        return 116 * np.cbrt(linear @ [0.2126, 0.7152, 0.0722]) - 16

    found = sorted(lightness(look.color) for look in style.LOOKS)
    assert min(np.diff(found)) > 10
    assert (
        len({look.marker for look in style.LOOKS}) == len({str(look.line) for look in style.LOOKS}) == len(style.LOOKS)
    )


def test_samples_come_from_the_users_arrays_or_are_marked(tmp_path):
    write_toy_clouds(tmp_path / "reference")
    write_images(tmp_path)
    assert "reference data" in diffusion_toy.samples_T(tmp_path).get_suptitle()


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["figures", *words])
    figures.main()
    return capsys.readouterr().out


def test_command_lists_and_skips(tmp_path, monkeypatch, capsys):
    assert run(monkeypatch, capsys, "--list").split() == list(figures.all_products())
    out = run(monkeypatch, capsys, "toy_bound_T", "--results-dir", str(tmp_path))
    assert out == "skipped toy_bound_T: no rows in diffusion/toy_bound; run sh diffusion/run_toy.sh\n"
    with pytest.raises(UserError, match="is not a folder"):
        run(monkeypatch, capsys, "--results-dir", str(tmp_path / "none"))


def test_unknown_name_exits_two_with_one_sentence():
    words = [sys.executable, "-m", "scripts.figures", "toy_bound"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: unknown figure 'toy_bound': choose one of toy_bound_T")
    assert done.stderr.count("\n") == 1


def test_unknown_paper_is_refused():
    with pytest.raises(UserError, match="choose one of calibration, diffusion"):
        figures.chosen([], "nothing")


def test_docstring_examples_and_no_torch():
    names = [f"scripts.{module.name}" for module in pkgutil.iter_modules(scripts.__path__)]
    tried = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(result.attempted for result in tried) > 4
    assert sum(result.failed for result in tried) == 0
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
