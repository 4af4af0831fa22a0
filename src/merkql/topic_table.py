"""The topics of a data directory: loads, creates, deletes and looks them up."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from merkql.errors import (
    CorruptionError,
    FormatError,
    MerkqlError,
    TopicExistsError,
    UnknownTopicError,
)
from merkql.storage import layout
from merkql.storage.engine import Engine
from merkql.storage.entries import is_directory, topic_entries
from merkql.storage.files import remove_leftover, remove_tree, write_file
from merkql.storage.partition_directories import make_partition_directories
from merkql.storage.partition_log import PartitionLog
from merkql.storage.retention import NO_SPACE
from merkql.storage.shared_state import LivePartition
from merkql.topic import Topic
from merkql.topic_config import TopicConfig, encode_topic, read_topic, refuse_internal

if TYPE_CHECKING:
    from merkql.erasures import Erasures

logger = logging.getLogger("merkql.recovery")


class TopicDefaults(NamedTuple):
    """Whether topics are created on first use, and with which configuration."""

    auto_create: bool
    config: TopicConfig


class TopicTable:
    """Topics by name. Safe to share between threads; creating and deleting are durable."""

    def __init__(self, engine: Engine, defaults: TopicDefaults) -> None:
        self._engine = engine
        self._defaults = defaults
        self._lock = threading.Lock()
        self._topics: dict[str, Topic] = {}
        self._damaged: dict[str, MerkqlError] = {}  # by directory name
        self._seen: tuple[int, int] | None = None  # `_signature` when the topics were read

    def load(self) -> None:
        """Find the topics on disk and recover the partitions named in the WAL."""
        deleted = self._find()
        if self._engine.read_only:
            return
        self._remove_unfinished()
        wanted = list(self._engine.partitions_in_wal())
        by_id = {topic.id: topic for topic in self._topics.values()}
        for topic_id, partition in wanted:
            topic = by_id.get(topic_id)
            if topic is not None and partition < len(topic.partitions()):
                topic._recover_log(partition)
            elif topic_id not in deleted:
                logger.warning("the write-ahead log names a topic %s", topic_id.hex())
        self._engine.start_writing(set(deleted))
        self._engine.writer.successor = self.successor
        self._finish_deletions(deleted, in_wal={topic_id for topic_id, _ in wanted})
        erasing = layout.erasing(self._engine.root)
        if any(self._engine.pool.files.status(p) for p in (erasing, layout.temporary(erasing))):
            self.erasures.finish()

    @cached_property
    def erasures(self) -> Erasures:
        """Erases records; imported when first needed."""
        from merkql.erasures import Erasures

        return Erasures(self._engine, self)

    def _finish_deletions(self, deleted: dict[bytes, str], in_wal: set[bytes]) -> None:
        """Complete interrupted deletions as ``delete`` does.

        A topic's last trace is removed once the WAL holds none of its records.
        """
        named = not in_wal.isdisjoint(deleted)
        for path in deleted.values():
            remove_tree(self._engine.pool.files, path, keep=named)
        if named and self._empties_wal():
            for path in deleted.values():
                remove_tree(self._engine.pool.files, path)

    def _empties_wal(self) -> bool:
        """Empty the WAL; False on a full disk, where it keeps deleted records until later."""
        try:
            self._engine.forget_wal()
        except OSError as error:
            if error.errno not in NO_SPACE or self._engine.writer.failure is not None:
                raise
            logger.warning("%s; the write-ahead log is emptied later", error)
            return False
        return True

    def logs_of(self, partitions: Iterable[LivePartition]) -> list[PartitionLog]:
        """These partitions, opened, except those whose topic is deleted."""
        by_id = {topic.id: topic for topic in self.topics()}
        logs = []
        for topic_id, index in partitions:
            topic = by_id.get(topic_id)
            if topic is not None and index < topic.partition_count:
                log = topic._known_log(index)
                assert isinstance(log, PartitionLog)  # the engine asks only where it writes
                logs.append(log)
        return logs

    def successor(self, log: PartitionLog, partition_count: int) -> PartitionLog | None:
        """The partition that replaces ``log``, whose topic was deleted; for the leader.

        None if the topic was not recreated, or has another number of partitions.
        """
        topic = self._topics.get(log.id.topic)
        if topic is None or topic.id == log.id.topic_id or topic.partition_count != partition_count:
            return None
        return self.logs_of([(topic.id, log.id.index)])[0]

    def names(self, *, internal: bool = False) -> list[str]:
        """The names of all topics, sorted; ``internal`` includes merkql's own."""
        self.refresh()
        return sorted(one for one in self._topics if internal or one != layout.ERASURES_TOPIC)

    def ids(self) -> set[bytes] | None:
        """The ids of all topics; None if one is damaged and its id unknown."""
        self.refresh()
        return None if self._damaged else {topic.id for topic in self.topics()}

    def topics(self) -> list[Topic]:
        return list(self._topics.values())

    def apply_retention(self) -> int:
        """Apply every topic's retention now; returns the bytes freed on disk."""
        freed = 0
        errors = []
        with self._engine.exclusive():
            for topic in [one for one in self.topics() if one._has_limits]:
                try:
                    freed += topic._apply_retention()
                except (MerkqlError, OSError) as error:
                    errors.append(error)  # raised after the other topics are done
        if errors:
            raise errors[0]
        return freed

    def get(self, name: str) -> Topic:
        """The topic of that name; ``UnknownTopicError`` if there is none."""
        topic = self._topics.get(name) if isinstance(name, str) else None
        if topic is not None and self._is_current(topic):
            return topic
        layout.check_name(name, "topic")
        self.refresh()
        return self._known(name)

    def _known(self, name: str) -> Topic:
        topic = self._topics.get(name)
        if topic is not None:
            return topic
        damage = self._damaged.get(layout.file_name(name))
        if damage is not None:
            raise damage
        raise UnknownTopicError(name, "create it with create_topic()")

    def ensure(self, name: str) -> Topic:
        """The topic of that name, created with the defaults if that is allowed."""
        topic = self._topics.get(name) if isinstance(name, str) else None
        if topic is not None and name != layout.ERASURES_TOPIC:
            return topic
        refuse_internal(name)
        if not self._defaults.auto_create:
            layout.check_name(name, "topic")
            self.refresh()
            if name in self._topics or layout.file_name(name) in self._damaged:
                return self._known(name)
            raise UnknownTopicError(name, "auto_create_topics is off: use create_topic()")
        try:
            return self.create(name, self._defaults.config)
        except TopicExistsError:
            return self.get(name)

    def create(self, name: str, config: TopicConfig) -> Topic:
        """Create a topic; durable when it returns. ``TopicExistsError`` if the name is taken."""
        refuse_internal(name)
        return self._make(name, config)

    def ensure_internal(self, name: str, *, leads: bool = False) -> Topic:
        """An internal topic, created if needed; ``leads``: the caller holds the lead."""
        self.refresh()
        if name in self._topics or layout.file_name(name) in self._damaged:
            return self._known(name)
        config = TopicConfig(durability="fsync")
        if leads:
            with self._lock:
                topic = self._topics[name] = self._create(name, config)
            return topic
        try:
            return self._make(name, config)
        except TopicExistsError:
            return self.get(name)

    def _make(self, name: str, config: TopicConfig) -> Topic:
        self._engine.check_writable()
        layout.check_name(name, "topic")
        with self._engine.exclusive(topics=True), self._lock:
            self._look()
            if name in self._topics or layout.file_name(name) in self._damaged:
                self._known(name)  # raises what is wrong with one that is damaged
                raise TopicExistsError(f"topic {name!r} exists already")
            topic = self._create(name, config)
            self._topics[name] = topic
            self._seen = self._signature(self._engine.turn.next_topics_version)
        self._engine.announce()
        if topic._has_limits:
            self._engine.watch_retention()
        return topic

    def delete(self, name: str) -> None:
        """Remove a topic and every byte of its records; durable when it returns.

        On a disk without a block left, the WAL keeps its last records until it is emptied.
        A topic created under the same name later is another one: old proofs do not apply to it.
        """
        layout.check_name(name, "topic")
        engine = self._engine
        refuse_internal(name)
        with engine.exclusive(topics=True), self._lock:
            self._look()
            topic = self._known(name)
            files, topics = engine.pool.files, layout.topics_directory(engine.root)
            doomed = layout.deleted_topic_directory(engine.root, topic.id)
            topic._retire()
            for log in topic._opened_logs():
                engine.forget(log)
            del self._topics[name]
            engine.pool.forget(topic.directory, below=True)
            try:
                files.rename(topic.directory, doomed)
            except OSError:  # it still exists, for new handles
                self._topics[name] = Topic(engine, topic.directory, name, topic.id, topic.config)
                raise
            files.sync_directory(topics)
            # Free space first: on a full disk the WAL could not be emptied. The empty directory
            # stays until it is, so that a crash finds which topic this was.
            remove_tree(files, doomed, keep=True)
            if self._empties_wal():
                remove_tree(files, doomed)
            self._seen = self._signature(engine.turn.next_topics_version)
        engine.announce()

    def _create(self, name: str, config: TopicConfig) -> Topic:
        pool, root = self._engine.pool, self._engine.root
        topic_id = os.urandom(16)
        prepared = layout.new_topic_directory(root, topic_id)
        directory = layout.topic_directory(root, name)
        pool.files.make_directory(prepared)
        try:
            # Durable before the rename; its name is synced by the next call.
            content = encode_topic(name, topic_id, config)
            write_file(pool.files, layout.topic_config(prepared), content)
            make_partition_directories(pool, prepared, range(config.partitions))
            if is_directory(pool.files, directory):
                self._adopt(directory, name)
                raise ValueError(
                    f"topic {name!r} cannot be created: on this file system its directory is that "
                    "of another topic, whose name differs by case only"
                )
            pool.files.rename(prepared, directory)
        except BaseException:
            remove_tree(pool.files, prepared)
            raise
        pool.files.sync_directory(layout.topics_directory(root))
        return Topic(self._engine, directory, name, topic_id, config)

    def _adopt(self, directory: str, name: str) -> None:
        """Adopt a topic whose creation was interrupted just before it returned."""
        try:
            found, topic_id, config = read_topic(self._engine.pool, directory)
        except (CorruptionError, FileNotFoundError):
            return  # it is something else
        if found == name:
            self._topics[name] = Topic(self._engine, directory, name, topic_id, config)
            raise TopicExistsError(f"topic {name!r} exists already")

    def _find(self) -> dict[bytes, str]:
        """Update the table from disk; returns topics whose deletion is unfinished, by id."""
        engine = self._engine
        topics = layout.topics_directory(engine.root)
        deleted: dict[bytes, str] = {}
        entries = self._entries()
        found = set(entries)
        for name in [n for n in self._topics if layout.file_name(n) not in found]:
            self._forget(self._topics.pop(name))
        for entry in self._damaged.keys() - found:
            del self._damaged[entry]
        current = {os.path.basename(t.directory) for t in self.topics() if t._is_current()}
        for entry in entries:
            path = os.path.join(topics, entry)
            topic_id = layout.parse_topic_id(entry, layout.DELETED_PREFIX)
            if topic_id is not None:
                deleted[topic_id] = path
            elif not entry.startswith(layout.NEW_PREFIX) and entry not in current:
                self._read(path, entry)
                if not engine.read_only:
                    remove_leftover(engine.pool.files, layout.topic_config(path))
        return deleted

    def _remove_unfinished(self) -> None:
        """Remove the remains of interrupted creations; for a holder of the role."""
        files, topics = self._engine.pool.files, layout.topics_directory(self._engine.root)
        for entry in self._entries():
            if entry.startswith(layout.NEW_PREFIX):
                path = os.path.join(topics, entry)
                logger.info("%s: left by an interrupted creation, removed", path)
                remove_tree(files, path)

    def _entries(self) -> list[str]:
        """The names in ``topics/`` that may be topics."""
        try:
            return topic_entries(
                self._engine.pool.files, layout.topics_directory(self._engine.root)
            )
        except FileNotFoundError:
            if self._topics or not self._engine.read_only:
                raise
            return []  # there never were topics, and a copy left the empty directory out

    def _read(self, path: str, entry: str) -> None:
        try:
            if not is_directory(self._engine.pool.files, path):
                return  # deleted just now
            name, topic_id, config = read_topic(self._engine.pool, path)
        except (CorruptionError, FormatError) as error:
            self._note_damage(entry, error)
            return
        except FileNotFoundError as error:
            self._note_damage(entry, CorruptionError(path, 0, f"not a topic: {error}"))
            return
        self._damaged.pop(entry, None)
        known = self._topics.get(name)
        if known is not None and known.id == topic_id:
            known._reload()
        else:
            self._forget(known)
            known = self._topics[name] = Topic(self._engine, path, name, topic_id, config)
        if known._has_limits and not self._engine.read_only:
            self._engine.watch_retention()  # the process that set limits may be gone

    def _is_current(self, topic: Topic) -> bool:
        """Whether the topic is known to be unchanged by other processes."""
        if self._engine.read_only:
            return topic._is_current()
        return self._seen is not None and self._version() == self._seen[0]

    def _forget(self, topic: Topic | None) -> None:
        """Another process deleted the topic: close its files, as their names may be reused."""
        if topic is not None:
            topic._retire()
            for log in topic._opened_logs():
                self._engine.forget(log)
            self._engine.pool.forget(topic.directory, below=True)

    def _note_damage(self, entry: str, damage: MerkqlError) -> None:
        """Store the damage for callers that ask for the topic; log it once."""
        if str(self._damaged.get(entry)) != str(damage):
            logger.error("%s", damage)
        self._damaged[entry] = damage

    def refresh(self) -> None:
        """Pick up topics that another process created, changed or deleted."""
        with self._lock:
            self._look()

    def _look(self) -> None:
        """``refresh`` for a holder of the lock. Cost: one small read if nothing changed."""
        seen = self._signature(self._version())
        if seen is not None and seen == self._seen:
            return
        self._find()
        self._seen = seen

    def _version(self) -> int | None:
        try:
            return self._engine.topics_version
        except OSError:
            self._engine.check_open()  # its file is closed with the broker
            raise

    def _signature(self, version: int | None) -> tuple[int, int] | None:
        """A value that changes with the topics: their version, and the directory's time."""
        status = self._engine.pool.files.status(layout.topics_directory(self._engine.root))
        return (version, status.st_mtime_ns) if status is not None and version is not None else None
