"""How a broker is opened: options that exist, values they take, and what is said of the others."""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from merkql import Broker, BrokerConfig, Consumer, RetentionConfig
from merkql.broker_config import BrokerOptions
from merkql.consumer_arguments import ConsumerOptions

BROKER_OPTIONS = (
    "default_partitions, auto_create_topics, compression, default_retention, default_durability, "
    "read_only, exclusive, writer_timeout, signing_key, checkpoint_records, checkpoint_seconds"
)
CONSUMER_OPTIONS = (
    "auto_commit, offset_reset, max_records, fetch_max_bytes, on_gap, rebalance_timeout, "
    "max_poll_interval, verify, clock"
)


def annotations(options: Any) -> dict[str, str]:
    return {name: made.__forward_arg__ for name, made in options.__annotations__.items()}


def consume(**options: Any) -> None:
    with Broker.temporary() as broker:
        broker.consumer("g", **options)


def test_options_of_a_broker_are_the_fields_of_its_configuration() -> None:
    fields = {one.name: one.type for one in dataclasses.fields(BrokerConfig)}
    del fields["path"]
    assert list(annotations(BrokerOptions).items()) == list(fields.items())


def test_options_of_a_consumer_are_the_keywords_it_takes() -> None:
    keywords = {
        one.name: one.annotation
        for one in inspect.signature(Consumer).parameters.values()
        if one.kind is one.KEYWORD_ONLY
    }
    assert list(annotations(ConsumerOptions).items()) == list(keywords.items())


@pytest.mark.parametrize(
    ("call", "option", "known"),
    [
        (lambda path: Broker.open(path, defualt_partitions=3), "defualt_partitions", "broker"),
        (lambda path: Broker.open(path, True_=1, read_only=True), "True_", "broker"),
        (lambda path: Broker.temporary(nope=1), "nope", "broker"),
        (lambda path: Broker.temporary(path=path), "path", "broker"),
        (lambda path: consume(auto_comit=False), "auto_comit", "consumer"),
        (lambda path: consume(broker=None), "broker", "consumer"),
    ],
)
def test_unknown_option_is_named_and_those_there_are_listed(
    tmp_path: Path, call: Callable[[Path], object], option: str, known: str
) -> None:
    path = tmp_path / "events"
    with pytest.raises(TypeError) as refused:
        call(path)
    listed = {"broker": BROKER_OPTIONS, "consumer": CONSUMER_OPTIONS}[known]
    assert str(refused.value) == f"no option {option!r}; there are {listed}"
    assert not path.exists()


def test_a_configuration_takes_no_further_options(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="with a BrokerConfig give no further options"):
        Broker.open(BrokerConfig(tmp_path / "events"), read_only=True)
    assert not (tmp_path / "events").exists()


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"path": 7}, TypeError, "path is a str or a path of str, not 7"),
        ({"path": b"events"}, TypeError, "path is a str or a path of str, not b'events'"),
        ({"path": ""}, ValueError, "'' cannot be a data directory"),
        ({"path": "a\0b"}, ValueError, r"'a\x00b' cannot be a data directory"),
        ({"default_partitions": 0}, ValueError, "default_partitions is between 1 and 10000, not 0"),
        ({"default_partitions": 1 << 70}, ValueError, f"1 and 10000, not {1 << 70}"),
        ({"default_partitions": True}, TypeError, "default_partitions is an int, not True"),
        ({"default_partitions": "3"}, TypeError, "default_partitions is an int, not '3'"),
        (
            {"default_retention": None},
            TypeError,
            "default_retention is a RetentionConfig, not None",
        ),
        (
            {"default_durability": "ram"},
            ValueError,
            "default_durability is one of 'fsync', 'disk', not 'ram'",
        ),
        ({"default_durability": []}, ValueError, "default_durability is one of"),
        ({"compression": "zip"}, ValueError, "compression is one of 'none', 'lz4', not 'zip'"),
        ({"auto_create_topics": 1}, TypeError, "auto_create_topics is a bool, not 1"),
        ({"read_only": "no"}, TypeError, "read_only is a bool, not 'no'"),
        ({"exclusive": None}, TypeError, "exclusive is a bool, not None"),
    ],
)
def test_refused_value_is_said_by_the_name_it_was_given(
    given: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as refused:
        BrokerConfig(**{"path": "events", **given})
    assert message in str(refused.value)


def test_defaults_of_a_broker_are_those_of_its_topics(tmp_path: Path) -> None:
    retention = RetentionConfig(max_records=5)
    with Broker.open(
        os.fspath(tmp_path), default_partitions=3, compression="lz4", default_retention=retention
    ) as broker:
        config = broker.create_topic("t").config
    assert (config.partitions, config.compression, config.retention) == (3, "lz4", retention)
    assert config.durability == "fsync"


def test_temporary_broker_has_durability_disk_unless_told() -> None:
    with Broker.temporary() as broker:
        assert broker.create_topic("t").config.durability == "disk"
    with Broker.temporary(default_durability="fsync") as broker:
        assert broker.create_topic("t").config.durability == "fsync"
