"""The broker: one data directory, opened. It owns the topics and hands out what uses them."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from types import TracebackType
from typing import Any, Protocol, TypeVar

from merkql.consumer import Consumer
from merkql.errors import MerkqlError
from merkql.groups import list_groups
from merkql.partitioners import Partitioner
from merkql.producer import Producer
from merkql.storage import layout
from merkql.storage.arrivals import Arrivals
from merkql.storage.committer import Committer
from merkql.storage.engine import Engine
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files, VolatileFiles, remove_tree
from merkql.storage.retention import RetentionConfig
from merkql.topic import COMPRESSIONS, DURABILITIES, Topic, TopicConfig
from merkql.topic_table import TopicDefaults, TopicTable


class Closeable(Protocol):
    """What a broker closes when it closes."""

    def close(self) -> None:
        """End it."""


Opened = TypeVar("Opened", bound=Closeable)


@dataclass(frozen=True, slots=True)
class BrokerConfig:
    """How a data directory is opened.

    ``default_partitions``, ``compression``, ``default_retention`` and ``default_durability`` are
    for topics created without saying otherwise. ``read_only``: read beside a writer in another
    process, change nothing but groups. ``exclusive``: keep the writer role for life.
    """

    path: str | os.PathLike[str]
    default_partitions: int = 1
    auto_create_topics: bool = True
    compression: str = "none"
    default_retention: RetentionConfig = field(default_factory=RetentionConfig)
    default_durability: str = "fsync"
    read_only: bool = False
    exclusive: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.path, (str, os.PathLike)):
            raise TypeError(f"path is a str or a path of str, not {self.path!r}")
        path = os.fspath(self.path)
        if not isinstance(path, str):
            raise TypeError(f"path is a str or a path of str, not {self.path!r}")
        if not path or "\0" in path:
            raise ValueError(f"{path!r} cannot be a data directory")
        for name in ("auto_create_topics", "read_only", "exclusive"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} is a bool, not {getattr(self, name)!r}")
        if self.default_durability not in DURABILITIES:
            raise ValueError(
                f"default_durability is one of {DURABILITIES}, not {self.default_durability!r}"
            )
        if self.compression not in COMPRESSIONS:
            raise ValueError(f"compression is one of {COMPRESSIONS}, not {self.compression!r}")
        self.topic_config()

    def topic_config(self) -> TopicConfig:
        """The configuration of a topic that is created without saying otherwise."""
        return TopicConfig(
            partitions=self.default_partitions,
            retention=self.default_retention,
            durability=self.default_durability,
            compression=self.compression,
        )


class Broker:
    """An open data directory. Safe to share between threads; close it, or use ``with``.

    ``open`` makes one. Closing ends its producers and consumers and the directory can be opened
    again at once. One that is only dropped loses nothing that was acknowledged.
    """

    def __init__(self, config: BrokerConfig, files: Files | None = None) -> None:
        self.config = config
        self.closed = False
        self._directory = os.path.abspath(os.fspath(config.path))
        self._groups_directory = layout.groups_directory(self._directory)
        self._lock = threading.Lock()
        self._open_ones: weakref.WeakSet[Closeable] = weakref.WeakSet()  # they refer to us
        self._remove: weakref.finalize[..., Broker] | None = None  # of a temporary directory
        weakly = weakref.WeakMethod(self._apply_retention_in_background)
        self._engine = Engine(
            files or Files(),
            self._directory,
            read_only=config.read_only,
            apply_retention=lambda: _call(weakly()),  # a thread must not keep a dropped broker
        )
        self._defaults = config.topic_config()
        self._topics = TopicTable(
            self._engine, TopicDefaults(config.auto_create_topics, self._defaults)
        )
        try:
            self._topics.load()
        except BaseException:
            self._engine.abandon()
            self.closed = True
            raise
        if not config.read_only and any(topic.has_limits for topic in self._topics.topics()):
            self._engine.watch_retention()

    @classmethod
    def open(cls, path: str | os.PathLike[str] | BrokerConfig, **options: Any) -> Broker:
        """Open a data directory, making it if it is new or empty; options as ``BrokerConfig`` has.

        After a crash this puts the log right first. Raises ``DirectoryLockedError`` when another
        broker writes there, ``FormatError`` for a directory that is not ours or of a newer format,
        ``CorruptionError`` when the write-ahead log is damaged.
        """
        if isinstance(path, BrokerConfig):
            if options:
                raise TypeError("with a BrokerConfig give no further options")
            return cls(path)
        _check_options(options)
        return cls(BrokerConfig(path, **options))

    @classmethod
    def temporary(cls, **options: Any) -> Broker:
        """A broker on a directory of its own that is removed when it closes: for tests.

        Nothing is synced to the disk and topics have durability ``"disk"`` by default.
        """
        _check_options(options)
        import tempfile  # dear to import, and needed here alone

        path = tempfile.mkdtemp(prefix="merkql-")
        options.setdefault("default_durability", "disk")
        try:
            broker = cls(BrokerConfig(path, **options), VolatileFiles())
        except BaseException:
            _remove_temporary(path, os.getpid())
            raise
        broker._engine.discards = True
        broker._remove = weakref.finalize(broker, _remove_temporary, path, os.getpid())
        return broker

    def producer(self, *, partitioner: Partitioner | None = None) -> Producer:
        """A new producer; ``partitioner(key, count)`` says which partition a key goes to."""
        return self._register(Producer(self, partitioner))

    def consumer(self, group_id: str, **options: Any) -> Consumer:
        """A new member of the consumer group; options as ``Consumer`` has."""
        self._engine.check_open()
        return self._register(Consumer(self, group_id, **options))

    def create_topic(
        self,
        name: str,
        *,
        partitions: int | None = None,
        retention: RetentionConfig | None = None,
        durability: str | None = None,
        compression: str | None = None,
        segment_bytes: int = 128 << 20,
        segment_age_ms: int = 7 * 24 * 3600 * 1000,
        erasable: bool = False,
    ) -> Topic:
        """Create a topic; durable when it returns. What is not given is as the broker's default.

        ``durability``: ``"fsync"`` survives power loss, ``"disk"`` the death of the process.
        ``segment_bytes``: where a segment ends and the largest record, in bytes;
        ``segment_age_ms``: it also ends when a record is so much younger than its first.
        ``erasable``: each record has a salt of 16 bytes under its digest, so that nobody can guess
        the record from the digest: the ground for erasing single records, a call to come.
        Raises ``TopicExistsError``.
        """
        default = self._defaults
        config = TopicConfig(
            partitions=default.partitions if partitions is None else partitions,
            retention=default.retention if retention is None else retention,
            durability=default.durability if durability is None else durability,
            compression=default.compression if compression is None else compression,
            segment_bytes=segment_bytes,
            segment_age_ms=segment_age_ms,
            erasable=erasable,
        )
        return self._topics.create(name, config)

    def delete_topic(self, name: str) -> None:
        """Remove a topic and every byte of its records; durable when it returns."""
        self._topics.delete(name)

    def topic(self, name: str) -> Topic:
        """The topic of that name; ``UnknownTopicError`` if there is none."""
        self._engine.check_open()
        return self._topics.get(name)

    def topics(self) -> list[str]:
        """The names of all topics, sorted."""
        self._engine.check_open()
        return self._topics.names()

    def groups(self) -> list[str]:
        """The names of all consumer groups, sorted."""
        self._engine.check_open()
        return list_groups(self._engine.pool.files, self._groups_directory)

    def apply_retention(self) -> int:
        """Apply every topic's retention now; the bytes freed on disk."""
        freed = 0
        errors = []
        with self._engine.exclusive():
            for topic in [one for one in self._topics.topics() if one.has_limits]:
                try:
                    freed += topic.apply_retention()
                except (MerkqlError, OSError) as error:
                    errors.append(error)  # the other topics get theirs
        if errors:
            raise errors[0]
        return freed

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads that work for this broker now; none after ``close``."""
        return [thread for thread in self._engine.threads if thread.is_alive()]

    def close(self) -> None:
        """End producers and consumers, make everything durable, free the directory.

        Closing twice is fine. Raises what closing a consumer or the last sync raised, after the
        directory is free all the same.
        """
        with self._lock:
            if self.closed:
                return
            self.closed = True
        errors = []
        for one in list(self._open_ones):
            try:
                one.close()
            except Exception as error:
                errors.append(error)
        self._engine.close()
        if self._remove is not None:
            self._remove()
        if errors:
            raise errors[0]

    def ensure_topic(self, name: str) -> Topic:
        """The topic, created with the defaults if ``auto_create_topics`` allows it."""
        return self._topics.ensure(name)

    def committer(self) -> Committer:
        """The group commit of this directory; for producers."""
        return self._engine.writing()

    @property
    def _files(self) -> FilePool:
        return self._engine.pool

    @property
    def _arrivals(self) -> Arrivals:
        return self._engine.arrivals

    def _register(self, closeable: Opened) -> Opened:
        self._open_ones.add(closeable)
        return closeable

    def _unregister(self, closeable: Closeable) -> None:
        self._open_ones.discard(closeable)

    def _apply_retention_in_background(self) -> None:
        if not self.closed:
            self.apply_retention()

    def __enter__(self) -> Broker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Broker of {self._directory}{', closed' if self.closed else ''}>"

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None and not self.closed:
            engine.abandon()


def _check_options(options: dict[str, Any]) -> None:
    known = [one.name for one in fields(BrokerConfig)][1:]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise TypeError(f"no option {unknown[0]!r}; there are {', '.join(known)}")


def _remove_temporary(path: str, process: int) -> None:
    """Remove a temporary broker's directory, unless this is a forked child of who made it."""
    files = VolatileFiles()
    if os.getpid() == process and files.status(path) is not None:
        remove_tree(files, path)


def _call(method: Callable[[], None] | None) -> None:
    if method is not None:
        method()
