"""Opens the data directory a command was given: to read, or to write."""

from __future__ import annotations

import os
import re
from argparse import Namespace

from merkql.broker import Broker
from merkql.cli.parsing import UsageError
from merkql.errors import CorruptionError, FormatError, MerkqlError
from merkql.storage import layout
from merkql.storage.entries import topic_entries
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files
from merkql.topic_config import read_topic


def to_read(arguments: Namespace) -> Broker:
    """A broker that changes nothing but groups; whoever writes meanwhile is not disturbed."""
    try:
        return Broker.open(arguments.directory, read_only=True)
    except FormatError as error:
        if os.path.exists(layout.directory_mark(arguments.directory)):
            raise
        _refuse_address(arguments.directory)
        raise FormatError(f"{error}; name one with -d DIR or MERKQL_DIRECTORY") from None


def to_write(arguments: Namespace, *, may_create: bool = False) -> Broker:
    """A broker that writes, beside others; a new directory is made only where that is meant."""
    path = arguments.directory
    is_new = not os.path.exists(layout.directory_mark(path))
    if is_new:
        _refuse_address(path)
    if is_new and not may_create:
        return to_read(arguments)  # raises, and says what it is instead
    broker = Broker.open(path)
    if is_new:
        arguments.terminal.note(f"{path}: a new data directory")
    return broker


def _refuse_address(path: str) -> None:
    if re.fullmatch(r"[\w.-]*:\d+(,.*)?", path):
        raise UsageError("merkql", f"{path}: there is no broker; -b, as -d, names a directory")


def damaged_topics(directory: str) -> list[MerkqlError]:
    """What keeps topics from being read at all: a damaged or newer topic.json, a link."""
    pool, topics = FilePool(Files()), layout.topics_directory(os.path.abspath(directory))
    found: list[MerkqlError] = []
    try:
        entries = topic_entries(pool.files, topics)
    except FileNotFoundError:
        return found  # an empty directory that a copy left out
    for entry in entries:
        path = os.path.join(topics, entry)
        if not layout.is_encoded_name(entry):
            continue  # being made, or deleted
        try:
            read_topic(pool, path)
        except FileNotFoundError:
            if os.path.exists(path):
                text = "the topic's configuration is missing"
                found.append(CorruptionError(layout.topic_config(path), 0, text))
        except MerkqlError as error:
            found.append(error)
        except OSError as error:
            found.append(CorruptionError(path, 0, error.strerror or str(error)))
    return found
