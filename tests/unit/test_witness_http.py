"""A log and its witnesses over real HTTP: signed, in conflict, slow, lying, gone; a quorum."""

from __future__ import annotations

import contextlib
import errno
import re
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from merkql import Broker
from merkql.storage.files import Files
from merkql.storage.partition import Partition
from merkql.transparency.checkpoint import Checkpoint, parse_checkpoint
from merkql.transparency.checkpointer import Signer
from merkql.transparency.note import Note, SigningKey, parse_note, parse_signatures, verified_by
from merkql.transparency.policy import Group, Party, Policy
from merkql.transparency.web import Web, WebError
from merkql.transparency.witness import Witness
from merkql.transparency.witness_client import cosign
from merkql.transparency.witness_protocol import AddCheckpoint
from support.naive_tree import NaiveTree, leaf
from support.web_servers import Answering, server_at, witness_at

LOG = SigningKey("log.example", bytes(range(32)))


def witness_key(number: int) -> SigningKey:
    return SigningKey(f"w{number}.example", bytes([number]) * 32, 4)


def policy_of(urls: dict[int, str], needed: int) -> Policy:
    parties = {f"w{n}": Party(witness_key(n).verifier, url) for n, url in urls.items()}
    groups = {"quorum": Group(needed, tuple(parties))}
    return Policy((Party(LOG.verifier),), parties, groups, "quorum")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker.open(
        tmp_path / "data", signing_key=Signer(LOG), default_durability="disk"
    ) as opened:
        yield opened


def send(broker: Broker, count: int) -> Partition:
    broker.producer().send_values("t", [b"x"] * count)
    partition = broker.topic("t").partition(0)
    partition.checkpoint()
    return partition


def test_three_witnesses_follow_a_growing_log(broker: Broker, tmp_path: Path) -> None:
    with ExitStack() as stack:
        urls = {}
        for n in range(3):
            witness = Witness(witness_key(n), [LOG.verifier], tmp_path / f"w{n}")
            urls[n] = stack.enter_context(witness_at(stack.enter_context(witness)))
        policy = policy_of(urls, 2)
        for count in (1, 30, 500):
            partition = send(broker, count)
            report = cosign(partition, policy)
            assert report.signed == ("w0", "w1", "w2")
            assert (report.has_quorum, report.refused) == (True, {})
            kept = partition.newest_checkpoint()
            assert kept is not None
            assert kept.note == report.checkpoint.note
            assert policy.check(parse_note(kept.note)).size == partition.end_offset
        assert cosign(partition, policy).signed == ("w0", "w1", "w2")  # nobody is asked twice


def test_a_conflict_is_followed_to_where_the_witness_is(broker: Broker, tmp_path: Path) -> None:
    with (
        Witness(witness_key(1), [LOG.verifier], tmp_path / "w") as witness,
        witness_at(witness) as url,
    ):
        partition = send(broker, 5)
        cosign(partition, policy_of({1: url}, 1))
        path = tmp_path / "data/topics/t/0/checkpoints"
        path.write_bytes(b"")  # the log forgets that it was witnessed
        partition = send(broker, 5)
        report = cosign(partition, policy_of({1: url}, 1))
        assert report.signed == ("w1",)


def test_a_second_log_of_one_key_is_told_by_the_witness(tmp_path: Path) -> None:
    with (
        Witness(witness_key(1), [LOG.verifier], tmp_path / "w") as witness,
        witness_at(witness) as url,
    ):
        policy = policy_of({1: url}, 1)
        with Broker.open(tmp_path / "data", signing_key=Signer(LOG)) as broker:
            cosign(send(broker, 5), policy)
        shutil.copytree(tmp_path / "data", tmp_path / "copy")
        with Broker.open(tmp_path / "data", signing_key=Signer(LOG)) as broker:
            assert cosign(send(broker, 5), policy).has_quorum
        with Broker.open(tmp_path / "copy", signing_key=Signer(LOG)) as broker:
            partition = send(broker, 2)
            report = cosign(partition, policy)
            assert "has seen 10 records" in report.refused["w1"]
            report = cosign(send(broker, 9), policy)
            assert "another past" in report.refused["w1"]
            assert not report.has_quorum


def not_asked(*_: object) -> tuple[int, str, bytes]:
    return 200, "text/plain", b"not a signature\n"


def lying(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
    """Its own key, another text: what a witness of another log would say."""
    assert (method, path) == ("POST", "/add-checkpoint")
    line = witness_key(2).sign(b"another text\n", 1_700_000_000)
    return 200, "text/plain", line.line()


def stranger(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
    text = parse_note(body.split(b"\n\n", 1)[1]).text
    return 200, "text/plain", witness_key(9).sign(text, 1_700_000_000).line()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (not_asked, "malformed"),
        (lying, "is wrong"),
        (stranger, "without a signature of its key"),
        (lambda *_: None, "http://"),
        (lambda *_: (409, "text/x.tlog.size", b"0\n"), "will not go on"),
        (lambda *_: (409, "text/x.tlog.size", b"99999\n"), "has seen 99999"),
        (lambda *_: (409, "text/plain", b"gone away"), "does not say which"),
        (lambda *_: (404, "text/plain", b"who?"), r"does not know this log \(404: who\?\)"),
        (lambda *_: (500, "text/plain", b""), "did not sign"),
        (lambda *_: (200, "text/plain", b"x" * 1_000_000), "more than"),
    ],
)
def test_what_is_no_signature_is_told_and_not_kept(
    broker: Broker, answer: Answering, words: str
) -> None:
    partition = send(broker, 3)
    before = partition.checkpoints()
    with server_at(answer) as url:
        report = cosign(partition, policy_of({2: url}, 1))
    assert re.search(words, report.refused["w2"])
    assert not report.has_quorum
    assert partition.checkpoints() == before


def test_a_witness_that_never_answers_keeps_nobody_from_writing(broker: Broker) -> None:
    asked, release = threading.Event(), threading.Event()

    def silent(*_: object) -> None:
        asked.set()
        release.wait(30)

    partition = send(broker, 3)
    reports = []
    with server_at(silent) as url, server_at(answering(witness_key(3))) as good:
        policy = policy_of({2: url, 3: good}, 1)
        web = Web(timeout_s=0.5)
        thread = threading.Thread(target=lambda: reports.append(cosign(partition, policy, web=web)))
        thread.start()
        assert asked.wait(20)
        for _ in range(20):
            send(broker, 1)
        assert partition.end_offset == 23
        thread.join(20)
        release.set()
    (report,) = reports
    assert (report.signed, report.has_quorum) == (("w3",), True)
    assert "http://" in report.refused["w2"]
    kept = partition.checkpoints()
    assert [one.size for one in kept if len(parse_note(one.note).signatures) == 2] == [3]


def answering(key: SigningKey) -> Answering:
    def answer(_: str, __: str, body: bytes) -> tuple[int, str, bytes]:
        text = parse_note(body.split(b"\n\n", 1)[1]).text
        return 200, "text/plain", key.sign(text, 1_700_000_000).line()

    return answer


def test_an_answer_that_drips_is_cut_at_the_deadline() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def drip() -> None:
        connection, _ = listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(4096)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            while not ended.wait(0.01):
                connection.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    web = Web(timeout_s=0.3)
    with pytest.raises(WebError, match=r"not all there|timed out"):
        web.request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/")
    ended.set()
    thread.join(20)
    web.close()
    listener.close()


def test_the_server_says_what_it_does_not_do(tmp_path: Path) -> None:
    with (
        Witness(witness_key(1), [LOG.verifier], tmp_path / "w") as witness,
        witness_at(witness) as url,
    ):
        web = Web()
        assert web.request("GET", f"{url}/add-checkpoint").status == 405
        assert web.request("GET", f"{url}/").status == 404
        assert web.request("GET", f"{url}/{'0' * 64}/checkpoint").status == 404
        assert web.request("POST", f"{url}/add-checkpoint", body=b"x").status == 400
        assert web.request("POST", f"{url}/add-checkpoint", body=b"x" * (1 << 19)).status == 413
        web.close()


def test_a_cosigned_note_names_its_witness(broker: Broker, tmp_path: Path) -> None:
    partition = send(broker, 3)
    with server_at(answering(witness_key(3))) as url:
        note = parse_note(cosign(partition, policy_of({3: url}, 1)).checkpoint.note)
    assert isinstance(note, Note)
    found = verified_by(note, [witness_key(3).verifier])
    assert [witness_key(3).verifier.time_of(line) for line in found.values()] == [1_700_000_000]


def test_nothing_signed_is_nothing_to_cosign(broker: Broker) -> None:
    broker.create_topic("t")
    with pytest.raises(ValueError, match="nothing was signed yet"):
        cosign(broker.topic("t").partition(0), policy_of({}, 0))


def test_requests_at_once_of_two_histories_get_one_signed(tmp_path: Path) -> None:
    """Two logs of one origin and key, each pushed by several clients: one of them is signed."""
    trees = [NaiveTree([leaf(b"%d %d" % (which, n)) for n in range(40)]) for which in range(2)]
    origin, signed = "log.example/id/t/0", set()
    lock, together = threading.Lock(), threading.Barrier(8)

    def push(which: int) -> None:
        web, tree = Web(), trees[which]
        together.wait(20)
        with contextlib.closing(web):
            for new in (3, 10, 11, 33, 40):
                text = Checkpoint(origin, new, tree.root(0, new)).text()
                note = Note(text, (LOG.named(origin).sign(text),)).encode()
                held = 0
                while True:
                    proof = tree.consistency(0, held, new) if 0 < held < new else []
                    body = AddCheckpoint(held, tuple(proof), note).encode()
                    answer = web.request("POST", f"{url}/add-checkpoint", body=body)
                    if answer.status != 409 or int(answer.body) > new:
                        break
                    held = int(answer.body)
                if answer.status == 200:
                    (line,) = parse_signatures(answer.body)
                    assert verified_by(Note(text, (line,)), [witness_key(1).verifier])
                    with lock:
                        signed.add(which)
                else:
                    assert answer.status in (409, 422)

    with (
        Witness(witness_key(1), [LOG.verifier], tmp_path / "state") as witness,
        witness_at(witness) as url,
        ThreadPoolExecutor(8) as pool,
    ):
        for done in [pool.submit(push, number % 2) for number in range(8)]:
            done.result(60)
        (which,) = signed
        newest = witness.newest(origin)
        assert newest is not None
        assert newest.text == Checkpoint(origin, 40, trees[which].root(0, 40)).text()


class FullFiles(Files):
    """A disk that is full where it is told so: at the write, or at the sync."""

    def __init__(self) -> None:
        self.full = ""

    def write(self, descriptor: int, data: Any, position: int) -> None:
        if self.full == "write":
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(descriptor, data, position)

    def sync(self, descriptor: int) -> None:
        if self.full == "sync":
            raise OSError(errno.ENOSPC, "No space left on device")
        super().sync(descriptor)


@pytest.mark.parametrize("where", ["write", "sync"])
def test_a_full_disk_signs_nothing_and_is_got_over(
    broker: Broker, tmp_path: Path, where: str
) -> None:
    files = FullFiles()
    with (
        Witness(witness_key(1), [LOG.verifier], tmp_path / "state", files=files) as witness,
        witness_at(witness) as url,
    ):
        policy = policy_of({1: url}, 1)
        partition = send(broker, 5)
        assert cosign(partition, policy).signed == ("w1",)
        files.full = where
        partition = send(broker, 3)
        report = cosign(partition, policy)
        assert report.signed == ()
        assert "500" in report.refused["w1"]
        newest = witness.newest(partition.checkpoints()[-1].origin)
        assert newest is not None
        assert parse_checkpoint(newest.text).size == 5
        files.full = ""
        assert cosign(partition, policy).signed == ("w1",)
