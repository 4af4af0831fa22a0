"""Group commit: who leads, who waits, and when each caller is told.

While one group is written and synced, all requests that arrive form the next. There is no timer:
the first caller to arrive leads, then hands the lead to the first that waits. A background thread
leads for records that nobody waits for, and while another process has the writer role, because a
caller's thread must be able to give up.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections import deque
from collections.abc import Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from merkql.errors import ClosedError, again
from merkql.storage.role import Patience
from merkql.storage.role_linger import LINGER_S, RoleLinger
from merkql.storage.turn import Turn
from merkql.storage.worker import Worker
from merkql.storage.writer import CommitRequest, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP_BYTES_MAX = 4 << 20
QUEUE_BYTES_MAX = 32 << 20
LOST_LEAD_S = 1.0


class Committer:
    """Queues commit requests and has one leader at a time write them in groups, in order."""

    def __init__(
        self,
        writer: Writer,
        turn: Turn,
        on_thread: Callable[[threading.Thread], None],
        *,
        timeout_s: float,
    ) -> None:
        self._writer = writer
        self._turn = turn
        self._timeout_s = timeout_s  # for another process to give the writer role up
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._queue: deque[CommitRequest] = deque()
        self._queued_bytes = 0
        self._leading = False
        self._leader = 0  # the thread that has the lead, while there is one
        self._in_hand: list[CommitRequest] = []  # taken from the queue, not answered yet
        self._in_exclusive = False
        self.closed = False  # nothing more will be committed here
        self.disowned = False  # by a fork
        self._closed_reason = "the broker is closed"
        self._background = Worker("merkql-commit", self._run_background, on_thread)
        self._background_gate: SimpleQueue[None] = SimpleQueue()  # an item for each step
        self._background_leads = False
        self._linger = RoleLinger(turn.role)

    def commit(self, request: CommitRequest) -> None:
        """Return when the request is as durable as it asks, or raise its error."""
        self._enter(request)
        if not request.done:
            self._lead(request)
        if request.error is not None:
            raise again(request.error)

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lead without writing a group: nothing is committed meanwhile."""
        request = CommitRequest([], durable=False, exclusive=True)
        self._enter(request)
        if request.error is not None:
            raise again(request.error)  # the queue was closed: the lead is somebody else's
        try:
            self._in_exclusive = True
            self._writer.complete_pending()
            self._turn.begin()
            yield
        finally:
            self._in_exclusive = False
            self._hand_over()

    @property
    def is_mine(self) -> bool:
        """Whether the calling thread is the leader."""
        waits = self._background_leads  # first: `_leader` is the last one until that thread wakes
        return not waits and self._leading and self._leader == threading.get_ident()

    def wait_for_room(self, timeout: float | None = None) -> bool:
        """Block while too many bytes wait in the queue; False when ``timeout`` seconds passed."""
        if self._queued_bytes < QUEUE_BYTES_MAX:
            return True  # as nearly always: without the lock
        with self._lock:  # not the condition: see storage.arrivals
            return self._room.wait_for(
                lambda: self._queued_bytes < QUEUE_BYTES_MAX or self.closed, timeout
            )

    def enqueue(self, request: CommitRequest) -> None:
        """Queue a request for whoever leads next; its ``on_done`` is called."""
        with self._lock:
            self.enqueue_locked(request)

    @property
    def lock(self) -> threading.Lock:
        """Guards the queue. A producer holds it to add to a request that is not taken yet."""
        return self._lock

    def enqueue_locked(self, request: CommitRequest) -> None:
        """``enqueue`` for a holder of ``lock``."""
        self._check_open()
        self._queue.append(request)
        self._queued_bytes += request.size_bytes
        if not self._leading:
            self._leader, self._leading = 0, True  # until the background thread takes it
            self._promote_background()

    def grow_locked(self, request: CommitRequest, size_bytes: int) -> None:
        """Account for what a producer added to a queued request."""
        request.size_bytes += size_bytes
        self._queued_bytes += size_bytes

    @property
    def queued_records(self) -> int:
        """How many records no leader has taken yet."""
        return sum(len(records) for one in list(self._queue) for _, records in list(one.parts))

    def close(self) -> None:
        """Refuse new requests and wait until the earlier ones are committed."""
        with self.exclusive():
            self.closed = True
            self._refuse(ClosedError("the broker was closed before this was committed"))
        self._background_gate.put(None)
        self._background.join()

    def stop(self) -> None:
        """End the background thread after the current group; waits for it, but not long."""
        self.closed = True
        self._background_gate.put(None)
        self._background.join(LOST_LEAD_S)  # if it waits for another process, it is left behind

    def disown(self, reason: str) -> None:
        """In a forked child: refuse everything; requests in flight are the parent's."""
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self.closed = self.disowned = True
        self._closed_reason = reason
        for request in [*self._queue, *self._in_hand]:
            if not request.done:
                request.error, request.done = ClosedError(reason), True
        self._queue.clear()

    def _enter(self, request: CommitRequest) -> None:
        """Return with the lead, or with the request done."""
        me = threading.get_ident()
        if self._leading and self._leader == me:
            self._rescue()
        with self._lock:
            self._check_open()
            if not self._leading:
                self._leader, self._leading = me, True
                self._linger.begin_write()
                if self._turn.try_take():
                    if not request.exclusive:
                        self._queue.append(request)
                        self._queued_bytes += request.size_bytes
                    return
                self._promote_background()  # another process writes now: that thread queues for us
            gate = request.gate = threading.Lock()
            gate.acquire()
            request.thread = me
            self._queue.append(request)
            self._queued_bytes += request.size_bytes
        try:
            self._wait(request, gate)
        except BaseException:
            self._leave(request)
            raise

    def _wait(self, request: CommitRequest, gate: threading.Lock) -> None:
        """Return when the request is done, or its thread was given the lead."""
        patience = Patience(self._turn.role, self._timeout_s)
        while not gate.acquire(timeout=min(LOST_LEAD_S, self._timeout_s)):
            if request.promoted or request.done:
                return
            self._rescue(request)
            if not request.taken:
                patience.check()

    def _leave(self, request: CommitRequest) -> None:
        """A waiting thread was interrupted: withdraw its request and pass the lead on."""
        with self._lock:
            if request in self._queue:
                self._queue.remove(request)
                self._queued_bytes -= request.size_bytes
            promoted = request.promoted
        if promoted:
            self._hand_over()

    def _rescue(self, own: CommitRequest | None = None) -> None:
        """Recover the lead that a thread lost to a Ctrl-C.

        A signal handler may interrupt a thread anywhere; a thread that waited a second, or comes
        back, puts it right: nothing is lost or done twice. ``own``: the caller's request.
        """
        with self._lock:
            if not self._lead_is_lost() if self._leading else not self._is_astray(own):
                return
            for request in [one for one in self._queue if one.promoted]:
                self._queue.remove(request)  # its thread was interrupted as it got the lead
            self._leader, self._leading = threading.get_ident(), True
            self._background_leads = False
        self._writer.complete_pending()
        with self._lock:
            if own is not None and self._is_astray(own):
                if own.settled:
                    own.done = True
                else:
                    self._queue.append(own)
                    self._queued_bytes += own.size_bytes
        self._hand_over()

    def _is_astray(self, request: CommitRequest | None) -> bool:
        """Whether a request that is waited for is neither queued nor taken."""
        return request is not None and request not in self._queue and request not in self._in_hand

    def _settle_in_hand(self) -> None:
        """An interruption left requests taken but not answered: answer or requeue them."""
        self._writer.complete_pending()
        with self._lock:
            waiting = [one for one in self._in_hand if not one.settled and one.is_awaited]
            self._queue.extendleft(one for one in reversed(waiting) if one not in self._queue)
        self._finish([one for one in self._in_hand if one.settled], None)
        with self._lock:
            self._queued_bytes = sum(one.size_bytes for one in self._queue)

    def _lead_is_lost(self) -> bool:
        """Whether the leader's thread is no longer in any call that leads."""
        if self._in_exclusive:
            return False
        if self._background_leads:
            return not self._background.works
        frame = sys._current_frames().get(self._leader)
        count = 0
        while frame is not None:
            count += frame.f_code in _LEADING
            frame = frame.f_back
        if self._leader != threading.get_ident():
            return count == 0
        if count > 1:
            raise RuntimeError("a write was begun by a signal handler that interrupted another")
        return True

    def _lead(self, own: CommitRequest) -> None:
        try:
            while not own.done:
                self._write(self._take_group(), own)
        finally:
            self._hand_over()

    def _write(self, group: list[CommitRequest], own: CommitRequest | None) -> None:
        try:
            self._writer.write_group(group)
        except BaseException:
            # Interrupted (Ctrl-C): finish what may be on the disk, give the rest to the next.
            self._writer.complete_pending()
            waiting = [r for r in group if r is not own and not r.settled]
            with self._lock:
                self._queue.extendleft(reversed(waiting))
            self._finish([r for r in group if r is own or r.settled], own)
            raise
        self._finish(group, own)

    def _take_group(self) -> list[CommitRequest]:
        size = 0
        with self._lock:
            group = self._in_hand = []
            while self._queue and not self._queue[0].exclusive and size < GROUP_BYTES_MAX:
                request = self._queue[0]
                request.taken = True
                size += request.size_bytes
                group.append(request)  # first: a Ctrl-C must not find it nowhere
                self._queue.popleft()
        return group

    def _finish(self, group: list[CommitRequest], own: CommitRequest | None) -> None:
        size = sum(request.size_bytes for request in group)
        for request in group:
            request.done = True
            if request.on_done is not None:
                request.on_done(request)
            if request.gate is not None and request is not own:
                _open_gate(request.gate)
        with self._lock:
            self._in_hand = []
            self._queued_bytes -= size
            self._room.notify_all()

    def _refuse(self, error: Exception) -> None:
        """Fail every queued request."""
        with self._lock:
            late, self._queue = list(self._queue), deque()
        for request in late:
            request.error = error
        self._finish(late, None)

    def _hand_over(self) -> None:
        if self._in_hand:
            self._settle_in_hand()
        turn = self._turn
        with self._lock:
            if not self._queue:
                self._linger_or_give()
                self._leading = False
                return
            if turn.role.is_due:
                turn.give()
            first = self._queue[0]
            if first.gate is not None and turn.role.held:
                first.promoted = True
                self._leader = first.thread
                if first.exclusive:
                    self._queue.popleft()
                _open_gate(first.gate)
            else:
                self._promote_background()

    def _linger_or_give(self) -> None:
        """Release the role, or keep it a moment for a thread that is about to write again."""
        if not self._linger.end_write() or self.closed:
            self._turn.give()
        elif not self._linger.watched:
            self._linger.watched = True
            self._background_gate.put(None)

    def _end_linger(self) -> None:
        """Release the role after a moment without writes. By the background thread."""
        with self._lock:
            if self._leading or not self._turn.role.held:
                self._linger.watched = self._turn.role.held
            elif self._linger.is_over():
                self._linger.watched = False
                self._turn.give()

    def _promote_background(self) -> None:
        self._background.start()
        self._background_gate.put(None)
        self._background_leads = True  # last: a Ctrl-C before this leaves the lead with who had it

    def _run_background(self) -> None:
        while True:
            try:
                self._background_gate.get(timeout=LINGER_S if self._linger.watched else None)
            except Empty:
                self._end_linger()
                continue
            with self._lock:
                if leads := self._background_leads:
                    self._leader, self._background_leads = threading.get_ident(), False
            if leads:
                self._lead_without_waiter()
            elif self.closed:
                return

    def _lead_without_waiter(self) -> None:
        try:
            if self._turn.take():
                group = self._take_group()
                while group:
                    self._write(group, None)
                    ends = self.closed or self._turn.role.is_due
                    group = [] if ends else self._take_group()
        except OSError as error:  # from a lock file: the disk is gone
            self._refuse(error)
        finally:
            self._hand_over()

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError(self._closed_reason)


def _open_gate(gate: threading.Lock) -> None:
    with contextlib.suppress(RuntimeError):  # it was opened before an interruption
        gate.release()


# The functions a leader is inside of, to be looked for in its thread's frames.
_LEADING = frozenset(
    function.__code__
    for function in (
        Committer.commit,
        Committer.exclusive.__wrapped__,  # type: ignore[attr-defined]
        Committer._run_background,
    )
)
