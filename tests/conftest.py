"""Settings all tests share. Fakes and oracles: tests/support, imported as `support.<module>`."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from support.monitor import MonitorFiles

# No deadline: a shared machine pauses. On CI the examples are the same in every run, so that a red
# run is about the change; `nightly` draws new ones, and many.
settings.register_profile(
    "default", deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile("nightly", settings.get_profile("default"), max_examples=2000)
# What a shell starts in the background ignores Ctrl-C, and so would every program we start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # nohup: still ignored, but here alone
    signal.signal(signal.SIGHUP, lambda number, frame: None)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "default")
)


@pytest.fixture(autouse=True)
def monitored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every broker that is opened without a seam of its own works under the monitor's rules."""
    monitors: list[MonitorFiles] = []

    class Watched(MonitorFiles):
        def __init__(self) -> None:
            super().__init__()
            monitors.append(self)

    monkeypatch.setattr("merkql.broker.Files", Watched)
    yield
    broken = [rule for monitor in monitors for rule in monitor.broken]
    assert not broken, "\n".join(broken)
