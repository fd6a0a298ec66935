"""Readers of users' files under fire: any bytes, and whole files with damage; the right arrays, or one sentence."""

import random
from pathlib import Path

import pytest
from foreign_files import READERS, outcome, same
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
PLACE = st.integers(0, (1 << 32) - 1)
DAMAGE = st.one_of(
    st.tuples(st.just("truncate"), PLACE, st.just(b"")),
    st.tuples(st.just("flip"), PLACE, st.binary(min_size=1, max_size=4)),
    st.tuples(st.just("insert"), PLACE, st.binary(min_size=1, max_size=6)),
    st.tuples(st.just("delete"), PLACE, st.binary(min_size=1, max_size=6)),
    st.tuples(st.just("digits"), PLACE, st.from_regex(rb"\A[0-9eE.\-]{1,8}\Z")),
)


def damaged(content: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, data in changes:
        # Headers are short and where most can go wrong: half of the places are among the first bytes.
        reach = min(len(content), 160) if place % 2 else len(content)
        i = (place >> 1) % max(reach, 1)
        if kind == "truncate":
            content = content[:i]
        elif kind == "delete":
            content = content[:i] + content[i + len(data) :]
        else:
            content = content[:i] + data + content[i + (0 if kind == "insert" else len(data)) :]
    return content


def fuzz(name: str, folder: Path, examples: int, number: int | None = None) -> None:
    """`examples` times any bytes and as many times damage; a seed of `number`, or none and the same examples always."""
    path = READERS[name].write(folder)
    content, (_, expected) = path.read_bytes(), outcome(name, folder)
    assert expected

    @settings(
        max_examples=examples, deadline=None, derandomize=number is None, suppress_health_check=QUIET, database=None,
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(st.one_of(st.binary(max_size=200), st.lists(DAMAGE, max_size=4), st.lists(DAMAGE, min_size=1, max_size=1)))
    def check(case):
        changed = case if isinstance(case, bytes) else damaged(content, case)
        for left in path.parent.glob(path.name + "*"):  # a damaged checkpoint is set aside
            left.unlink()
        path.write_bytes(changed)
        message, found = outcome(name, folder)
        assert "\n" not in message
        assert found is not None or (changed != content and 20 < len(message) < 1000)
        if found and (changed == content or (READERS[name].checked and not isinstance(case, bytes))):
            assert same(found, expected)

    (check if number is None else seed(number)(check))()


@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_sentence(tmp_path, name):
    fuzz(name, tmp_path, 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_damage_is_one_sentence_in_many_more_examples(tmp_path, name, capsys):
    number = random.SystemRandom().randrange(1 << 32)
    with capsys.disabled():
        print(f"\n{name}: seed {number}")  # noqa: T201 (to find it again)
    fuzz(name, tmp_path, 10_000, number)
