"""A moment of `fuzz.run` for every decoder; FUZZ_SECONDS makes it longer (`make fuzz`)."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from fuzz.guided import kept
from fuzz.run import fuzz
from fuzz.targets import TARGETS, Target

SECONDS = float(os.environ.get("FUZZ_SECONDS", "0.1"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))


@pytest.mark.parametrize("name", TARGETS)
def test_a_decoder_takes_any_bytes(name: str, tmp_path: Path) -> None:
    executions, findings = fuzz(name, TARGETS[name], SECONDS, SEED, tmp_path)
    assert executions > 0
    assert findings == 0


@pytest.mark.parametrize("name", TARGETS)
def test_what_the_guided_fuzzer_kept_is_taken(name: str) -> None:
    """Each of these leads the decoder where none of the others does."""
    target, inputs = TARGETS[name], kept(name)
    assert inputs
    for data in inputs:
        with contextlib.suppress(*target.allowed):
            target.decode(data)


def test_a_decoder_that_believes_a_length_is_found(tmp_path: Path) -> None:
    """The canary: without it nobody knows whether the fuzzer sees anything."""

    def believe(data: bytes) -> None:
        count = int.from_bytes(data[:4], "little")
        for number in range(min(count, 1000)):
            data[4 + number]

    canary = Target(believe, lambda: [bytes([3, 0, 0, 0, 1, 2, 3])])
    assert fuzz("canary", canary, 5, 1, tmp_path)[1] == 3
