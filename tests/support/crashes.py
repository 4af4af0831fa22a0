"""A broker that dies in this process, as far as its directory and other brokers can tell."""

from __future__ import annotations

from merkql import Broker


def crash(broker: Broker) -> None:
    """Drop a broker as a kill does: nothing more is written, and its locks are freed."""
    broker._engine.abandon()
    broker.closed = True
