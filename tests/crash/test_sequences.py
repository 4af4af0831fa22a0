"""A slice of `crash.explore`, which visits the crash states of every sequence of operations.

All sequences of one operation, and as many of two or three, a choice of the states of each: enough
to see that the harness works and nothing obvious broke. `make crash` and `make crash-all` go on.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator

import pytest

from crash import explore
from crash.operations import OPERATIONS, sequences


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)  # recovery logs what it cuts; here that is routine
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_no_crash_in_an_operation_loses_anything(operation: str) -> None:
    draw = random.Random(operation)
    before = [one for length in (1, 2) for one in sequences(length)]
    words = [(operation,), *((*one, operation) for one in draw.sample(before, 1))]
    outcomes = [explore.explore(one, explore.parse(["--visits", "8"])) for one in words]
    assert not [text for outcome in outcomes for text in outcome.failures]
    assert outcomes[0].distinct > 0
