"""The three ways a command can end early, each with its exit code and one sentence for the user."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

MOST_OF_A_MESSAGE = 200
"""Characters of a library's message that are passed on."""


class LabError(Exception):
    """A failure that is told to the user in one sentence; `exit_code` is what the process returns."""

    exit_code = 1


class UserError(LabError):
    """A bad option, name, path, file or shape: says what was wrong, what was expected and what to do. Exit code 2."""

    exit_code = 2


class RunFailedError(LabError):
    """The run itself failed (a non-finite loss, say); its last whole checkpoint and results stay. Exit code 3."""

    exit_code = 3


class RunTakenError(UserError):
    """Another process works on this run: a sweep goes on with its other runs. Exit code 2, so that no queue retries."""


class InterruptedRunError(LabError):
    """Stopped by a signal or a time limit after a checkpoint: the same command goes on. Exit code 75 (try again).

    Attributes:
        signal: the signal's number; None for the time limit.
    """

    exit_code = 75

    def __init__(self, message: str, signal: int | None = None):
        super().__init__(message)
        self.signal = signal


def check_choice(kind: str, name: str, choices: list[str] | tuple[str, ...]) -> str:
    """Return `name` if it is one of `choices`.

    Raises:
        UserError: otherwise, with the list of choices.

    >>> check_choice("preset", "quick", ["smoke", "quick"])
    'quick'
    """
    if name not in choices:
        raise UserError(f"unknown {kind} '{name}': choose one of {', '.join(choices)}")
    return name


def in_a_line(error: BaseException) -> str:
    """Kind and message of a library's error in one line, for the middle of a sentence.

    >>> in_a_line(ValueError("not a\\n  number"))
    'ValueError: not a number'
    """
    message = " ".join(str(error).split())
    shown = message if len(message) <= MOST_OF_A_MESSAGE else f"{message[:MOST_OF_A_MESSAGE]}..."
    return f"{type(error).__name__}: {shown}" if shown else type(error).__name__


@contextlib.contextmanager
def report_once() -> Iterator[None]:
    """Around what all processes of a launcher read alike (preset, flags): the first one alone tells what is wrong.

    The launchers (scripts/shards.sh) set TOLD_BY_FIRST for the others, torchrun gives them another RANK than 0; these
    end silently, with the same code.
    """
    try:
        yield
    except UserError as error:
        if os.environ.get("TOLD_BY_FIRST") or os.environ.get("RANK", "0") != "0":
            sys.exit(error.exit_code)
        raise


def run_main(main: Callable[[], None]) -> None:
    """Run a command's `main`; a `LabError`, or a stop signal, becomes one sentence on standard error and an exit code.

    A command that runs a sweep has handlers of its own within (`infolab.signals`), which keep what was done.
    """
    from infolab.signals import AGAIN, stops_raise  # its exceptions are these

    try:
        with stops_raise(then=AGAIN):
            main()
    except LabError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has had enough (`| head`)
    except OSError as error:
        # A read-only or full disk: the writers work aside and rename, so what was whole stays whole.
        where = f" '{error.filename}'" if error.filename else ""
        sys.stderr.write(
            f"error: cannot read or write{where}: {error.strerror or error}; "
            "check the path, its permissions and the free space\n"
        )
        sys.exit(UserError.exit_code)
