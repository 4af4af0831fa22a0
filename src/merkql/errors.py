"""Every error merkql raises on purpose.

MerkqlError
    ├── CorruptionError          bytes on disk are wrong
    │   └── HistoryError         the log contradicts a checkpoint that it signed
    ├── DirectoryLockedError     another broker holds this directory exclusively
    ├── WriterTimeoutError       another process kept the writer role for too long
    ├── FormatError              the directory is not a data directory, or has a newer format
    ├── NoSigningKeyError        a checkpoint was requested from a broker without a key
    ├── ReadOnlyError            a write was requested from a broker opened read-only
    ├── WriterFailedError        a sync failed earlier: nothing is written until a reopen
    ├── ClosedError              the broker, producer or consumer is closed
    ├── UnknownTopicError · UnknownPartitionError · TopicExistsError
    ├── OffsetOutOfRangeError    no such record, or no longer
    ├── UnprovenRecordError      a record does not match the trusted checkpoint
    ├── NoOffsetError            nothing committed and ``offset_reset="none"``
    ├── NotErasableError         erasing a record of a topic not created as erasable
    ├── RecordTooLargeError      a record does not fit a segment
    ├── StaleGenerationError     the group has moved on since this member last polled
    ├── GroupLockedError         another process does not release the group's lock
    └── ProofError               a proof does not hold (a ValueError: ``merkql.proof`` stands alone)

``OSError`` passes through untouched; wrong arguments raise ``TypeError`` or ``ValueError``.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from merkql.proof import ProofError as ProofError


def __getattr__(name: str) -> object:
    """``ProofError``, imported on demand, as ``merkql.proof`` is slow to import."""
    if name != "ProofError":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from merkql.proof import ProofError

    return ProofError


class MerkqlError(Exception):
    """The base class of merkql's errors."""


Raised = TypeVar("Raised", bound=BaseException)


def again(error: Raised) -> Raised:
    """A copy of a stored error to raise: raising the same one again would collect tracebacks."""
    fresh = copy.copy(error)
    fresh.__cause__ = error.__cause__
    return fresh.with_traceback(error.__traceback__)


class CorruptionError(MerkqlError):
    """Bytes on disk are wrong: file, position and reason are attributes.

    The rest of the partition, and every other partition, stays readable. Restore the file from a
    copy, or read what is intact with :meth:`merkql.Partition.salvage`.
    """

    def __init__(self, path: str, position: int, reason: str) -> None:
        super().__init__(path, position, reason)
        self.path = path
        self.position = position
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: at byte {self.position}: {self.reason}"


class HistoryError(CorruptionError):
    """The log contradicts a checkpoint that it signed: records are missing, or differ.

    Nothing more is written to the partition or signed for it, because a second history could not be
    told from a forgery. Reading works. Put the newest copy of the directory back; a log that is
    lost for good continues as a new topic, with its past as evidence.
    """


class DirectoryLockedError(MerkqlError):
    """Two brokers want this directory, and one of them exclusively.

    One was opened with ``exclusive=True``. Close the other first, or open this one with
    ``read_only=True`` to read beside it.
    """

    def __init__(self, path: str, holder: str) -> None:
        super().__init__(path, holder)
        self.path = path
        self.holder = holder

    def __str__(self) -> str:
        return (
            f"{self.path} is being written by {self.holder}; close that broker first, "
            "or open with read_only=True to read beside it"
        )


class WriterTimeoutError(MerkqlError, TimeoutError):
    """Another process kept the writer role for longer than this broker's ``writer_timeout``.

    Nothing was written. That process is stopped (SIGSTOP, a debugger) or its disk hangs: continue
    or kill it, then write again. ``holder`` names it; ``waited`` is in seconds.
    """

    def __init__(self, holder: str, waited: float) -> None:
        super().__init__(holder, waited)
        self.holder = holder
        self.waited = waited

    def __str__(self) -> str:
        return (
            f"{self.holder} has had the writer role for more than {self.waited:.1f} seconds and "
            "keeps it; if it is stopped, let it go on or kill it"
        )


class FormatError(MerkqlError):
    """The directory is not a merkql data directory, or has a newer format."""


class NoSigningKeyError(MerkqlError):
    """A checkpoint was requested from a broker opened without ``signing_key``."""


class ReadOnlyError(MerkqlError):
    """A write was requested from a broker opened with ``read_only=True``."""


class WriterFailedError(MerkqlError):
    """A sync failed earlier, so the disk's content is unknown: nothing more is written.

    The records of the failed group may or may not be there after a reopen. Close the broker, repair
    the disk, open it again; recovery settles which records survived. The cause is chained.
    """


class ClosedError(MerkqlError):
    """The broker, producer or consumer named in the message is closed; open a new one."""


class UnknownTopicError(MerkqlError):
    """No topic has that name; create it, or open with ``auto_create_topics=True`` and send."""

    def __init__(self, topic: str, hint: str = "") -> None:
        super().__init__(topic, hint)
        self.topic = topic
        self.hint = hint

    def __str__(self) -> str:
        return f"no topic {self.topic!r}{'; ' + self.hint if self.hint else ''}"


class UnknownPartitionError(MerkqlError):
    """The topic has no partition with that number."""

    def __init__(self, topic: str, partition: int, count: int) -> None:
        super().__init__(topic, partition, count)
        self.topic = topic
        self.partition = partition
        self.count = count

    def __str__(self) -> str:
        return (
            f"topic {self.topic!r} has no partition {self.partition}: "
            f"it has {self.count}, numbered from 0"
        )


class TopicExistsError(MerkqlError):
    """A topic with that name exists already; use it, or delete it first."""


class OffsetOutOfRangeError(MerkqlError):
    """The offset is below the first record kept or past the last one written."""

    def __init__(self, requested: int, first: int, next_offset: int) -> None:
        super().__init__(requested, first, next_offset)
        self.requested = requested
        self.first = first
        self.next = next_offset

    def __str__(self) -> str:
        return (
            f"offset {self.requested} is out of range: "
            f"the first record kept is {self.first}, the next to be written is {self.next}"
        )


class UnprovenRecordError(MerkqlError):
    """A consumer with ``verify`` met a record that its trusted checkpoint does not prove.

    It was not returned, and is not until it is repaired or skipped with ``seek``. Whatever the
    checksums say, this disk does not hold what was signed: keep a copy, then compare with others.
    """

    def __init__(self, topic: str, partition: int, offset: int, reason: str) -> None:
        super().__init__(topic, partition, offset, reason)
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"topic {self.topic!r} partition {self.partition} offset {self.offset} is not proved: "
            f"{self.reason}"
        )


class NoOffsetError(MerkqlError):
    """The group has no committed offset for a partition and ``offset_reset`` is ``"none"``."""


class NotErasableError(MerkqlError):
    """The topic was not created with ``erasable=True``, so its records have no salts to destroy.

    From an unsalted digest a record can be guessed. Let retention remove the records, or delete the
    topic.
    """

    def __init__(self, topic: str) -> None:
        super().__init__(topic)
        self.topic = topic

    def __str__(self) -> str:
        return (
            f"records of topic {self.topic!r} cannot be erased: it was not created with "
            "erasable=True; let retention take them, or delete the topic"
        )


class RecordTooLargeError(MerkqlError):
    """The record does not fit a segment; send it in parts, or create the topic with larger ones."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(size, limit)
        self.size = size
        self.limit = limit

    def __str__(self) -> str:
        return (
            f"a record of {self.size} bytes is larger than the limit of {self.limit} bytes "
            "(the topic's segment_bytes)"
        )


class StaleGenerationError(MerkqlError):
    """A commit came from a past generation of the group: its partitions belong to others now.

    Poll again to join the current generation; records since the last commit may be delivered to
    another member (at least once).
    """

    def __init__(self, group: str, generation: int, current: int) -> None:
        super().__init__(group, generation, current)
        self.group = group
        self.generation = generation
        self.current = current

    def __str__(self) -> str:
        if self.generation == self.current:
            return (
                f"a partition of this commit belongs to another member of group {self.group!r} in "
                f"generation {self.current}; poll before committing"
            )
        return (
            f"group {self.group!r} is at generation {self.current}, "
            f"this member's commit is of generation {self.generation}; poll before committing"
        )


class GroupLockedError(MerkqlError):
    """Another process has held the group's lock for too long: it is stopped, or its disk hangs.

    A group can go on without such a process, but this one may not write in the group's directory
    and can only wait. Nothing was changed. Continue that process (``kill -CONT``) or end it, then
    call again: the kernel frees the lock of a process that ends, and its unfinished work is
    repaired.
    """

    def __init__(self, group: str, holder: str, seconds: float) -> None:
        super().__init__(group, holder, seconds)
        self.group = group
        self.holder = holder
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"the lock of group {self.group!r} has been held for {self.seconds:g} seconds by "
            f"{self.holder}; let it go on (kill -CONT) or end it, then try again"
        )
