"""A topic's configuration, and the file that holds it.

Format: docs/formats/data-directory.md.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, fields

from merkql.errors import CorruptionError, FormatError
from merkql.storage import layout
from merkql.storage.arguments import check_between, check_choice, check_kind
from merkql.storage.file_pool import FilePool
from merkql.storage.files import read_file, replace_file
from merkql.storage.partition_identity import CheckpointSchedule
from merkql.storage.retention import RetentionConfig

FORMAT = 1
PARTITIONS_MAX = 10_000
SEGMENT_BYTES_MIN = 4096
SEGMENT_BYTES_MAX = 1 << 30
DURABILITIES = ("fsync", "disk")
COMPRESSIONS = ("none", "lz4")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicConfig:
    """A topic's configuration; ``Broker.create_topic`` explains each field."""

    partitions: int = 1
    retention: RetentionConfig = field(default_factory=RetentionConfig)
    durability: str = "fsync"
    compression: str = "none"
    segment_bytes: int = 128 << 20
    segment_age_ms: int = 7 * 24 * 3600 * 1000
    erasable: bool = False
    checkpoints: CheckpointSchedule = field(default_factory=CheckpointSchedule)

    def __post_init__(self) -> None:
        check_between(self.partitions, "partitions", 1, PARTITIONS_MAX)
        check_between(self.segment_bytes, "segment_bytes", SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX)
        check_between(self.segment_age_ms, "segment_age_ms", 1, 1 << 53)
        check_choice(self.durability, "durability", DURABILITIES)
        check_choice(self.compression, "compression", COMPRESSIONS)
        check_kind(self.retention, "retention", RetentionConfig)
        check_kind(self.checkpoints, "checkpoints", CheckpointSchedule)
        check_kind(self.erasable, "erasable", bool)


def write_topic(
    pool: FilePool, topic_directory: str, content: tuple[str, bytes, TopicConfig]
) -> None:
    """Replace the topic's configuration file, durably."""
    replace_file(pool.files, layout.topic_config(topic_directory), encode_topic(*content))


def encode_topic(name: str, topic_id: bytes, config: TopicConfig) -> bytes:
    """The content of a topic's configuration file."""
    content = {"format": FORMAT, "name": name, "id": topic_id.hex(), **asdict(config)}
    return json.dumps(content, indent=1).encode() + b"\n"


def read_topic(pool: FilePool, topic_directory: str) -> tuple[str, bytes, TopicConfig]:
    """A topic's name, id and configuration.

    Raises ``CorruptionError`` for a file that is not one, ``FormatError`` for a newer one.
    """
    path = layout.topic_config(topic_directory)
    try:
        content = json.loads(read_file(pool.files, path))
        stated = content.pop("format")
        if isinstance(stated, int) and stated > FORMAT:
            raise FormatError(
                f"{path} has format {stated}; this version of merkql knows formats up to {FORMAT}: "
                "install a newer one"
            )
        if stated != FORMAT:
            raise ValueError(f"format {stated!r}")
        name = layout.check_name(content.pop("name"), "topic")
        topic_id = bytes.fromhex(content.pop("id"))
        content["retention"] = RetentionConfig(**content["retention"])
        content["checkpoints"] = CheckpointSchedule(**content.get("checkpoints", {}))
        known = {one.name for one in fields(TopicConfig)}
        config = TopicConfig(**{key: content[key] for key in content if key in known})
        if len(topic_id) != 16 or os.path.basename(topic_directory) != layout.file_name(name):
            raise ValueError("it does not belong in this directory")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        missing = "no " if isinstance(error, KeyError) else ""
        raise CorruptionError(path, 0, f"not a topic's configuration: {missing}{error}") from None
    return name, topic_id, config


def topic_signature(pool: FilePool, topic_directory: str) -> tuple[int, int] | None:
    """A value that changes whenever a topic's configuration file is replaced."""
    status = pool.files.status(layout.topic_config(topic_directory))
    return (status.st_ino, status.st_mtime_ns) if status is not None else None


def refuse_internal(name: object) -> None:
    """``ValueError`` for the internal topic, which only erasures may change."""
    if name == layout.ERASURES_TOPIC:
        raise ValueError(f"{name!r} is the audit log of erasures: only erasing records writes it")
