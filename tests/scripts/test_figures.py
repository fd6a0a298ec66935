import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from synthetic_results import TIMES, bound_row, write_calibration, write_images, write_toy, write_toy_clouds

import scripts
from diffusion.tables import ToyBound
from infolab import results as tables
from scripts import diffusion_toy, figures, products, select, style

ROOT = Path(__file__).resolve().parents[2]


def by_kind():
    """Products that differ in their data set alone, by the function that draws them and its other arguments."""
    found = {}
    for product in figures.all_products().values():
        others = [str(item) for name, item in product.arguments.items() if name != "dataset"]
        found.setdefault(" ".join([product.module, product.function, *others]), []).append(product)
    return found


KINDS = by_kind()


def built(product, results):
    try:
        return product.build(results)
    except select.NoRowsError:
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_product_is_drawn_and_not_blank(full_results, kind):
    with style.applied():
        drawn = next(one for one in (built(product, full_results) for product in KINDS[kind]) if one is not None)
        if isinstance(drawn, products.SummaryTable):
            assert drawn.cells.size > 0
            assert not (drawn.cells == "").to_numpy().all()
            return
        drawn.set_dpi(60)
        canvas = FigureCanvasAgg(drawn)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba()).astype(int)
    assert len(np.unique(pixels[..., :3] @ [65536, 256, 1])) > 10


def test_a_figure_and_a_table_are_written_whole(tmp_path):
    write_toy(tmp_path)
    rows = tables.read(tmp_path, "diffusion/toy_bound")
    for name in ("toy_bound_T", "toy_table_T"):
        assert figures.draw(figures.all_products()[name], tmp_path) is None
    stem = tmp_path / "figures/diffusion/toy_bound_T"
    assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    assert imread(stem.with_suffix(".png")).shape[1] == 1.25 * 3.4 * 200  # one and a quarter columns at 200 dpi
    rows = rows[(rows["T"] == 0.2) & (rows["variant"] == "published") & (rows["step_rule"] == "fixed_number")]
    values = rows["bound_nats"].to_numpy()
    expected = products.number(values.mean(), values.std(ddof=1) / np.sqrt(len(values)))
    stem = tmp_path / "tables/diffusion/toy_table_T"
    line = next(line for line in stem.with_suffix(".md").read_text().splitlines() if line.startswith("| 0.2 | pub"))
    assert f"| {expected} |" in line
    tex = stem.with_suffix(".tex").read_text()
    assert tex.count(r" \\") == 1 + 2 * len(TIMES)
    assert expected.replace("±", r"$\pm$") in tex
    assert expected in stem.with_suffix(".csv").read_text()


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


def test_a_bound_that_bends_has_no_slope_and_ten_points_do_not_count(tmp_path):
    rng, noise = np.random.default_rng(0), np.random.default_rng(1)

    def bound(m: int) -> float:
        bend = {"bent": 0.15 * np.log(m / 400) ** 2, "line": 0.0}[case]
        return (100 if m == 10 else 1) * 300 * m**-0.3 * float(np.exp(bend + 0.02 * noise.standard_normal()))

    for case, expected in (("bent", "no power law"), ("line", "slope -0.3")):
        rows = [
            bound_row(ToyBound, rng, m=m, T=1.0, seed=seed, bound_nats=bound(m))
            for m in (10, 100, 200, 600, 2000)
            for seed in range(4)
        ]
        tables.write(tmp_path / case, ToyBound, "run", rows, {})
        fig = diffusion_toy.bound_m(tmp_path / case)
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

    found = sorted(lightness(look.color) for look in style.LINES)
    assert min(np.diff(found)) > 10
    assert (
        len({look.marker for look in style.LINES}) == len({str(look.line) for look in style.LINES}) == len(style.LINES)
    )


def test_samples_come_from_the_users_arrays_or_are_marked(tmp_path):
    write_toy_clouds(tmp_path / "reference")
    write_images(tmp_path)
    assert "reference data" in diffusion_toy.samples_T(tmp_path).get_suptitle()


def test_docstring_examples_and_no_torch():
    names = [f"scripts.{module.name}" for module in pkgutil.iter_modules(scripts.__path__)]
    tried = [doctest.testmod(importlib.import_module(name)) for name in names]
    assert sum(result.attempted for result in tried) > 4
    assert sum(result.failed for result in tried) == 0
    code = f"import sys, {', '.join(names)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
