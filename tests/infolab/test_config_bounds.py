from dataclasses import dataclass
from typing import Annotated

import pytest

from infolab.config import AtLeast, Distinct, OneOf, Positive, RunConfig, Share
from infolab.errors import UserError


@dataclass(frozen=True)
class Settings(RunConfig):
    """One of each bound."""

    m: Annotated[int, AtLeast(2)] = 2
    lr: Annotated[float, Positive()] = 1e-3
    ema_decay: Annotated[float, Share()] = 0.0
    seeds: Annotated[tuple[int, ...], Distinct()] = (0,)
    kind: Annotated[str, OneOf("kind", ["plain", "fancy"])] = "plain"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"m": 1}, "--m must be at least 2, not 1"),
        ({"m": float("nan")}, "--m must be at least 2, not nan"),
        ({"lr": 0.0}, "--lr must be positive and finite, not 0.0"),
        ({"lr": float("inf")}, "--lr must be positive and finite, not inf"),
        ({"ema_decay": 1.0}, r"--ema-decay must lie in \[0, 1\), not 1.0"),
        ({"seeds": ()}, "--seeds needs at least one value, and none twice"),
        ({"seeds": (1, 1)}, "--seeds needs at least one value, and none twice"),
        ({"kind": "fanci"}, "fancy"),
    ],
)
def test_a_field_out_of_its_bounds_is_one_sentence(change, message):
    Settings().check()
    with pytest.raises(UserError, match=message):
        Settings(**change).check()
