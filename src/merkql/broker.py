"""The broker: one open data directory. Owns its topics and creates producers and consumers."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from merkql import before_fork as before_fork  # registers a fork hook
from merkql.broker_config import BrokerConfig, BrokerOptions, check_options
from merkql.producer import Producer
from merkql.storage import layout
from merkql.storage.access import Access, ProcessBound
from merkql.storage.arrivals import Arrivals
from merkql.storage.committer import Committer
from merkql.storage.engine import Engine
from merkql.storage.file_pool import FilePool
from merkql.storage.files import Files, VolatileFiles, remove_tree
from merkql.storage.partition_identity import CheckpointSchedule
from merkql.storage.retention import RetentionConfig
from merkql.topic import Topic
from merkql.topic_config import TopicConfig
from merkql.topic_table import TopicDefaults, TopicTable
from merkql.transparency.on_demand import Checkpoints

if TYPE_CHECKING:
    from typing_extensions import Unpack  # of typing from 3.11 on

    from merkql.consumer import Consumer
    from merkql.consumer_arguments import ConsumerOptions
    from merkql.partitioners import Partitioner

Opened = TypeVar("Opened", Producer, "Consumer")


class Broker(ProcessBound):
    """An open data directory. Safe to share between threads; close it, or use ``with``.

    Made by ``open``. Closing it closes its producers and consumers; the directory can be opened
    again at once. Dropping it unclosed loses nothing that was acknowledged. It belongs to the
    process that opened it: in a forked child it raises ``ClosedError``, and the child opens the
    directory itself. ``config`` is what it was opened with, ``closed`` whether it is closed.
    """

    def __init__(self, config: BrokerConfig, files: Files | None = None) -> None:
        if not isinstance(config, BrokerConfig):
            raise TypeError(f"a BrokerConfig is needed; Broker.open({config!r}) opens a directory")
        self.config = config
        self.closed = False
        self._directory = os.path.abspath(os.fspath(config.path))
        self._groups_directory = layout.groups_directory(self._directory)
        self._lock = threading.Lock()
        self._open_ones: weakref.WeakSet[Producer | Consumer] = weakref.WeakSet()
        self._remove: weakref.finalize[..., Broker] | None = None  # of a temporary directory
        self._engine = Engine(
            files or Files(),
            self._directory,
            Access(config.read_only, config.exclusive, config.writer_timeout),
            apply_retention=partial(_apply_retention, weakref.ref(self)),
        )
        try:
            self._checkpoints = Checkpoints(self._engine, config.signing_key)
            self._engine.checkpointer = self._checkpoints
            self._engine.partitions.check_opened = self._checkpoints.check_opened
        except BaseException:
            self._engine.abandon()
            self.closed = True
            raise
        self._defaults = config.topic_config()
        self._topics = TopicTable(
            self._engine, TopicDefaults(config.auto_create_topics, self._defaults)
        )
        self._engine.topics = self._topics
        try:
            self._topics.load()
            self._engine.opened()
        except BaseException:
            self._engine.abandon()
            self.closed = True
            raise
        # Warns when the broker is dropped unclosed, also at exit.
        self._unclosed = weakref.finalize(self, _warn_unclosed, self._engine)
        self._checkpoints.start(
            records=config.checkpoint_records, seconds=config.checkpoint_seconds
        )

    @classmethod
    def open(
        cls, path: str | os.PathLike[str] | BrokerConfig, **options: Unpack[BrokerOptions]
    ) -> Broker:
        """Open a data directory, creating it if it is new or empty; options as in ``BrokerConfig``.

        Any number of processes may have it open and write. After a crash this recovers the log
        first. Raises ``DirectoryLockedError`` if another broker is exclusive, or if this one is to
        be ``exclusive`` and another is open; ``FormatError`` for a directory that is not ours or
        has a newer format; ``CorruptionError`` if the write-ahead log is damaged.
        """
        if isinstance(path, BrokerConfig):
            if options:
                raise TypeError("with a BrokerConfig give no further options")
            return cls(path)
        check_options(options, BrokerOptions)
        return cls(BrokerConfig(path, **options))

    @classmethod
    def temporary(cls, **options: Unpack[BrokerOptions]) -> Broker:
        """A broker on a directory of its own that is removed when it closes: for tests.

        Nothing is synced to disk, and topics have durability ``"disk"`` by default.
        """
        check_options(options, BrokerOptions)
        import tempfile  # slow to import and needed only here

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
        """A new producer; ``partitioner(key, count)`` returns the partition of a key."""
        return self._register(Producer(_ForClients(self), partitioner))

    def consumer(self, group_id: str, **options: Unpack[ConsumerOptions]) -> Consumer:
        """A new member of the consumer group; options as in ``Consumer``."""
        from merkql.consumer import Consumer  # here, so that writers do not pay for the import
        from merkql.consumer_arguments import ConsumerOptions

        check_options(options, ConsumerOptions)
        self._engine.check_open()
        return self._register(Consumer(_ForClients(self), group_id, **options))

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
        checkpoints: CheckpointSchedule | None = None,
    ) -> Topic:
        """Create a topic; durable when it returns. Options not given are the broker's defaults.

        ``durability``: ``"fsync"`` survives power loss, ``"disk"`` the death of the process.
        ``segment_bytes``: the size at which a segment ends, in bytes, and the largest record;
        ``segment_age_ms``: it also ends once a record is that much younger than its first.
        ``erasable``: single records can be erased later; each gets a salt of 16 bytes under its
        digest, so that nobody can guess the record from the digest that remains. ``checkpoints``:
        when a broker with a signing key signs automatically, if not as it was opened. Raises
        ``TopicExistsError``.
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
            checkpoints=CheckpointSchedule() if checkpoints is None else checkpoints,
        )
        return self._topics.create(name, config)

    def delete_topic(self, name: str) -> None:
        """Remove a topic and every byte of its records; durable when it returns."""
        self._topics.delete(name)

    def topic(self, name: str) -> Topic:
        """The topic of that name; ``UnknownTopicError`` if there is none."""
        self._engine.check_open()
        return self._topics.get(name)

    def ensure_topic(self, name: str) -> Topic:
        """The topic of that name, created with the broker's defaults if there is none yet.

        ``send`` does this first. Durable when it returns. Raises ``UnknownTopicError`` for a new
        topic if ``auto_create_topics`` is off, ``ReadOnlyError`` if the broker is read-only.
        """
        self._engine.check_open()
        return self._topics.ensure(name)

    def topics(self, *, internal: bool = False) -> list[str]:
        """The names of all topics, sorted; ``internal`` includes the audit log of erasures."""
        self._engine.check_open()
        return self._topics.names(internal=internal)

    def groups(self) -> list[str]:
        """The names of all consumer groups, sorted."""
        from merkql.group_names import list_groups

        self._engine.check_open()
        return list_groups(self._engine.pool.files, self._groups_directory)

    def apply_retention(self) -> int:
        """Apply every topic's retention now; returns the bytes freed on disk."""
        return self._topics.apply_retention()

    @property
    def threads(self) -> list[threading.Thread]:
        """The threads working for this broker now; none after ``close``."""
        return [thread for thread in self._engine.threads if thread.is_alive()]

    def close(self) -> None:
        """Close producers and consumers, make everything durable, release the directory.

        Closing twice is fine. An error of a consumer's close or of the last sync is raised once the
        directory is released.
        """
        if self._engine.disowned:  # the lock may be held by a thread of the parent
            self.closed = True
            return
        with self._lock:
            if self.closed:
                return
            self.closed = True
        errors = []
        for close in [one.close for one in self._open_ones] + [self._checkpoints.close]:
            try:
                close()
            except Exception as error:
                errors.append(error)
        self._engine.close()
        if self._remove is not None:
            self._remove()
        if errors:
            raise errors[0]

    def _register(self, closeable: Opened) -> Opened:
        self._open_ones.add(closeable)
        return closeable

    def __enter__(self) -> Broker:
        self._engine.check_open()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Broker of {self._directory}{', closed' if self.closed else ''}>"

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None and not self.closed:
            try:
                if hasattr(self, "_unclosed"):
                    self._checkpoints.stop()
                    self._unclosed()
            finally:
                engine.abandon()


class _ForClients:
    """What a producer or consumer needs of its broker, and users do not; keeps the broker alive."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._engine = broker._engine
        self.groups_directory = broker._groups_directory

    def __repr__(self) -> str:
        return repr(self._broker)

    def ensure_topic(self, name: str) -> Topic:
        return self._broker.ensure_topic(name)

    def topic(self, name: str) -> Topic:
        return self._broker.topic(name)

    def topics(self, *, internal: bool = False) -> list[str]:
        return self._broker.topics(internal=internal)

    def topic_ids(self) -> set[bytes] | None:
        return self._broker._topics.ids()

    def committer(self) -> Committer:
        return self._engine.writing()

    def sync_records(self) -> None:
        self._engine.sync_records()

    @property
    def files(self) -> FilePool:
        return self._engine.pool

    @property
    def arrivals(self) -> Arrivals:
        return self._engine.arrivals

    def unregister(self, closeable: Producer | Consumer) -> None:
        self._broker._open_ones.discard(closeable)


def _warn_unclosed(engine: Engine) -> None:
    """Warn that a broker was not closed, and of what that loses."""
    if engine.closed_reason:
        return
    count = engine.committer.queued_records if engine.committer is not None else 0
    warnings.warn(
        f"the broker of {engine.root} was not closed"
        f"{f', with {count} records of send_nowait on their way' if count else ''}; "
        "close it, or use it in a with block",
        ResourceWarning,
        stacklevel=2,
    )


def _remove_temporary(path: str, process: int) -> None:
    """Remove a temporary broker's directory, unless this is a forked child."""
    files = VolatileFiles()
    if os.getpid() == process and files.status(path) is not None:
        remove_tree(files, path)


def _apply_retention(reference: weakref.ref[Broker]) -> None:
    """Called by the maintenance thread, which must not keep a dropped broker alive."""
    broker = reference()
    if broker is not None and not broker.closed:
        broker.apply_retention()
