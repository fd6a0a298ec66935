"""Bad settings of the score studies: one sentence, exit code 2, nothing written."""

import sys

import pytest

from scoregen import capacity, clusters, features, mixture


@pytest.mark.parametrize(
    ("study", "words", "expected"),
    [
        (mixture, ["fast"], "unknown preset 'fast'"),
        (mixture, ["--widht", "3"], "did you mean --width?"),
        (mixture, ["--network", "relu"], "unknown network 'relu'"),
        (mixture, ["--optimizer", "lion"], "unknown optimizer 'lion'"),
        (mixture, ["--scaling", "ntk"], "unknown scaling"),
        (mixture, ["--n", "1"], "--n must be at least 2, not 1"),
        (mixture, ["--lr", "nan"], "--lr must be positive and finite"),
        (mixture, ["--q1", "1"], "--q1 must lie between 0 and 1"),
        (mixture, ["--mu", "1", "1"], "none twice"),
        (mixture, ["--seeds", "1", "1"], "none twice"),
        (mixture, ["smoke", "--evaluate-every", "7"], "--evaluate-every must divide --epochs (20)"),
        (mixture, ["smoke", "--density-epochs", "12"], "must be multiples of --evaluate-every"),
        (mixture, ["--beta-max", "0.01"], "expected 0 < beta_min <= beta_max"),
        (capacity, ["--check-every", "30"], "--check-every must divide --epochs"),
        (capacity, ["--threshold", "0"], "--threshold must be positive"),
        (features, ["--network", "swish"], "--network must be features here"),
        (features, ["--tau-octaves", "3", "3"], "must be two rising whole numbers"),
        (clusters, ["--pair", "middle"], "unknown pair 'middle'"),
        (clusters, ["--dataset", "nist"], "unknown data set 'nist'"),
        (clusters, ["--clusters", "2"], "--clusters must be at least 3"),
        (clusters, ["smoke", "--network", "mnist"], "choose the network of that data set"),
        (clusters, ["smoke", "--schedule", "cosine"], "unknown schedule 'cosine'"),
    ],
)
def test_one_sentence_exit_code_2_and_nothing_written(study, words, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["study.py", *words])
    with pytest.raises(SystemExit) as stop:
        study.main()
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert expected in message
    assert list(tmp_path.iterdir()) == []
