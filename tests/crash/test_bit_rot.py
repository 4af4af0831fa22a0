"""A sample of `soak.flips`: one bit turned in one file, everything read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest

from soak import flips

SEED = int(os.environ.get("CRASH_SEED", "1"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    yield
    logging.disable(logging.NOTSET)


def test_a_turned_bit_is_noticed_or_harmless() -> None:
    counts = flips.run(0.001, SEED)
    assert counts["flips"] > 20
    assert counts["noticed"] > counts["flips"] // 8
    assert counts["bad"] == counts["nameless"] == 0


@pytest.mark.slow
def test_a_turned_bit_is_noticed_or_harmless_in_many_places() -> None:
    assert flips.run(0.1, SEED)["bad"] == 0
