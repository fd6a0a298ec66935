"""A run that is stopped anywhere, in its evaluations too, goes on to the same bytes: one smoke run of each paper."""

import importlib
import signal

import pytest
import torch
from launching import call

import infolab.storage
from benchmarks.stops import COMMANDS, Trial, results_in, trial
from infolab.errors import InterruptedRunError

AGAIN = InterruptedRunError.exit_code
ENOUGH = 200  # starts


def start(name, folder, monkeypatch, capsys, *flags):
    """Exit code of the command in this process, with one thread."""
    module, *words = COMMANDS[name].format(preset="smoke").split()
    places = ["--runs-dir", folder / "runs", "--results-dir", folder / "results"]
    threads = torch.get_num_threads()
    try:
        main = importlib.import_module(module).main
        return call(main, monkeypatch, capsys, *words, *places, "--threads", "1", "--device", "cpu", *flags)[0]
    finally:
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What the undisturbed runs leave, by the name of the command, each run when it is first asked for."""
    kept = {}

    def results_of(name, monkeypatch, capsys):
        if name not in kept:
            folder = tmp_path_factory.mktemp(name)
            assert start(name, folder, monkeypatch, capsys) == 0
            assert not list(folder.glob("runs/**/pieces"))
            kept[name] = results_in(folder)
            assert kept[name]
        return kept[name]

    return results_of


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_whose_every_start_gets_one_piece_done(name, tmp_path, monkeypatch, capsys, whole):
    """The time limit is over at once: each start does one step of the training, or one piece of an evaluation."""
    codes = [AGAIN]
    while codes[-1] == AGAIN and len(codes) < ENOUGH:
        codes.append(start(name, tmp_path, monkeypatch, capsys, "--max-minutes", "1e-9"))
    assert codes[-1] == 0
    assert len(codes) > 5
    assert results_in(tmp_path) == whole(name, monkeypatch, capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_in_an_evaluation_ends_it_and_no_piece_is_measured_again(name, tmp_path, monkeypatch, capsys, whole):
    kept, original = [], infolab.storage.write_tensors

    def stopping(path, *arguments, **labels):
        if path.parent.name != "pieces":
            return original(path, *arguments, **labels)
        if kept and kept[-1].parent == path.parent:
            signal.raise_signal(signal.SIGUSR1)  # in the second piece of a run, before it is there
        kept.append(path)
        return original(path, *arguments, **labels)

    with monkeypatch.context() as patch:
        patch.setattr(infolab.storage, "write_tensors", stopping)
        assert start(name, tmp_path, monkeypatch, capsys) == AGAIN
    assert kept[-1].is_file()

    touched = []

    def noting(path, *arguments, **labels):
        touched.append(path)
        original(path, *arguments, **labels)

    with monkeypatch.context() as patch:
        patch.setattr(infolab.storage, "write_tensors", noting)
        assert start(name, tmp_path, monkeypatch, capsys) == 0
    assert not set(kept) & set(touched)
    assert results_in(tmp_path) == whole(name, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("diffusion", 5.0),
        pytest.param("itdiffusion", 7.0, marks=pytest.mark.slow),
        pytest.param("infodiffusion", 6.0, marks=pytest.mark.slow),
        ("vae", 4.0),
    ],
)
def test_a_process_ends_soon_after_a_signal(name, moment, tmp_path, monkeypatch, capsys, whole):
    """As `python -m benchmarks.stops` does it, in processes of their own: in imports, training or evaluation."""
    found = trial(name, "smoke", tmp_path / "run", moment, signal.SIGUSR1, whole(name, monkeypatch, capsys))
    assert found.passes, found


def test_a_trial_passes_in_time_with_the_code_to_try_again_and_the_same_bytes():
    good = Trial("vae", 1.0, 2.0, 75, 1, True)
    assert good.passes
    assert Trial("vae", 1.0, 2.0, 0, 0, True).passes
    for bad in ((1.0, 20.1, 75, 1, True), (1.0, 2.0, 143, 1, True), (1.0, 2.0, 75, 1, False)):
        assert not Trial("vae", *bad).passes
