"""What `verify` checks beside records: signatures, committed offsets, the write-ahead log."""

from __future__ import annotations

from collections.abc import Iterator

from merkql.assignment import decode_state
from merkql.broker import Broker
from merkql.errors import CorruptionError, MerkqlError
from merkql.group_names import unnamed_groups
from merkql.groups import STATE_SIZE_MAX, Group
from merkql.proof import ProofError
from merkql.storage import layout
from merkql.storage.directory import read_clean_mark, read_mark
from merkql.storage.entries import wal_files
from merkql.storage.files import Files, read_file
from merkql.storage.partition import Partition
from merkql.storage.wal_reader import read_wal
from merkql.transparency.note import parse_note
from merkql.transparency.policy import Policy

TRIES = 3  # beside a writer, files of one moment cannot be read


def check_signatures(partition: Partition, policy: Policy) -> None:
    """``CorruptionError`` for the first checkpoint that no key of the policy signed."""
    for kept in partition.checkpoints():
        try:
            policy.judge(parse_note(kept.note))
        except ProofError as error:
            raise CorruptionError(kept.origin, 0, f"{kept}: {error}") from None


def check_groups(broker: Broker, directory: str) -> Iterator[Exception]:
    """What is wrong with the offsets and the state of each group."""
    files = Files()
    yield from unnamed_groups(files, layout.groups_directory(directory))
    for name in broker.groups():
        try:
            group = Group(files, layout.groups_directory(directory), name)
            group.read_offsets()
        except (MerkqlError, OSError) as error:
            yield error
            continue
        path = layout.group_assignment(group.lock.directory_of(group.lock.settled()))
        try:
            decode_state(read_file(files, path, STATE_SIZE_MAX))
        except FileNotFoundError:
            continue
        except ValueError as error:
            yield CorruptionError(path, 0, f"not the state of a group: {error}")
        except OSError as error:
            yield error


def check_wal(directory: str) -> Iterator[Exception]:
    """What recovery would refuse; nothing after a clean close, as then it asks for none of it.

    A log that is being written is no log of one moment: what looks wrong counts only where nothing
    moved meanwhile.
    """
    files = Files()
    wal = layout.wal_directory(directory)
    for _ in range(TRIES):
        if read_clean_mark(files, directory) is not None:
            return
        before = _moment(files, wal)
        try:
            info = read_mark(files, directory)
            read_wal(files, wal, info.seed)
            return
        except CorruptionError as error:
            if _moment(files, wal) == before:
                yield error
                return
        except FileNotFoundError:
            continue  # a file that a writer has just removed


def _moment(files: Files, wal: str) -> list[tuple[str, int | None]]:
    """Changes whenever the write-ahead log is written."""
    states = [(path, files.status(path)) for _, path in wal_files(files, wal)]
    return [(path, status.st_mtime_ns if status else None) for path, status in states]
