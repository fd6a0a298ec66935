"""Exit codes and the one sentence a user gets."""

import errno
import signal

import pytest

from infolab.errors import InterruptedRunError, RunFailedError, UserError, check_choice, run_main


@pytest.mark.parametrize(("kind", "code"), [(UserError, 2), (RunFailedError, 3), (InterruptedRunError, 75)])
def test_a_failure_is_one_sentence_and_its_exit_code(kind, code, capsys):
    def main():
        raise kind("what was wrong")

    with pytest.raises(SystemExit) as stop:
        run_main(main)
    assert stop.value.code == code
    assert capsys.readouterr().err == "error: what was wrong\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_ends_every_command_with_a_sentence_and_code_75(number, capsys):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stop:
        run_main(lambda: signal.raise_signal(number))
    assert stop.value.code == 75
    assert capsys.readouterr().err == f"error: stopped by {signal.Signals(number).name}; run the same command again\n"
    assert signal.getsignal(number) is before


def test_a_full_disk_is_a_sentence_that_names_the_file(capsys):
    def main():
        raise OSError(errno.ENOSPC, "No space left on device", "results/x.csv")

    with pytest.raises(SystemExit) as stop:
        run_main(main)
    message = capsys.readouterr().err
    assert stop.value.code == 2
    assert "'results/x.csv': No space left on device" in message
    assert message.count("\n") == 1


def test_a_bug_is_not_dressed_up_as_a_user_error():
    def main():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_main(main)


def test_choose_names_the_choices():
    assert check_choice("preset", "quick", ("smoke", "quick")) == "quick"
    with pytest.raises(UserError, match="unknown preset 'fast': choose one of smoke, quick"):
        check_choice("preset", "fast", ("smoke", "quick"))
