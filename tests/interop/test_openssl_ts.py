"""Timestamps by OpenSSL: it is the authority that stamps our checkpoints, and it checks them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from merkql import Broker
from merkql.proof import ProofError
from merkql.transparency.checkpointer import Signer
from merkql.transparency.note import SigningKey
from merkql.transparency.timestamp import check_stamp, stamp, stamped_at
from merkql.transparency.web import WebError
from support.web_servers import Answering, server_at

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]
CONFIG = """
[tsa]
default_tsa = one
[one]
serial = serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
[ext]
extendedKeyUsage = critical,timeStamping
basicConstraints = CA:FALSE
keyUsage = critical,digitalSignature
subjectKeyIdentifier = hash
"""


def openssl(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["openssl", *words], cwd=directory, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority, and a time-stamp authority under it."""
    place = tmp_path_factory.mktemp("tsa")
    (place / "config").write_text(CONFIG)
    (place / "serial").write_text("01\n")
    for words in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=CA -days 10",
        "req -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr -subj /CN=TSA",
        "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tsa.pem -days 10"
        " -extfile config -extensions ext",
    ):
        done = openssl(place, *words.split())
        assert done.returncode == 0, done.stderr
    return place


def stamping(place: Path, change: Callable[[bytes], bytes] = lambda q: q) -> Answering:
    def answer(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        (place / "query").write_bytes(change(body))
        words = "ts -reply -config config -section one -queryfile query -out reply"
        done = openssl(place, *words.split(), "-signer", "tsa.pem", "-inkey", "tsa.key")
        assert done.returncode == 0, done.stderr
        return 200, "application/timestamp-reply", (place / "reply").read_bytes()

    return answer


@pytest.fixture
def broker(tmp_path: Path):  # type: ignore[no-untyped-def]
    signer = Signer(SigningKey("log.example", bytes(32)))
    with Broker.open(tmp_path / "data", signing_key=signer) as opened:
        opened.producer().send("t", b"x")
        opened.topic("t").partition(0).checkpoint()
        yield opened


def test_openssl_stamps_and_both_check(broker: Broker, authority: Path, tmp_path: Path) -> None:
    partition = broker.topic("t").partition(0)
    roots = [(authority / "ca.pem").read_bytes()]
    with server_at(stamping(authority)) as url:
        stamped = stamp(partition, url, roots=roots)
    (kept,) = partition.checkpoints()
    assert (kept.note, kept.timestamps) == (stamped.note, stamped.timestamps)
    (token,) = kept.timestamps
    time = check_stamp(token, kept.text, roots)
    assert abs(datetime.now(timezone.utc) - time) < timedelta(minutes=5)
    assert stamped_at(token, kept.text) == time
    (tmp_path / "text").write_bytes(kept.text)
    (tmp_path / "token").write_bytes(token)
    words = ("ts", "-verify", "-in", "token", "-data", "text", "-CAfile")
    done = openssl(tmp_path, *words, str(authority / "ca.pem"))
    assert "Verification: OK" in done.stdout + done.stderr
    (tmp_path / "text").write_bytes(kept.text.replace(b"\n1\n", b"\n2\n"))
    assert openssl(tmp_path, *words, str(authority / "ca.pem")).returncode != 0
    with pytest.raises(ProofError, match="of something else"):
        check_stamp(token, kept.text + b"x\n", roots)
    with pytest.raises(ProofError, match="not a timestamp"):
        check_stamp(token[:-20], kept.text, roots)


def test_another_authority_is_not_believed(broker: Broker, authority: Path, tmp_path: Path) -> None:
    words = "req -x509 -newkey rsa:2048 -nodes -keyout k -out other.pem -subj /CN=X -days 10"
    assert openssl(tmp_path, *words.split()).returncode == 0
    partition = broker.topic("t").partition(0)
    other = [(tmp_path / "other.pem").read_bytes()]
    with (
        server_at(stamping(authority)) as url,
        pytest.raises(ProofError, match="does not check out"),
    ):
        stamp(partition, url, roots=other)
    assert partition.checkpoints()[0].timestamps == ()


def test_answers_that_are_no_stamp_are_not_kept(broker: Broker, authority: Path) -> None:
    partition = broker.topic("t").partition(0)
    with server_at(stamping(authority)) as url:
        kept = stamp(partition, url)
    old = kept.timestamps[0]
    broker.producer().send("t", b"y")
    partition.checkpoint()
    answers: list[tuple[Answering, type[Exception], str]] = [
        (lambda *_: (200, "x", old), ProofError, "of something else"),
        (lambda *_: (200, "x", b"nothing"), ProofError, "not a timestamp"),
        (lambda *_: (503, "x", b""), WebError, "status 503"),
        (lambda *_: None, WebError, "http"),
    ]
    for answer, error, words in answers:
        with server_at(answer) as url, pytest.raises(error, match=words):
            stamp(partition, url)
    assert [len(one.timestamps) for one in partition.checkpoints()] == [1, 0]
