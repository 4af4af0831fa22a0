"""examples/sensor_pipeline.py prints the figures that retention, groups and arithmetic give.

The literals are those the original of this example prints; the statistics are worked out here
once more from the readings themselves.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path


def test_figures(
    run_example: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = run_example("sensor_pipeline.py", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for line in (
        "  Polled 500 records.",
        "  sensor-a: min=20.0, max=39.6, avg=30.8 (125 readings)",
        "  sensor-b: min=20.1, max=39.7, avg=30.9 (125 readings)",
        "  sensor-c: min=20.2, max=39.8, avg=31.0 (125 readings)",
        "  sensor-d: min=20.3, max=39.9, avg=31.1 (125 readings)",
        "  ALERT: sensor-d temp=35.1 at ts=1700000551",
        "  ALERT: sensor-a temp=35.2 at ts=1700000552",
        "  ALERT: sensor-b temp=35.3 at ts=1700000553",
        "  ALERT: sensor-c temp=35.4 at ts=1700000554",
        "  ALERT: sensor-d temp=35.5 at ts=1700000555",
        "  ... and 142 more alerts",
        "  Total alerts: 147 out of 500 readings",
        "  Polled 0 records (expected 0).",
        "  Produced 100 more readings.",
        "  Polled 100 records (expected 100).",
    ):
        assert line in lines
    assert lines[-1].startswith("  Data directory: ")


def test_the_literals_are_the_readings_own() -> None:
    tenths = [200 + i % 200 for i in range(500, 1000)]
    for sensor, name in enumerate("abcd"):
        own = [t for i, t in enumerate(tenths, 500) if i % 4 == sensor]
        shown = (
            f"min={min(own) / 10:.1f}, max={max(own) / 10:.1f}, avg={sum(own) / len(own) / 10:.1f}"
        )
        assert f"sensor-{name}: {shown} ({len(own)} readings)" in Path(__file__).read_text()
    assert sum(t > 350 for t in tenths) == 147
