"""A topic: a named set of partitions, its configuration, and changes of it."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from merkql.errors import (
    MerkqlError,
    NotErasableError,
    ReadOnlyError,
    UnknownPartitionError,
    UnknownTopicError,
)
from merkql.storage import layout
from merkql.storage.access import ProcessBound
from merkql.storage.arguments import as_key, check_between
from merkql.storage.index_repair import AnyLog
from merkql.storage.partition import Partition
from merkql.storage.partition_directories import make_partition_directories
from merkql.storage.partition_identity import CheckpointSchedule, LogSettings, PartitionId
from merkql.storage.partition_log import PartitionLog
from merkql.storage.partition_owner import CheckpointMaker
from merkql.storage.retention import (
    NO_LIMITS,
    RetentionConfig,
    apply_retention,
    keep_hidden,
)
from merkql.topic_config import (
    PARTITIONS_MAX,
    TopicConfig,
    read_topic,
    refuse_internal,
    topic_signature,
    write_topic,
)
from merkql.topic_owner import TopicOwner

if TYPE_CHECKING:
    from merkql.storage.eraser import Choice, Reason


class _Owner:
    """What a partition needs of its topic; not public."""

    def __init__(self, topic: Topic) -> None:
        self._topic = topic
        self.open_log = topic._open_log
        self.exclusive = topic._exclusive

    @property
    def retention(self) -> RetentionConfig:
        return self._topic._retention

    @property
    def checkpointer(self) -> CheckpointMaker:
        return self._topic._owner.checkpointer

    def erase(
        self, partitions: Iterable[int], choose: Choice, reason: Reason
    ) -> dict[int, list[int]]:
        self._topic._check_erasable()
        return self._topic._owner.topics.erasures.erase(self._topic, partitions, choose, reason)

    def erased(self, index: int) -> set[int]:
        return self._topic._owner.topics.erasures.logged(self._topic.id, index)

    def being_erased(self, index: int) -> set[int]:
        return self._topic._owner.topics.erasures.pending(self._topic.id, index)


class Topic(ProcessBound):
    """A named set of partitions. Safe to share between threads. ``name`` is its name."""

    def __init__(
        self, owner: TopicOwner, directory: str, name: str, topic_id: bytes, config: TopicConfig
    ) -> None:
        self._owner = owner
        self._directory = directory
        self._set_config(config)
        self._logs: list[Any] = [None] * config.partitions
        self._lock = threading.Lock()
        self._for_partitions = _Owner(self)
        self._partitions = [self._make_partition(name, i) for i in range(config.partitions)]
        self.name = name
        self.id = topic_id
        self.next_partition = 0  # where the next record without a key goes
        self.deleted = False

    def __repr__(self) -> str:
        return f"<Topic {self.name} of {len(self._partitions)} partitions>"

    @property
    def config(self) -> TopicConfig:
        """The configuration as it is now."""
        return self._config

    @property
    def retention(self) -> RetentionConfig:
        """The topic's retention limits."""
        return self._retention

    @property
    def _has_limits(self) -> bool:
        """Whether the topic has retention limits."""
        return self._retention is not NO_LIMITS

    def partitions(self) -> list[Partition]:
        """All partitions, in order."""
        return list(self._partitions)

    @property
    def partition_count(self) -> int:
        """The number of partitions."""
        return len(self._partitions)

    def partition(self, index: int) -> Partition:
        """The partition of that number; ``UnknownPartitionError`` if there is none."""
        if not isinstance(index, int) or isinstance(index, bool):
            raise TypeError(f"a partition is an int, not {index!r}")
        if index >= len(self._partitions):
            self._owner.topics.refresh()  # another process may have added some
        if not 0 <= index < len(self._partitions):
            raise UnknownPartitionError(self.name, index, len(self._partitions))
        return self._partitions[index]

    def add_partitions(self, count: int) -> None:
        """Grow to ``count`` partitions in all. Keys then route differently; records stay."""
        refuse_internal(self.name)
        check_between(count, "the number of partitions", 1, PARTITIONS_MAX)
        self._check_count(count)
        with self._exclusive(topics=True):
            self._check_count(count)  # another process may have added some
            added = range(len(self._partitions), count)  # an earlier one that is missing is damage
            make_partition_directories(self._owner.pool, self._directory, added)
            self._change(partitions=count)
            self._logs += [None] * (count - len(self._logs))
            self._partitions += [
                self._make_partition(self.name, i) for i in range(len(self._partitions), count)
            ]
        self._owner.announce()

    def erase_key(
        self, key: bytes | str, *, by: str | None = None, reason: str | None = None
    ) -> dict[int, list[int]]:
        """Destroy every record with this key, in all partitions; returns offsets by partition.

        Covers all written before it returns, including those that retention hides; all or nothing.
        Otherwise as ``Partition.erase``. Cost: reads every record of the topic.
        """
        from merkql.storage.eraser import Reason
        from merkql.storage.erasure import find_key

        wanted = as_key(key)
        partitions, said = range(len(self._partitions)), Reason(by, reason)
        self._check_erasable()
        searched = {i: self._partitions[i].find_key(wanted) for i in partitions}

        def choose(index: int, log: PartitionLog) -> list[int]:
            offsets, end = searched.get(index, ([], 0))  # what arrived since is searched here
            return offsets + find_key(log, wanted, end).offsets

        return self._for_partitions.erase(partitions, choose, said)

    def _check_erasable(self) -> None:
        if self._owner.read_only:
            raise ReadOnlyError("the broker was opened with read_only=True")
        if not self.config.erasable:
            raise NotErasableError(self.name)

    def alter(
        self,
        *,
        retention: RetentionConfig | None = None,
        durability: str | None = None,
        compression: str | None = None,
        segment_bytes: int | None = None,
        segment_age_ms: int | None = None,
        checkpoints: CheckpointSchedule | None = None,
    ) -> None:
        """Change the given settings; durable when it returns. Compression applies to new records.

        What retention hid stays hidden when its limits are loosened.
        """
        refuse_internal(self.name)
        given = {
            "retention": retention,
            "durability": durability,
            "compression": compression,
            "segment_bytes": segment_bytes,
            "segment_age_ms": segment_age_ms,
            "checkpoints": checkpoints,
        }
        with self._exclusive(topics=True):
            for index in range(len(self._logs)):
                log = self._open_log(index)
                if isinstance(log, PartitionLog) and log.damage is None:
                    keep_hidden(log, self.retention, self._owner.now_ms())
                    if durability == "fsync":
                        log.sync_point()  # earlier records must be as durable as later ones
            self._change(**{name: value for name, value in given.items() if value is not None})
        if self._has_limits:
            self._owner.watch_retention()

    def _open_log(self, index: int) -> AnyLog:
        """The up-to-date state of one partition; for the engine."""
        self._owner.check_open()
        if self.deleted:
            raise UnknownTopicError(self.name, "it was deleted")
        log = self._known_log(index)
        self._owner.partitions.refresh(log)
        return log

    def _known_log(self, index: int) -> AnyLog:
        """The state of one partition, perhaps not up to date; the caller sees to that."""
        log: AnyLog | None = self._logs[index]
        if log is None:
            with self._lock:
                log = self._open_beside(index)
        if log is None:
            with self._owner.partitions.opening(), self._lock:
                log = self._open_beside(index)
                if log is None:
                    log = self._logs[index] = self._owner.partitions.open_log(self._new_log(index))
        return log

    def _recover_log(self, index: int) -> None:
        """Open a partition through recovery, even if it is open; for a holder of ``opening``."""
        log = self._logs[index]
        if isinstance(log, PartitionLog):
            self._owner.partitions.reopen(log)
        else:
            self._known_log(index)

    def _retire(self) -> None:
        """The topic is being deleted: open nothing of it any more."""
        with self._lock:
            self.deleted = True
            for log in self._logs:
                if isinstance(log, PartitionLog):
                    log.retired = True  # a ReaderLog asks `_is_here`

    @property
    def directory(self) -> str:
        """Where the topic's files are."""
        return self._directory

    def _is_current(self) -> bool:
        """Whether the configuration on disk is the one that was read."""
        return self._signature == topic_signature(self._owner.pool, self._directory)

    def _is_here(self) -> bool:
        """Whether the topic still exists; another process may have deleted it."""
        if not self.deleted and not self._is_current():
            try:
                _, found, _ = read_topic(self._owner.pool, self._directory)
            except FileNotFoundError:
                found = b""
            except MerkqlError:
                found = self.id  # damaged: assume it exists; `TopicTable.get` raises the damage
            if found != self.id:
                self._retire()
        return not self.deleted

    def _opened_logs(self) -> list[PartitionLog]:
        """The partitions opened for writing so far."""
        return [log for log in self._logs if isinstance(log, PartitionLog)]

    @contextmanager
    def _exclusive(self, *, topics: bool = False) -> Iterator[None]:
        """Exclude all writing; ``ReadOnlyError`` if the broker is read-only."""
        if self._owner.read_only:
            raise ReadOnlyError("the broker was opened with read_only=True")
        with self._owner.exclusive(topics=topics):
            if self.deleted:  # another topic may have the name and the directory by now
                raise UnknownTopicError(self.name, "it was deleted")
            yield

    def _apply_retention(self) -> int:
        """Apply retention to every partition; returns the bytes freed. For the leader."""
        freed = 0
        for index in range(len(self._logs)):
            log = self._open_log(index)
            if isinstance(log, PartitionLog) and log.damage is None:
                freed += apply_retention(log, self.retention, self._owner.now_ms())
        return freed

    def _reload(self) -> None:
        """Apply a configuration that another process changed."""
        _, _, config = read_topic(self._owner.pool, self._directory)
        with self._lock:
            self._set_config(config)
            self._logs += [None] * (config.partitions - len(self._logs))
            self._partitions += [
                self._make_partition(self.name, i)
                for i in range(len(self._partitions), config.partitions)
            ]
        self._tell_logs()

    def _make_partition(self, name: str, index: int) -> Partition:
        return Partition(self._for_partitions, name, index, self._owner.now_ms)

    def _open_beside(self, index: int) -> AnyLog | None:
        """Open a partition if it needs no recovery; for a holder of the lock."""
        if self.deleted:  # its directory may be another topic's by now
            raise UnknownTopicError(self.name, "it was deleted")
        log: AnyLog | None = self._logs[index]
        if log is None and self._owner.read_only:
            directory = layout.partition_directory(self._directory, index)
            identity = PartitionId(self.name, self.id, index)
            reader = self._owner.partitions.open_reader(directory, identity)
            reader.is_here, reader.has_salts = self._is_here, self.config.erasable
            log = reader
        elif log is None and self._owner.partitions.is_live((self.id, index)):
            fresh = self._new_log(index)
            log = fresh if self._owner.partitions.open_beside(fresh) else None
        self._logs[index] = log
        return log

    def _new_log(self, index: int) -> PartitionLog:
        directory = layout.partition_directory(self._directory, index)
        identity = PartitionId(self.name, self.id, index)
        return PartitionLog(self._owner.pool, directory, identity, self._settings())

    def _settings(self) -> LogSettings:
        config = self._config
        return LogSettings(
            config.compression,
            config.segment_bytes,
            config.segment_age_ms,
            config.erasable,
            config.durability == "fsync",
            config.checkpoints,
        )

    def _check_count(self, count: int) -> None:
        if count < len(self._partitions):
            raise ValueError(
                f"topic {self.name!r} has {len(self._partitions)} partitions; "
                f"they cannot be made {count}"
            )

    def _set_config(self, config: TopicConfig) -> None:
        self._signature = topic_signature(self._owner.pool, self._directory)
        self._config = config
        # One shared object for no limits, so that `is` decides the common case.
        self._retention = NO_LIMITS if config.retention == NO_LIMITS else config.retention

    def _change(self, **changes: Any) -> None:
        config = replace(self._config, **changes)
        write_topic(self._owner.pool, self._directory, (self.name, self.id, config))
        self._set_config(config)
        self._tell_logs()

    def _tell_logs(self) -> None:
        """Pass the current settings to the open partitions."""
        settings = self._settings()
        for log in self._opened_logs():
            log.settings.follow(settings)
            self._owner.checkpointer.follow(settings)
