"""What the parts of `dump` share: a finding, and where a file belongs in its data directory."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from merkql.cli.record_text import visible
from merkql.cli.terminal import Output
from merkql.errors import MerkqlError
from merkql.storage import layout
from merkql.storage.entries import topic_entries
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files, read_file
from merkql.topic_config import read_topic

FILE_SIZE_MAX = 1 << 36
TEXT_MAX = 200  # of a value; JSON has the whole
LEVELS_MAX = 6  # from a file up to its data directory


@dataclass(frozen=True, slots=True)
class Finding:
    """Something in a file: what, at which byte, its fields; or what is wrong there."""

    what: str
    position: int
    fields: dict[str, object] = field(default_factory=dict)
    problem: str | None = None

    def print(self, out: Output, *, is_json: bool) -> None:
        """A line; the fields as JSON has them, or as people read them."""
        if is_json:
            row = {"position": self.position, "what": self.what, **self.fields}
            out.print(json.dumps({**row, "problem": self.problem}))
            return
        words = [f"{name} {_text(value)}" for name, value in self.fields.items()]
        line = f"{self.position:>10}  {out.paint('cyan', self.what)}  {'  '.join(words)}".rstrip()
        if self.problem is not None:
            line += f"  {out.paint('red', f'WRONG: {self.problem}')}"
        out.print(line)


class Place:
    """A file that is dumped, and the data directory it is in, if it is in one."""

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)
        self.name = os.path.basename(self.path)
        self.directory = os.path.dirname(self.path)
        self.pool = FilePool(Files())

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return self.pool.size(self.path)

    def content(self) -> bytes:
        """All of it."""
        return read_file(self.pool.files, self.path, FILE_SIZE_MAX)

    @cached_property
    def root(self) -> str | None:
        """The data directory, found by going up."""
        directory = self.directory
        for _ in range(LEVELS_MAX):
            if os.path.exists(layout.directory_mark(directory)):
                return directory
            directory = os.path.dirname(directory)
        return None

    @cached_property
    def topics(self) -> dict[bytes, str]:
        """The names of the topics that can be read, by id."""
        names: dict[bytes, str] = {}
        if self.root is None:
            return names
        directory = layout.topics_directory(self.root)
        try:
            entries = topic_entries(self.pool.files, directory)
        except OSError:
            return names  # ids are shown instead
        for entry in entries:
            try:
                name, topic_id, _ = read_topic(self.pool, os.path.join(directory, entry))
            except (MerkqlError, OSError):
                continue  # likewise
            names[topic_id] = name
        return names

    def topic(self, topic_id: bytes) -> str:
        """The name of a topic, or its id where there is none."""
        return self.topics.get(topic_id, topic_id.hex())


@dataclass(frozen=True, slots=True)
class Depth:
    """How much is shown: the records (entries, hashes) too?"""

    records: bool


Dump = Callable[[Place, Depth], Iterator[Finding]]


def _text(value: object) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = visible(text.encode("utf-8", "surrogateescape")).replace("\n", "\\n")
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}… ({len(text):,} characters)"
