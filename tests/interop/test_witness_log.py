"""witness-log, somebody else's witness in Rust: it signs for our log, and its log has ours sign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from merkql import Broker
from merkql.transparency.checkpointer import Signer
from merkql.transparency.note import SigningKey, VerifierKey, parse_note, parse_signatures
from merkql.transparency.policy import Group, Party, Policy
from merkql.transparency.web import Web
from merkql.transparency.witness import Witness
from merkql.transparency.witness_client import cosign
from merkql.transparency.witness_protocol import AddCheckpoint
from support.web_servers import server_at, witness_at

witness_log: Any = pytest.importorskip("witness_log", reason="witness-log is not installed")

pytestmark = pytest.mark.interop
LOG = SigningKey("log.example", bytes(range(32)))


def test_their_witness_signs_for_our_log(tmp_path: Path) -> None:
    theirs = witness_log.WitnessService.new("w.example", bytes(range(32, 64)))
    asked = []

    def answer(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        status, content_type, said = theirs.handle_add_checkpoint_http(body.decode())
        asked.append(status)
        return status, content_type, said if isinstance(said, bytes) else said.encode()

    key = VerifierKey.parse(theirs.vkey())
    with (
        Broker.open(tmp_path / "data", signing_key=Signer(LOG)) as broker,
        server_at(answer) as url,
    ):
        party = Party(key, url)
        policy = Policy((Party(LOG.verifier),), {"w": party}, {"q": Group(1, ("w",))}, "q")
        for count in (1, 7, 300):
            broker.producer().send_values("t", [b"x"] * count)
            partition = broker.topic("t").partition(0)
            origin = partition.checkpoint().origin
            theirs.add_log(origin, str(LOG.verifier.named(origin)))
            report = cosign(partition, policy)
            assert (report.signed, report.refused) == (("w",), {})
            assert policy.check(parse_note(report.checkpoint.note)).size == partition.end_offset
        assert asked == [200, 200, 200]
        newest, size = report.checkpoint, partition.end_offset
        wrong = AddCheckpoint(5, tuple(partition.consistency_proof(5, size).path), newest.note)
        assert theirs.handle_add_checkpoint_http(wrong.encode().decode())[0] == 409


def test_our_witness_signs_for_their_log(tmp_path: Path) -> None:
    theirs = witness_log.WitnessLog.generate()
    key = SigningKey.generate("w.example", witness=True)
    log_key = VerifierKey.parse(theirs.c2sp_vkey(theirs.canonical_origin()))
    with (
        Witness(key, [log_key], tmp_path / "state") as witness,
        witness_at(witness) as url,
    ):
        web, old = Web(), 0
        for count in (1, 6, 40):
            for number in range(count):
                theirs.append_memory(b"%d" % number)
            size = theirs.tree_size()
            body = theirs.add_checkpoint_body_at(size, old)
            body = body if isinstance(body, bytes) else body.encode()
            answer = web.request("POST", f"{url}/add-checkpoint", body=body)
            assert answer.status == 200, answer.body
            (line,) = parse_signatures(answer.body)
            text = parse_note(body.split(b"\n\n", 1)[1]).text
            assert key.verifier.is_signed_by(line, text)
            again = web.request("POST", f"{url}/add-checkpoint", body=body)
            assert (again.status, again.body) == (409, b"%d\n" % size)
            old = size
        web.close()
