"""What `merkql monitor --prometheus` writes, read by Prometheus' own parser for Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from merkql import Broker, Signer
from merkql.transparency.monitor import KINDS, Status, prometheus
from merkql.transparency.note import SigningKey
from support.command import merkql

parser: Any = pytest.importorskip(
    "prometheus_client.parser", reason="prometheus-client is not installed"
)

pytestmark = pytest.mark.interop
LOG = SigningKey("log.example", bytes(range(32)))


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every sample by its name and labels; a series that comes twice is refused there too."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for family in parser.text_string_to_metric_families(text):
        assert family.type == "gauge"
        assert family.documentation
        for one in family.samples:
            series = one.name, tuple(sorted(one.labels.items()))
            assert series not in found, f"{series} comes twice"
            found[series] = one.value
    return found


def test_odd_names_are_read_back() -> None:
    odd = 'a "b" \\ c\nd\u00e9{},='
    statuses = [
        Status(odd, odd, 5, 0, 1.5, 2, alarm="fork", message="x"),
        Status("other", odd, 4, 0, 2.5, 0),
    ]
    found = samples(prometheus(statuses, [f"{odd}!"]))
    assert found["merkql_monitor_up", (("source", f"{odd}!"),)] == 0
    label = ("origin", odd), ("source", odd)
    assert found["merkql_monitor_size_records", label] == 5
    assert found["merkql_monitor_checked_timestamp_seconds", label] == 1.5
    alarms = {k: found["merkql_monitor_alarm", (("kind", k), *label)] for k in KINDS}
    assert alarms == {k: float(k == "fork") for k in KINDS}
    assert samples(prometheus([])) == {}


def test_a_log_from_two_sources_was_one_series_twice(tmp_path: Path) -> None:
    """Prometheus then takes nothing at all of the file."""
    with Broker.open(tmp_path / "log", signing_key=Signer(LOG)) as broker:
        broker.producer().send_values("t", ["x"] * 7)
        partition = broker.topic("t").partition(0)
        partition.checkpoint()
        partition.publish(tmp_path / "public")
    words = ["--log", str(LOG.verifier), "--state", tmp_path / "state"]
    nobody = "http://127.0.0.1:1/"
    sources = [tmp_path / "log", tmp_path / "public", nobody, tmp_path / "public"]
    merkql(tmp_path / "log", "monitor", *words, "--prometheus", tmp_path / "log.prom", *sources)
    found = samples((tmp_path / "log.prom").read_text())
    sizes = {k: v for (name, k), v in found.items() if name == "merkql_monitor_size_records"}
    assert sorted(sizes.values()) == [7, 7]
    ups = {dict(k)["source"]: v for (name, k), v in found.items() if name == "merkql_monitor_up"}
    assert sorted(ups.values()) == [0, 1, 1]
    assert ups[nobody] == 0
