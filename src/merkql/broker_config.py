"""How a data directory is opened, and the checks of what callers pass for it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypedDict

from merkql.storage.retention import RetentionConfig
from merkql.topic_config import COMPRESSIONS, DURABILITIES, PARTITIONS_MAX, TopicConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from merkql.transparency.checkpointer import Signer

    SigningKey = str | os.PathLike[str] | Signer
    SigningKeys = SigningKey | Sequence[SigningKey] | None


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """How a data directory is opened.

    ``default_partitions``, ``compression``, ``default_retention`` and ``default_durability`` apply
    to topics created without their own. ``read_only``: read beside writers in other processes; only
    groups are changed. ``exclusive``: hold the writer role until closed, so that no other broker
    can be open to write. ``writer_timeout``: how long a write waits for another process to release
    the writer role, in seconds, before it raises ``WriterTimeoutError``.

    ``signing_key``: a key file made by ``merkql keygen`` (several during a key change). Each
    partition's checkpoints are signed with it on request, at close, and in the background every
    ``checkpoint_records`` records or ``checkpoint_seconds`` seconds.
    """

    path: str | os.PathLike[str]
    default_partitions: int = 1
    auto_create_topics: bool = True
    compression: str = "none"
    default_retention: RetentionConfig = field(default_factory=RetentionConfig)
    default_durability: str = "fsync"
    read_only: bool = False
    exclusive: bool = False
    writer_timeout: float = 30.0
    signing_key: SigningKeys = field(default=None, repr=False)
    checkpoint_records: int | None = None
    checkpoint_seconds: float | None = None

    def __post_init__(self) -> None:
        _check_path(self.path)
        for name in ("auto_create_topics", "read_only", "exclusive"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is a bool, not {getattr(self, name)!r}")
        timeout = self.writer_timeout
        if not isinstance(timeout, (int, float)) or isinstance(timeout, bool):
            raise TypeError(f"writer_timeout is a number of seconds, not {timeout!r}")
        if not 0 < timeout < 1e6:
            raise ValueError(f"writer_timeout is more than 0 and less than 1e6, not {timeout}")
        count = self.default_partitions
        if not isinstance(count, int) or isinstance(count, bool):
            raise TypeError(f"default_partitions is an int, not {count!r}")
        if not 1 <= count <= PARTITIONS_MAX:
            raise ValueError(f"default_partitions is between 1 and {PARTITIONS_MAX}, not {count}")
        if not isinstance(self.default_retention, RetentionConfig):
            raise TypeError(
                f"default_retention is a RetentionConfig, not {self.default_retention!r}"
            )
        _check_schedule("checkpoint_records", self.checkpoint_records, int)
        _check_schedule("checkpoint_seconds", self.checkpoint_seconds, (int, float))
        _check_choice("default_durability", self.default_durability, DURABILITIES)
        _check_choice("compression", self.compression, COMPRESSIONS)

    def topic_config(self) -> TopicConfig:
        """The configuration of a topic created without its own."""
        return TopicConfig(
            partitions=self.default_partitions,
            retention=self.default_retention,
            durability=self.default_durability,
            compression=self.compression,
        )


class BrokerOptions(TypedDict, total=False):
    """The fields of ``BrokerConfig`` except ``path``, as keyword arguments."""

    default_partitions: int
    auto_create_topics: bool
    compression: str
    default_retention: RetentionConfig
    default_durability: str
    read_only: bool
    exclusive: bool
    writer_timeout: float
    signing_key: SigningKeys
    checkpoint_records: int | None
    checkpoint_seconds: float | None


def check_options(given: Iterable[str], options: type) -> None:
    """Refuse keys that ``options``, a ``TypedDict``, does not have, listing those it has."""
    known = options.__annotations__
    for name in given:
        if name not in known:
            raise TypeError(f"no option {name!r}; there are {', '.join(known)}")


def _check_schedule(name: str, value: object, kind: type | tuple[type, ...]) -> None:
    if value is None:
        return
    if not isinstance(value, kind) or isinstance(value, bool):
        raise TypeError(f"{name} is a number or None, not {value!r}")
    if not value > 0:  # type: ignore[operator]
        raise ValueError(f"{name} is more than 0, not {value!r}")


def _check_path(given: object) -> None:
    path = os.fspath(given) if isinstance(given, os.PathLike) else given
    if not isinstance(path, str):
        raise TypeError(f"path is a str or a path of str, not {given!r}")
    if not path or "\0" in path:
        raise ValueError(f"{path!r} cannot be a data directory")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}")
