"""Would the crash tests see it? Each of these puts a known mistake in, and has to be caught."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from crash import operations, workloads
from merkql import BrokerConfig, Partition, Record, erasures
from merkql._core import frame
from merkql.broker import Broker
from merkql.storage import engine, erasure, partition_log, recovery, retention, segment, wal
from merkql.storage.files import Files
from support.crash_explorer import Explorer, Limits, Workload
from support.recorder import RecordingFiles

Plant = Callable[[pytest.MonkeyPatch], None]


def acknowledges_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(wal.Wal, "sync", lambda self: None)


def never_syncs_a_directory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RecordingFiles, "sync_directory", lambda self, path: None)


def checks_no_frame(patch: pytest.MonkeyPatch) -> None:
    digest = SimpleNamespace(update=lambda part: None, intdigest=lambda: 0)
    fake = SimpleNamespace(
        xxh3_64=lambda data, seed: digest, xxh3_64_intdigest=lambda data, seed: 0
    )
    patch.setattr(frame, "xxhash", fake)


def recycles_a_file_too_early(patch: pytest.MonkeyPatch) -> None:
    def take_free(self: wal.Wal, size: int) -> object:
        return self._free.pop() if self._free else None

    patch.setattr(wal.Wal, "_take_free", take_free)


def forgets_the_wal_before_the_segment_is_durable(patch: pytest.MonkeyPatch) -> None:
    def sync_point(self: partition_log.PartitionLog, *, whole: bool = False) -> None:
        self.checkpoint, self.durable_offset = self._tip, self._tip[0]

    patch.setattr(partition_log.PartitionLog, "sync_point", sync_point)


def trusts_index_and_tree_as_far_as_the_segment(patch: pytest.MonkeyPatch) -> None:
    original = partition_log.PartitionLog.sync_point

    def sync_point(self: partition_log.PartitionLog, *, whole: bool = False) -> None:
        original(self, whole=whole)
        self.checkpoint = self._tip

    patch.setattr(partition_log.PartitionLog, "sync_point", sync_point)


def removes_segments_before_their_hashes_are_durable(patch: pytest.MonkeyPatch) -> None:
    _skip_syncs_of(patch, "/h00")


def seals_without_a_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(segment.ActiveSegment, "sync", lambda self: None)


def renames_before_the_sync(patch: pytest.MonkeyPatch) -> None:
    _skip_syncs_of(patch, ".tmp")


def never_syncs_salts(patch: pytest.MonkeyPatch) -> None:
    _skip_syncs_of(patch, "salts")


def never_syncs_committed_offsets(patch: pytest.MonkeyPatch) -> None:
    _skip_syncs_of(patch, "offsets")


def never_syncs_checkpoints(patch: pytest.MonkeyPatch) -> None:
    _skip_syncs_of(patch, "checkpoints")


def never_syncs_names_of_a_tree(patch: pytest.MonkeyPatch) -> None:
    original = RecordingFiles.sync_directory

    def sync_directory(self: RecordingFiles, path: str) -> None:
        if os.path.basename(path) != "tree":
            original(self, path)

    patch.setattr(RecordingFiles, "sync_directory", sync_directory)


def compacts_without_keeping_the_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retention, "keep_start", lambda log, start: None)
    patch.setattr(retention, "_persist_start", lambda log, start: True)


def replays_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery, "_replay", lambda log, tail, sections: None)


def replays_without_a_sync(patch: pytest.MonkeyPatch) -> None:
    """The next session's frames say that what was replayed is not needed any more."""
    original = recovery.open_log

    def open_log(log: partition_log.PartitionLog, **options: object) -> object:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(segment.ActiveSegment, "sync", lambda self: None)
            return original(log, **options)  # type: ignore[arg-type]

    patch.setattr("merkql.storage.partition_states.open_log", open_log)


def _skip_syncs_of(patch: pytest.MonkeyPatch, ending: str) -> None:
    original = RecordingFiles.sync

    def sync(self: RecordingFiles, descriptor: int) -> None:
        if not os.readlink(f"/proc/self/fd/{descriptor}").endswith(ending):
            original(self, descriptor)

    patch.setattr(RecordingFiles, "sync", sync)


def tells_of_an_erasure_at_every_open(patch: pytest.MonkeyPatch) -> None:
    """Its note is never removed, and nobody looks whether it was told of before."""
    patch.setattr(erasures, "remove_erasing", lambda files, root: None)
    original = Partition.read_range

    def read_range(self: Partition, start: int, stop: int) -> list[Record]:
        caller = sys._getframe(1).f_code.co_name
        return [] if caller == "_tell" else original(self, start, stop)

    patch.setattr(Partition, "read_range", read_range)


def touches_the_log_of_erasures_at_every_open(patch: pytest.MonkeyPatch) -> None:
    """Nothing that is read changes: only that a second recovery leaves other bytes shows it."""
    original = Broker.__init__

    def open_and_touch(self: Broker, config: BrokerConfig, files: Files) -> None:
        original(self, config, files)
        path = os.path.join(self._directory, "topics", "__erasures", "topic.json")
        if os.path.exists(path) and not config.read_only:
            with open(path, "ab") as file:
                file.write(b" ")

    patch.setattr(Broker, "__init__", open_and_touch)


def leaves_what_is_erased_in_the_log(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(engine.Engine, "forget_wal", lambda self: None)


def destroys_before_it_is_certain(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(erasures, "write_erasing", lambda files, root, records: None)


def leaves_the_salts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(erasure, "ranges", lambda offsets: [])


PLANTED: list[tuple[Plant, Workload]] = [
    (acknowledges_before_the_sync, workloads.one_small_append),
    (never_syncs_a_directory, workloads.one_small_append),
    (checks_no_frame, workloads.group_of_several_batches),
    (recycles_a_file_too_early, workloads.crash_then_write),
    (forgets_the_wal_before_the_segment_is_durable, workloads.wal_files_change),
    (trusts_index_and_tree_as_far_as_the_segment, workloads.index_and_tree_lag),
    (removes_segments_before_their_hashes_are_durable, workloads.retention),
    (seals_without_a_sync, workloads.roll),
    (renames_before_the_sync, workloads.clean_close),
    (never_syncs_salts, workloads.erasable),
    (never_syncs_committed_offsets, workloads.offsets_committed),
    (never_syncs_checkpoints, operations.workload(("append", "checkpoint", "append"))),
    (never_syncs_names_of_a_tree, workloads.erasable),
    (compacts_without_keeping_the_start, workloads.compaction),
    (replays_nothing, workloads.append_spanning_sectors),
    (replays_without_a_sync, workloads.crash_then_write),
    (tells_of_an_erasure_at_every_open, workloads.erased),
    (touches_the_log_of_erasures_at_every_open, workloads.erased),
    (leaves_what_is_erased_in_the_log, workloads.erased),
    (destroys_before_it_is_certain, workloads.erased),
    (leaves_the_salts, workloads.erased),
]


@pytest.fixture
def scratch() -> Iterator[str]:
    place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as path:
        logging.disable(logging.CRITICAL)
        yield path
        logging.disable(logging.NOTSET)


# Where in the journal the mistake first shows; what comes before it is not visited.
BEGINS = {
    recycles_a_file_too_early: 0.55,
    compacts_without_keeping_the_start: 0.6,
    never_syncs_names_of_a_tree: 0.7,
    never_syncs_committed_offsets: 0.6,
    never_syncs_checkpoints: 0.7,
    never_syncs_salts: 0.6,
    tells_of_an_erasure_at_every_open: 0.4,
    touches_the_log_of_erasures_at_every_open: 0.4,
    leaves_what_is_erased_in_the_log: 0.4,
    destroys_before_it_is_certain: 0.4,
    leaves_the_salts: 0.4,
    forgets_the_wal_before_the_segment_is_durable: 0.5,
}


@pytest.mark.parametrize(("plant", "workload"), PLANTED, ids=lambda part: part.__name__)
def test_mistake_is_caught(scratch: str, plant: Plant, workload: Workload) -> None:
    limits = Limits(visits=600, failures_max=1, deep_share=0, begin=BEGINS.get(plant, 0))
    assert Explorer(scratch, workload, limits, plant).run().failures
