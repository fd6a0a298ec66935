"""Which figures and tables are drawn: those whose rows, pictures or scripts have changed, or that are named."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_results import write_calibration, write_images, write_toy, write_toy_clouds

from infolab.errors import UserError
from scripts import figures

ROOT = Path(__file__).resolve().parents[2]
PRODUCTS = figures.all_products()


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Results, and a copy of scripts/; what is drawn is a stand-in, quickly made where the source has files."""
    results = tmp_path / "results"
    write_toy(results)
    write_toy_clouds(results)
    write_images(results)
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(figures, "SCRIPTS", tmp_path / "scripts")
    monkeypatch.setattr(figures, "draw", draw)
    return results


def draw(product, results):
    folders = [source.partition(":")[0] for source in product.sources]
    if not any((root / folder).is_dir() for root in (results, results / "reference") for folder in folders):
        return f"no rows in {folders[0]}; run {product.how}"
    for path in product.outputs(results):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("drawn")
    return None


def drawn(capsys, results, *names, **restricted):
    """The names of what an update drew, and of what it skipped."""
    capsys.readouterr()
    skipped = figures.update(results, names, **restricted)
    said = capsys.readouterr().out.splitlines()
    return {Path(line).stem for line in said if line.startswith("drew ")}, set(skipped)


def touch(path):
    os.utime(path, (1, 1))


def of(*sources):
    return {name for name, product in PRODUCTS.items() if set(sources) & set(product.sources)}


def test_everything_is_drawn_or_skipped_and_then_nothing(lab, capsys):
    first, skipped = drawn(capsys, lab)
    assert first | skipped == set(PRODUCTS)
    assert not first & skipped
    assert "toy_bound_T" in first
    assert "estimators" in skipped
    state = lab / figures.STATE
    touch(state)
    assert drawn(capsys, lab) == (set(), skipped)
    assert state.stat().st_mtime == 1  # not written again: the report looks at its time
    figures.update(lab)
    assert capsys.readouterr().out == "figures and tables: nothing has changed\n"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda lab: touch(lab / "diffusion/image_bound/digits.csv"), of("diffusion/image_bound")),
        (lambda lab: touch(lab / "diffusion/images/clouds.npz"), {"toy_samples_T"}),
        (lambda lab: (lab / "diffusion/toy_bound/toy.csv").unlink(), of("diffusion/toy_bound")),
        (lambda lab: write_toy(lab, seeds=(9,), run_id="more"), of("diffusion/toy_bound")),
        (lambda lab: write_toy(lab / "reference"), of("diffusion/toy_bound")),
        (lambda lab: write_calibration(lab), {"estimators"}),
        (lambda lab: (lab / "figures/diffusion/toy_bound_m.png").unlink(), {"toy_bound_m"}),
        (lambda lab: (lab / "tables/diffusion/toy_table_m.tex").unlink(), {"toy_table_m"}),
        (lambda lab: (lab / figures.STATE).write_text("no JSON"), None),
    ],
    ids=["rows", "pictures", "deleted", "new", "reference", "first", "figure", "table", "state"],
)
def test_what_changed_is_drawn_again_and_nothing_else(lab, capsys, change, expected):
    before, _ = drawn(capsys, lab)
    change(lab)
    assert drawn(capsys, lab)[0] == (before if expected is None else expected)
    assert drawn(capsys, lab)[0] == set()


@pytest.mark.parametrize(
    ("script", "modules"),
    [
        ("diffusion_images", {"diffusion_images"}),
        ("diffusion_toy", {"diffusion_toy", "diffusion_images", "diffusion_choice", "diffusion_penalty"}),
        ("slopes", {"diffusion_toy", "diffusion_images", "diffusion_choice", "diffusion_penalty", "scoregen_sweeps"}),
        ("style", set(figures.MODULES)),
        ("verify", set()),
    ],
)
def test_a_script_that_changed_has_its_products_drawn_again(lab, capsys, script, modules):
    first, _ = drawn(capsys, lab)
    path = figures.SCRIPTS / f"{script}.py"
    path.write_text(path.read_text() + "\n# changed\n")
    expected = {name for name in first if PRODUCTS[name].module.removeprefix("scripts.") in modules}
    assert drawn(capsys, lab)[0] == expected
    assert drawn(capsys, lab)[0] == set()


def test_rows_that_come_end_a_skip_and_rows_that_go_begin_one(lab, capsys):
    _, skipped = drawn(capsys, lab, paper="calibration")
    assert skipped == drawn(capsys, lab, paper="calibration")[1] == {"estimators"}
    write_calibration(lab)
    assert drawn(capsys, lab, paper="calibration") == ({"estimators"}, set())
    shutil.rmtree(lab / "calibration")
    assert drawn(capsys, lab, paper="calibration") == (set(), {"estimators"})


def test_a_drawing_that_failed_is_tried_again_and_those_before_it_are_kept(lab, capsys, monkeypatch):
    broken = True

    def fails(product, results):
        if broken and product.name == "toy_terms_T":
            raise UserError("a damaged file")
        return draw(product, results)

    monkeypatch.setattr(figures, "draw", fails)
    with pytest.raises(UserError, match="a damaged file"):
        figures.update(lab, paper="diffusion")
    before = {Path(line).stem for line in capsys.readouterr().out.splitlines()}
    broken = False
    after, _ = drawn(capsys, lab, paper="diffusion")
    assert before
    assert "toy_terms_T" in after
    assert not before & after


def test_another_process_may_draw_at_the_same_time(lab, capsys, monkeypatch):
    def meanwhile(product, results):
        monkeypatch.setattr(figures, "draw", draw)
        figures.update(results, ["toy_bound_m"])
        return draw(product, results)

    monkeypatch.setattr(figures, "draw", meanwhile)
    figures.update(lab, ["toy_bound_T"])
    assert set(figures.read_state(lab)["done"]) == {"toy_bound_T", "toy_bound_m"}
    assert not drawn(capsys, lab)[0] & {"toy_bound_T", "toy_bound_m"}


def test_what_is_named_is_drawn_again_alone(lab, capsys):
    drawn(capsys, lab)
    assert drawn(capsys, lab, "toy_bound_T") == ({"toy_bound_T"}, set())


def test_unknown_names_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(UserError, match="unknown figure 'toy_bound': choose one of toy_bound_T"):
        figures.update(tmp_path, ["toy_bound"])
    with pytest.raises(UserError, match="no figures of 'none': choose one of calibration, diffusion, infodiffusion, "):
        figures.update(tmp_path, paper="none")
    assert list(tmp_path.iterdir()) == []


def run(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["figures", *words])
    figures.main()
    return capsys.readouterr().out


def test_the_command_joins_what_is_skipped_for_one_reason(lab, monkeypatch, capsys):
    shutil.rmtree(lab / "diffusion/toy_bound")
    out = run(monkeypatch, capsys, "toy_terms_T", "toy_bound_T", "--results-dir", str(lab))
    assert out == "skipped toy_terms_T, toy_bound_T: no rows in diffusion/toy_bound; run sh diffusion/run_toy.sh\n"
    assert run(monkeypatch, capsys, "--list").split() == list(PRODUCTS)
    with pytest.raises(UserError, match="is not a folder"):
        run(monkeypatch, capsys, "--results-dir", str(lab / "none"))


def test_nothing_heavy_is_imported_where_nothing_has_changed(lab):
    shutil.rmtree(lab / "diffusion")
    code = (
        "import sys; from pathlib import Path; from scripts import figures; assert figures.update(Path(sys.argv[1]));"
        "print([name for name in ('matplotlib', 'pandas', 'numpy') if name in sys.modules])"
    )
    words = [sys.executable, "-c", code, str(lab)]
    said = [subprocess.run(words, cwd=ROOT, capture_output=True, text=True).stdout.splitlines() for _ in range(2)]
    assert said == [["['matplotlib', 'pandas', 'numpy']"], ["figures and tables: nothing has changed", "[]"]]


def test_every_product_names_sources_that_exist():
    from scripts.tables import declared_tables

    named = {source for product in PRODUCTS.values() for source in product.sources}
    assert {source for source in named if ":" not in source} <= set(declared_tables())
    assert all(source.split(":")[0].endswith("/images") for source in named if ":" in source)
    assert json.loads(json.dumps([product.arguments for product in PRODUCTS.values()]))  # the state keeps them
