"""How calls on a partition get at its state, and retry where its files changed meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from merkql.errors import CorruptionError, OffsetOutOfRangeError, UnknownTopicError, again
from merkql.storage import retention as retaining
from merkql.storage.access import ProcessBound
from merkql.storage.arguments import check_offset
from merkql.storage.gaps import reason_of
from merkql.storage.index_repair import AnyLog
from merkql.storage.partition_log import PartitionLog
from merkql.storage.segment import look_again
from merkql.storage.tree_repair import is_mendable, with_rebuilt_tree

if TYPE_CHECKING:
    from merkql.storage.evidence import Prover
    from merkql.storage.partition_owner import PartitionOwner
    from merkql.storage.retention import RetentionConfig
    from merkql.storage.salvage import SalvagedRange

Result = TypeVar("Result")
RETRIES = 3  # a reader may lose a race with retention, and then looks again
REWRITES_MAX = 100  # erasures that may overtake one call


class PartitionAccess(ProcessBound):
    """What all calls on a partition go through."""

    def __init__(
        self, owner: PartitionOwner, topic: str, index: int, now_ms: Callable[[], int]
    ) -> None:
        self._owner = owner
        self._now_ms = now_ms
        self.topic = topic
        self.index = index
        # The visible start, cached with the end, time and limits it was computed from.
        self._known_start: tuple[int, int, RetentionConfig | None, int] = (-1, 0, None, 0)

    @cached_property
    def _prover(self) -> Prover:
        from merkql.storage.evidence import Prover

        return Prover()

    def _with_log(self, work: Callable[[AnyLog], Result]) -> Result:
        """Run ``work`` on the partition's state, again if its files changed meanwhile.

        Retention may have removed a segment; an erasure replaces one under its name.
        """
        missing = FileNotFoundError()
        for _ in range(RETRIES):
            log = self._owner.open_log(self.index)
            self._check_here(log)
            try:
                result = self._with_segments(log, work)
                self._check_here(log)
                return result
            except (CorruptionError, ValueError):  # or sizes of the topic that has its name now
                self._check_here(log)
                raise
            except FileNotFoundError as error:
                self._check_here(log)
                missing = error
                log.look_again()
        raise CorruptionError(str(missing.filename), 0, reason_of(missing)) from missing

    def _with_segments(self, log: AnyLog, work: Callable[[AnyLog], Result]) -> Result:
        """Run ``work``; retry if it met damage and a segment may have been replaced."""
        if not log.has_salts:
            return work(log)
        failures = 0  # in a row, that no replacement explains
        for _ in range(REWRITES_MAX):
            rewrites = log.rewrites
            try:
                return work(log)
            except CorruptionError:
                # An erasure writes the tail page before it publishes: read that page now.
                log.seen = -1
                self._owner.open_log(self.index)
                changed = look_again(log.segments) or rewrites != log.rewrites
                failures = 0 if changed else failures + 1
                if log.retired or failures == RETRIES:
                    raise
        return work(log)

    def find_key(self, key: bytes) -> tuple[list[int], int]:
        """The offsets of the records on disk with this key, and the end of the search."""
        from merkql.storage.erasure import find_key

        return self._with_log(lambda log: find_key(log, key))

    def _check_here(self, log: AnyLog) -> None:
        """Raise if the topic was deleted meanwhile: its files may be another topic's now."""
        if log.retired:
            raise UnknownTopicError(self.topic, "it was deleted")

    def _start_of(self, log: AnyLog) -> int:
        limits = self._owner.retention
        if limits is retaining.NO_LIMITS:
            return log.start_offset
        now_ms = self._now_ms() if limits.max_age_ms is not None else 0
        known = self._known_start
        if known[:3] != (log.end_offset, now_ms, limits):
            start = retaining.visible_start(log, limits, now_ms)
            known = self._known_start = (log.end_offset, now_ms, limits, start)
        return max(known[3], log.start_offset)

    def _shows(self, log: AnyLog, offset: int) -> bool:
        """Whether the record is visible, for ways that are quick where nothing is wrong."""
        try:
            return self._start_of(log) <= offset < log.end_offset
        except (FileNotFoundError, CorruptionError):
            return False  # `_with_log` finds out why: perhaps the topic was deleted

    def _writable(self) -> PartitionLog:
        log = self._owner.open_log(self.index)
        assert isinstance(log, PartitionLog)
        if log.damage is not None:
            raise again(log.damage)
        return log

    def _salvage_settled(self, log: AnyLog, start: int, stop: int | None) -> SalvagedRange:
        """``salvage``, repeated if an erasure replaced a segment meanwhile."""
        from merkql.storage.salvage import salvage

        found = salvage(log, start, stop)
        while found.damage and log.has_salts and look_again(log.segments):
            found = salvage(log, start, stop)
        return found

    def _check_size(self, log: AnyLog, size: int | None, name: str) -> int:
        if log.damage is not None:
            raise again(log.damage)  # its tree is not whole
        if size is None:
            return log.end_offset
        check_offset(size, name)
        if size > log.end_offset:
            raise OffsetOutOfRangeError(size, 0, log.end_offset)
        return size

    def _with_tree(self, log: AnyLog, work: Callable[[], Result]) -> Result:
        """Run ``work``; where stored hashes are damaged, rebuild the tree and retry."""
        try:
            result = work()
            self._check_here(log)
            return result
        except ValueError:  # of another size: the topic that has its name now
            self._check_here(log)
            raise
        except CorruptionError as damage:
            self._check_here(log)
            if not isinstance(log, PartitionLog) or not is_mendable(log, damage):
                raise
            found = damage
        with self._owner.exclusive():
            return with_rebuilt_tree(self._writable(), found, work)
