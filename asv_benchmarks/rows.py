"""The rows of the table: what is measured, what stands beside it, and what is aimed at.

The aims are those of the design; a figure of ours is compared only with figures of the same run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks import takeover
from benchmarks.prove import HashLeaves
from benchmarks.stores import KINDS

RATE, SECONDS, BYTES, SHARE = "records/s", "s", "B", "of an equal share"
PEERS = tuple(name for name in KINDS if name not in {"merkql", "floor"})
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "full": {
        "read.ReadOne": {"count": 10_000_000},
        "read.FindTime": {"count": 10_000_000},
        "prove.Prove": {"count": 10_000_000},
        "read.Poll": {"per_call": 1_000_000},
        "recover.Recover": {"count": 2_000_000},
        "footprint.Memory": {"count": 20_000_000},
        "recover.Verify": {"count": 1_000_000},
    },
    "quick": {
        "read.ReadOne": {"count": 100_000},
        "read.FindTime": {"count": 100_000},
        "prove.Prove": {"count": 100_000},
        "read.Poll": {"per_call": 100_000},
        "footprint.Memory": {"count": 800_000},
        "recover.Recover": {"count": 200_000},
        "sign.Publish": {"count": 100_000},
        "append.SendNowait": {"per_call": 10_000},
    },
}
LENGTHS = {"full": (1_000, 100_000, 10_000_000), "quick": (1_000, 100_000), "toy": (10,)}


@dataclass(frozen=True)
class Subject:
    """One benchmark function with its parameters, as `module.Class.function`."""

    benchmark: str
    params: tuple[Any, ...] = ()

    def of(self, mode: str) -> tuple[Any, Callable[[], Any]]:
        """An instance at the sizes of `mode`, set up, and its function with parameters filled."""
        module_name, class_name, function_name = self.benchmark.split(".")
        instance = getattr(importlib.import_module(f"benchmarks.{module_name}"), class_name)()
        sizes = SIZES.get(mode, {}).get(f"{module_name}.{class_name}", {})
        for name, value in (instance.toy if mode == "toy" else sizes).items():
            setattr(instance, name, value)
        if hasattr(instance, "setup"):
            instance.setup(*self.params)
        function = getattr(instance, function_name)
        return instance, lambda: function(*self.params)


@dataclass(frozen=True)
class Aim:
    """A bound on the figure itself, or on its ratio to the one beside it named `of`."""

    sign: str
    bound: float
    of: str = ""

    def shortfall(self, value: float) -> float:
        """How many times the bound is missed by; at most 1 when it is met."""
        return self.bound / value if self.sign == "≥" else value / self.bound


@dataclass(frozen=True)
class Row:
    """One line: our subject, the others in turn with it, and what we want to see."""

    title: str
    unit: str
    ours: Subject
    beside: dict[str, Subject] = field(default_factory=dict)
    aims: tuple[Aim, ...] = ()
    once: bool = False  # deterministic or long: one measurement says it


def at_least(bound: float, of: str = "") -> Aim:
    return Aim("≥", bound, of)


def at_most(bound: float, of: str = "") -> Aim:
    return Aim("≤", bound, of)


def stores(benchmark: str, *params: Any, peers: tuple[str, ...] = PEERS) -> dict[str, Subject]:
    """The floor and the peers as subjects of the same benchmark."""
    return {name: Subject(benchmark, (name, *params)) for name in ("floor", *peers)}


def append_rows() -> list[Row]:
    one, many = "append.SendOne.time_send", "append.SendValues.time_send_values"
    threads, parallel = "append.SendFromThreads.time_send", "append.SendValuesFromThreads"
    parallel += ".time_send_values"
    thousand = "1000 x 256 B"
    floor = {"floor": Subject(many, ("floor", thousand))}
    ahead = tuple(at_most(1.0, peer) for peer in PEERS)
    batch_peers = tuple(peer for peer in PEERS if peer != "sqlite3")
    beats = tuple(at_least(1.7, peer) for peer in batch_peers)
    alone = {"1 thread": Subject(threads, (1,))}
    rows = [
        Row("send, durable", SECONDS, Subject(one, ("merkql",)), stores(one),
            (at_most(1.15, "floor"), *ahead)),
        Row("send, 16 threads", RATE, Subject(threads, (16,)), alone, (at_least(5, "1 thread"),)),
        Row("send, 64 threads", RATE, Subject(threads, (64,)), alone, (at_least(8, "1 thread"),)),
        Row("send_nowait, one thread", RATE, Subject("append.SendNowait.time_send_nowait"),
            floor, (at_least(300_000),)),
        Row("send_batch 1,000, keys, 4 partitions", RATE,
            Subject("append.SendBatch.time_send_batch"), floor, (at_least(800_000),)),
        Row("send_values 1,000", RATE, Subject(many, ("merkql", thousand)),
            stores(many, thousand), (at_least(2_000_000), at_least(0.4, "floor"), *beats)),
        Row("send_values 1,000, LZ4", RATE, Subject(many, ("merkql lz4", thousand)),
            {"plain": Subject(many, ("merkql", thousand))}, (at_least(0.6, "plain"),)),
        Row("send_values 1,000, 4 threads", RATE, Subject(parallel, (4,)),
            {"1 thread": Subject(parallel, (1,))}, (at_least(1.6, "1 thread"),)),
    ]  # fmt: skip
    for call in ("10000 x 256 B", "1000 x 64 B", "1000 x 1 KiB", "64 x 64 KiB"):
        ours = Subject(many, ("merkql", call))
        rows.append(Row(f"send_values {call}", RATE, ours, stores(many, call)))
    return rows


def process_rows() -> list[Row]:
    """Several processes that write one directory, beside one that does, and beside sqlite3."""
    many, share = "processes.Processes.track_seconds_a_record", "processes.Processes"
    share += ".track_smallest_share"
    rows = [
        Row("send, one process of any number", RATE, Subject(many, ("merkql", 1, 1)),
            {"exclusive": Subject(many, ("exclusive", 1, 1))}, (at_least(0.97, "exclusive"),))
    ]  # fmt: skip
    for count, title, bound in ((1, "send", 0.8), (1000, "send_values 1,000", 0.85)):
        for processes in (2, 4):
            beside = {
                "1 process": Subject(many, ("merkql", 1, count)),
                "sqlite3": Subject(many, ("sqlite3", processes, count)),
            }
            ours = Subject(many, ("merkql", processes, count))
            aims = (at_least(bound, "1 process"),)
            rows.append(Row(f"{title}, {processes} processes", RATE, ours, beside, aims))
    rows.append(
        Row("smallest share of 4 processes", SHARE, Subject(share, ("merkql", 4, 1)), {},
            (at_least(0.5),))
    )  # fmt: skip
    rows.append(
        Row("a hand-over, beside the sync", SECONDS, Subject("processes.HandOver.track_seconds"),
            {}, (at_most(150e-6),))
    )  # fmt: skip
    rows.append(
        Row("open and close beside 3 writers", SECONDS,
            Subject("processes.OpenBeside.track_seconds"), {}, (at_most(50e-3),))
    )  # fmt: skip
    for moment in takeover.MOMENTS:
        ours = Subject("takeover.TakeOver.track_seconds", (moment,))
        rows.append(Row(f"goes on, kill {moment}", SECONDS, ours, {}, (at_most(50e-3),)))
    return rows


def read_rows() -> list[Row]:
    poll, one = "read.Poll.time_poll", "read.ReadOne.time_read"
    leaves = "prove.HashLeaves.time_leaf_hashes"
    faster = (at_least(2, "rocksdict"),) if "rocksdict" in PEERS else ()
    bare = (at_least(0.8, "bare streams"),) if "bare streams" in HashLeaves.params else ()
    return [
        Row("poll", RATE, Subject(poll, ("merkql",)), stores(poll),
            (at_least(12_000_000), *faster)),
        Row("poll, LZ4", RATE, Subject(poll, ("merkql lz4",)),
            {"plain": Subject(poll, ("merkql",))}, (at_least(6_000_000),)),
        Row("read(offset) at random", SECONDS, Subject(one, ("merkql",)),
            {"floor": Subject(one, ("floor",))}, (at_most(4e-6),)),
        Row("offset_for_timestamp", SECONDS, Subject("read.FindTime.time_offset_for_timestamp"),
            {"floor": Subject(one, ("floor",))}, (at_most(20e-6),)),
        Row("proof made", SECONDS, Subject("prove.Prove.time_made"), {}, (at_most(8e-6),)),
        Row("proof verified by the core", SECONDS, Subject("prove.Prove.time_verified"), {},
            (at_most(4e-6),)),
        Row("proof verified by proof.py", SECONDS,
            Subject("prove.Prove.time_verified_by_proof_py"), {}, (at_most(40e-6),)),
        Row("proof made and verified", SECONDS, Subject("prove.Prove.time_made_and_verified"), {},
            (at_most(15e-6),)),
        Row("range proof of 10,000 records made", SECONDS, Subject("prove.ProveRange.time_made"),
            {"hashing them": Subject("prove.ProveRange.time_hashed")},
            (at_most(0.05, "hashing them"),)),
        Row("range proof of 10,000 verified by the core", SECONDS,
            Subject("prove.ProveRange.time_verified"), {}),
        Row("range proof of 10,000 verified by proof.py", SECONDS,
            Subject("prove.ProveRange.time_verified_by_proof_py"), {}),
        Row("checkpoint signed and kept", SECONDS, Subject("sign.Checkpoint.track_seconds"),
            {"floor": Subject("append.SendOne.time_send", ("floor",))}, (at_most(3, "floor"),)),
        Row("a checkpoint, beside its two syncs", SECONDS,
            Subject("sign.Checkpoint.track_seconds_beside_the_syncs"), {}, (at_most(200e-6),)),
        Row("1,000,000 records published", SECONDS, Subject("sign.Publish.time_publish"), {},
            (at_most(1),)),
        Row("SHA-256 of leaves", RATE, Subject(leaves, ("merkql",)),
            {name: Subject(leaves, (name,)) for name in HashLeaves.params if name != "merkql"},
            (at_least(8_000_000), *bare)),
        Row("verify", RATE, Subject("recover.Verify.time_verify"), {}, (at_least(2_000_000),)),
        Row("recovery of an unsealed tail", RATE,
            Subject("recover.Recover.track_seconds_a_record", ("tail page lost",)), {},
            (at_least(3_000_000),)),
        Row("open after kill -9", SECONDS,
            Subject("recover.Recover.track_seconds", ("killed",)), {}),
        Row("send to poll in another process", SECONDS,
            Subject("follow.Follow.track_median_seconds"),
            {"floor": Subject("append.SendOne.time_send", ("floor",))}, (at_most(2, "floor"),)),
    ]  # fmt: skip


def small_rows(mode: str) -> list[Row]:
    length, opening = "append.SendAtLength.time_send_values", "opening.OpenClean.track_open_seconds"
    fresh = "opening.FreshDirectory.track_first_record_seconds"
    temporary = "opening.Temporary.time_round_trip"
    first, *longer = LENGTHS[mode]
    short = {f"at {first:,}": Subject(length, (first,))}
    by_length = [
        Row(f"a record at {count:,} records", SECONDS, Subject(length, (count,)), short,
            (at_most(1.15, f"at {first:,}"),))
        for count in longer
    ] + [
        Row(f"open, {count:,} records", SECONDS, Subject(opening, (count,)), {},
            (at_most(2e-3),))
        for count in LENGTHS[mode]
    ]  # fmt: skip
    return [
        *by_length,
        Row("open, 100 topics x 4", SECONDS,
            Subject("opening.OpenManyTopics.track_open_seconds"), {}, (at_most(50e-3),)),
        Row("Broker.temporary(), one record", SECONDS, Subject(temporary, ("merkql",)),
            {"floor": Subject(temporary, ("floor",))}, (at_most(3e-3),)),
        Row("fresh directory to first record", SECONDS, Subject(fresh, ("merkql",)),
            {"floor": Subject(fresh, ("floor",))}, (at_most(6, "floor"),)),
        Row("import Broker", SECONDS, Subject("opening.Import.track_import_seconds"), {},
            (at_most(40e-3),)),
        Row("import Broker, memory", BYTES, Subject("opening.Import.track_import_bytes"), {},
            (at_most(15 * 2**20),)),
        Row("a record on disk", BYTES,
            Subject("footprint.Disk.track_bytes_per_record", ("none",)), {}, (at_most(310),),
            once=True),
        Row("1,000 small records on disk", BYTES, Subject("footprint.FreshDisk.track_bytes"), {},
            (at_most(2**20),), once=True),
        Row("memory, ingesting", BYTES, Subject("footprint.Memory.track_ingest_bytes"), {},
            (at_most(100 * 2**20),), once=True),
        Row("memory, polling", BYTES, Subject("footprint.Memory.track_poll_bytes"), {},
            (at_most(100 * 2**20),), once=True),
    ]  # fmt: skip


def all_rows(mode: str) -> list[Row]:
    """Every row at the sizes of `mode`: full, quick or toy."""
    return [*append_rows(), *process_rows(), *read_rows(), *small_rows(mode)]
