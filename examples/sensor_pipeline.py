"""Four sensors write, the log keeps the newest 500 readings, two groups read them.

    python examples/sensor_pipeline.py [DIRECTORY]

Shows compression, retention by count, groups, and positions that survive a restart. Expects a
directory that holds no earlier run.
"""

from __future__ import annotations

import interrupts  # noqa: F401 - first, so that Ctrl-C finds it whenever it comes

# isort: split
import json
from collections import defaultdict
from pathlib import Path

from merkql import Broker, ProducerRecord, Record, RetentionConfig
from program import run, size_in_kib

TOPIC = "sensors"
SENSORS = ["sensor-a", "sensor-b", "sensor-c", "sensor-d"]
ALERT_ABOVE = 35.0


def main(directory: Path) -> None:
    with Broker.open(directory) as broker:
        keep_newest = RetentionConfig(max_records=500)
        broker.create_topic(TOPIC, partitions=1, compression="lz4", retention=keep_newest)
        produce(broker)
        readings = poll_all(broker, "dashboard")
        print(f"  Polled {len(readings)} records.")
        print_statistics(readings)
        print_alerts(poll_all(broker, "alerting"))

    with Broker.open(directory) as broker:
        print("  Closed and opened again.")
        print(f"  Polled {len(poll_all(broker, 'dashboard'))} records (expected 0).")
        later = [reading(25 + (2 * i % 100) / 10, i, 1_700_001_100 + i) for i in range(100)]
        broker.producer().send_batch(later)
        print(f"  Produced {len(later)} more readings.")
        print(f"  Polled {len(poll_all(broker, 'dashboard'))} records (expected 100).")
    print(f"  Data directory: {size_in_kib(directory)} KiB in {directory}")


def reading(temperature: float, i: int, seconds: int) -> ProducerRecord:
    value = json.dumps({"temp": temperature, "ts": seconds})
    return ProducerRecord(TOPIC, value, key=SENSORS[i % 4], timestamp_ms=seconds * 1000)


def produce(broker: Broker) -> None:
    """The first 200 one at a time, each durable on its own; then 100 at a time for one sync."""
    readings = [reading(20 + (i % 200) / 10, i, 1_700_000_000 + i) for i in range(1_000)]
    producer = broker.producer()
    for record in readings[:200]:
        producer.send(record)
    for first in range(200, 1_000, 100):
        producer.send_batch(readings[first : first + 100])
    print(f"  Produced {len(readings)} readings, of which the topic keeps the newest 500.")


def poll_all(broker: Broker, group: str) -> list[Record]:
    """What the group has not read yet; closing the consumer commits it."""
    readings: list[Record] = []
    with broker.consumer(group) as consumer:
        consumer.subscribe([TOPIC])
        while records := consumer.poll(timeout=0.05):
            readings += records
    return readings


def decode(record: Record) -> tuple[str, float, int]:
    assert record.key is not None
    assert record.value is not None
    value = json.loads(record.value)
    return record.key.decode(), value["temp"], value["ts"]


def print_statistics(readings: list[Record]) -> None:
    temperatures: dict[str, list[float]] = defaultdict(list)
    for sensor, temperature, _ in map(decode, readings):
        temperatures[sensor].append(temperature)
    for sensor, values in sorted(temperatures.items()):
        mean = sum(values) / len(values)
        span = f"min={min(values):.1f}, max={max(values):.1f}, avg={mean:.1f}"
        print(f"  {sensor}: {span} ({len(values)} readings)")


def print_alerts(readings: list[Record]) -> None:
    alerts = [alert for alert in map(decode, readings) if alert[1] > ALERT_ABOVE]
    for sensor, temperature, seconds in alerts[:5]:
        print(f"  ALERT: {sensor} temp={temperature:.1f} at ts={seconds}")
    print(f"  ... and {len(alerts) - 5} more alerts")
    print(f"  Total alerts: {len(alerts)} out of {len(readings)} readings")


if __name__ == "__main__":
    run(main)
