"""What processes said before they died, kept outside the log, and the comparison with it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from merkql import Broker

Place = tuple[str, int]


@dataclass
class Ledger:
    """Acknowledged records, offered ones, what readers were shown, commits, roots."""

    sent: dict[Place, dict[int, str]] = field(default_factory=dict)
    offered: dict[Place, set[str]] = field(default_factory=dict)
    shown: dict[Place, dict[int, str]] = field(default_factory=dict)
    committed: dict[Place, int] = field(default_factory=dict)
    committing: dict[Place, int] = field(default_factory=dict)
    roots: dict[Place, dict[int, str]] = field(default_factory=dict)
    erasing: dict[Place, set[int]] = field(default_factory=dict)
    erased: dict[Place, set[int]] = field(default_factory=dict)  # acknowledged
    seen_erased: dict[Place, set[int]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)  # values of topics that are gone
    checked: dict[Place, int] = field(default_factory=dict)  # compared up to here, and intact
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def hear(self, line: bytes) -> None:
        """Take one whole line of a process into account."""
        kind, content = json.loads(line)
        getattr(self, f"_hear_{kind}")(content)

    def _hear_offer(self, records: list[Any]) -> None:
        for topic, partition, value in records:
            self.offered.setdefault((topic, partition), set()).add(value)

    def _hear_sent(self, records: list[Any]) -> None:
        for topic, partition, offset, value in records:
            known = self.sent.setdefault((topic, partition), {})
            if offset in known:
                self.wrong.append(f"{topic}/{partition}: offset {offset} was given twice")
            known[offset] = value
            self.counts["acknowledged"] += 1

    def _hear_read(self, records: list[Any]) -> None:
        for topic, partition, offset, value in records:
            self.counts["read"] += 1
            if value is None:
                self.seen_erased.setdefault((topic, partition), set()).add(offset)
                continue
            known = self.shown.setdefault((topic, partition), {})
            if known.setdefault(offset, value) != value:
                self.wrong.append(f"{topic}/{partition}: two records were shown at {offset}")
                self.counts["bad"] += 1

    def _hear_committing(self, positions: list[Any]) -> None:
        for topic, partition, offset in positions:
            place = topic, partition
            self.committing[place] = max(offset, self.committing.get(place, 0))

    def _hear_committed(self, positions: list[Any]) -> None:
        for topic, partition, offset in positions:
            self.counts["commits"] += 1
            self.committed[topic, partition] = offset

    def _hear_erasing(self, one: list[Any]) -> None:
        topic, partition, offsets = one
        self.erasing.setdefault((topic, partition), set()).update(offsets)

    def _hear_erased(self, one: list[Any]) -> None:
        topic, partition, offsets = one
        self.erased.setdefault((topic, partition), set()).update(offsets)
        self.counts["erased"] += len(offsets)

    def _hear_deleted(self, one: list[Any]) -> None:
        _, values = one
        self.deleted.update(values)
        self.counts["deleted"] += 1

    def _hear_root(self, one: list[Any]) -> None:
        topic, partition, size, root = one
        self.roots.setdefault((topic, partition), {})[size] = root

    def check(self, broker: Broker, *, power_cut: bool, whole: bool) -> None:
        """Compare with the log; ``whole``: all of it and every tree, and nobody lives who commits.

        Else what is new since the last time.
        """
        for name in broker.topics():
            topic = broker.topic(name)
            if name == "__erasures":
                topic.partition(0).verify()
                continue
            for partition in topic.partitions():
                place = name, partition.index
                if power_cut and topic.config.durability == "disk":
                    self._forget_behind(place, partition.end_offset)
                self._check_records(place, partition, whole=whole)
                self._check_roots(place, partition)
                if whole:
                    partition.verify()
        missing = {topic for topic, _ in self.sent} - set(broker.topics())
        for topic in missing:
            self.wrong.append(f"{topic} is gone")
        self._check_commits(broker, whole=whole)

    def _forget_behind(self, place: Place, end: int) -> None:
        """A power cut took the end of a topic that does not wait for the disk, as promised."""
        for known in (self.sent, self.shown):
            kept = {o: v for o, v in known.get(place, {}).items() if o < end}
            self.counts["of disk topics"] += len(known.get(place, {})) - len(kept)
            known[place] = kept
        self.roots[place] = {s: r for s, r in self.roots.get(place, {}).items() if s <= end}
        self.checked[place] = min(end, self.checked.get(place, 0))

    def _check_records(self, place: Place, partition: Any, *, whole: bool) -> None:
        sent, shown = self.sent.get(place, {}), self.shown.get(place, {})
        start, end = partition.start_offset, partition.end_offset
        for what, known in (("acknowledged", sent), ("shown", shown)):
            missing = [offset for offset in known if offset >= end]
            if missing:
                self.counts["lost"] += len(missing)
                self.wrong.append(f"{place}: {what} and gone: {missing[:5]}, the end is {end}")
        begin = start if whole else max(start, self.checked.get(place, 0))
        gone = self.erased.get(place, set()) | self.seen_erased.get(place, set())
        for record in partition.read_range(min(begin, end), end):
            if record.erased:
                if record.offset not in self.erasing.get(place, ()):
                    self.wrong.append(f"{place}: {record.offset} is erased, and nobody did it")
                continue
            value = record.value.decode()
            expected = sent.get(record.offset, shown.get(record.offset, value))
            if record.offset in gone:
                self.wrong.append(f"{place}: {record.offset} was erased, and is there")
            if value in self.deleted:
                self.wrong.append(f"{place}: {record.offset} was deleted with its topic")
            if value != expected or value not in self.offered.get(place, ()):
                self.counts["bad"] += 1
                self.wrong.append(f"{place}: another record at {record.offset}")
        self.checked[place] = end

    def _check_roots(self, place: Place, partition: Any) -> None:
        for size, root in self.roots.get(place, {}).items():
            if size > partition.end_offset or partition.root(size).hex() != root:
                self.wrong.append(f"{place}: another root at {size}")

    def _check_commits(self, broker: Broker, *, whole: bool) -> None:
        if not self.committing:
            return
        with broker.consumer("workers", auto_commit=False) as consumer:
            consumer.assign(list(self.committing))
            for place, most in self.committing.items():
                found = consumer.committed(place) or 0
                least = self.committed.get(place, 0)
                if found < least or (whole and found > most):
                    self.wrong.append(f"{place}: {found} committed, not {least} to {most}")
