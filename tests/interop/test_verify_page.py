"""verify.html in a real browser, from a disk: it says what proof.py says, of good files and bad.

Goal: somebody without Python comes to the same verdict. Method: Debian's Chromium, driven by
Playwright; whole files through the page's own input, thousands of damaged ones through its `judge`.
"""

from __future__ import annotations

import base64
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import merkql.proof
from merkql import Broker
from merkql.bundle import unpack
from merkql.proof import ProofError
from merkql.proofs import record_to_json
from support import evidence
from support.evidence import GROWTH, PROOF, RECORDS, ROOT, TREE, bundle_files, note

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
ROOT_DIRECTORY = Path(__file__).parents[2]
PAGE = ROOT_DIRECTORY / "docs" / "verify.html"
RECORD = record_to_json(RECORDS[6]).encode()
LOG, WITNESS = (signer.key for signer in evidence.signers())

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        opened.on("request", lambda request: errors.append(request.url))
        opened.goto(PAGE.as_uri())
        errors.clear()  # of itself
        yield opened
        assert not errors, "an error in the page, or it went to the network"
        browser.close()


def drop(page: Any, files: Sequence[bytes], trusted: Sequence[str] = ()) -> tuple[str, list[str]]:
    """The verdict on files given through the page's own input."""
    page.fill("#trusted", "")
    named = [
        {"name": f"file-{number}", "mimeType": "application/octet-stream", "buffer": content}
        for number, content in enumerate(files)
    ]
    page.set_input_files("#files", [])
    page.fill("#trusted", "\n".join(trusted))
    page.set_input_files("#files", named)
    page.locator("#verdict:not(:empty)").wait_for()
    return page.inner_text("#verdict"), page.locator("#reasons li").all_inner_texts()


JUDGE_MANY = """async ([cases, trusted]) => {
  const decode = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const verdicts = [];
  for (const files of cases)
    verdicts.push(await judge(files.map(decode), trusted).then(() => "", error =>
      error instanceof ProofError ? error.message : "BUG " + error));
  return verdicts;
}"""


def assert_agrees(page: Any, cases: Sequence[Sequence[bytes]], trusted: Sequence[str]) -> None:
    """The page and proof.py find the same cases good."""
    encoded = [[base64.b64encode(content).decode() for content in files] for files in cases]
    verdicts = page.evaluate(JUDGE_MANY, [encoded, list(trusted)])
    roots = [bytes.fromhex(line) for line in trusted if len(line) == 64]
    keys = [line for line in trusted if len(line) != 64]
    for files, said in zip(cases, verdicts, strict=True):
        try:
            merkql.proof.judge(files, roots, keys)
            expected = True
        except ProofError:
            expected = False
        assert not said.startswith("BUG"), (said, files)
        assert (said == "") is expected, (said, files)


def test_good_files(page: Any) -> None:
    tlog_proof = PROOF.to_tlog_proof(note()).encode()
    verdict, reasons = drop(page, [tlog_proof, RECORD], [LOG, WITNESS])
    assert verdict == "PROVED"
    assert reasons[0] == f"record 6 of the 13 with root {ROOT.hex()}"
    assert f"signed by {evidence.ORIGIN} and {evidence.WITNESS} at 2026-01-01" in reasons[1]
    assert len(reasons) == 2
    verdict, reasons = drop(page, bundle_files(), [LOG])
    assert verdict == "PROVED"
    assert "Not shown: what 1 of these records say: it was not given" in reasons
    assert "Not shown: that others were shown the same log: no witness's key was given" in reasons
    base = evidence.Signer("log.example", 1, bytes(range(32))).key
    assert drop(page, bundle_files(), [base])[0] == "PROVED"
    growth = [GROWTH.to_json().encode(), note(7, TREE.root(0, 7)).encode(), note().encode()]
    assert drop(page, growth, [LOG])[0] == "PROVED"
    assert drop(page, [PROOF.to_json().encode(), RECORD], [ROOT.hex()])[0] == "PROVED"


def test_forged_and_truncated_files(page: Any) -> None:
    proof = PROOF.to_tlog_proof(note()).encode()
    forged = RECORD.replace(b'"timestamp_ms": 1700000000006', b'"timestamp_ms": 1700000000007')
    assert forged != RECORD
    assert drop(page, [proof, forged], [LOG]) == (
        "NOT PROVED",
        ["the record is not the one that the proof was made for"],
    )
    assert drop(page, [proof[:-10], RECORD], [LOG])[0] == "NOT PROVED"
    assert drop(page, [PROOF.to_json().encode(), RECORD], ["00" * 32]) == (
        "NOT PROVED",
        ["the proof is for another root"],
    )
    assert drop(page, [b"PK\x03\x04\xff\xff"]) == (
        "NOT PROVED",
        ["a file is not text: of an archive, drop the files that are in it"],
    )
    stranger = evidence.Signer("stranger.example", 1, bytes(32)).key
    verdict = drop(page, [proof, RECORD], [stranger])
    assert verdict == ("NOT PROVED", ["the checkpoint is not signed by stranger.example"])


def test_erased_records(page: Any, tmp_path: Path) -> None:
    """What a log has left of them, and what who saved one can show still."""
    with Broker.temporary() as broker:
        broker.create_topic("orders", erasable=True)
        broker.producer().send_values("orders", [b"value %d" % n for n in range(20)])
        partition = broker.topic("orders").partition(0)
        root, saved = partition.root(), partition.read(7)
        before = partition.proof(7)
        partition.erase(7, 9)
        after = partition.proof(7).to_json().encode()
        partition.evidence(5, 15, tmp_path / "evidence.zip")
    whole = list(unpack((tmp_path / "evidence.zip").read_bytes()).values())
    record = record_to_json(saved, before.salt, indent=None).encode()
    verdict, reasons = drop(page, whole, [root.hex()])
    assert verdict == "PROVED"
    assert "Not shown: what 2 of these records say: it was not given" in reasons
    assert drop(page, [after], [root.hex()])[0] == "PROVED"
    assert drop(page, [before.to_json().encode(), record], [root.hex()])[0] == "PROVED"
    verdict, reasons = drop(page, [after, record], [root.hex()])
    assert verdict == "NOT PROVED"  # the salt is gone from the log
    forged = [record.replace(b'"value": "', b'"value": "AAAA'), record.replace(b"ms", b"sm", 1)]
    cases = [[*whole, record], [after, record], [after], *([*whole, one] for one in forged)]
    assert_agrees(page, cases, [root.hex()])


def test_it_agrees_with_the_program_on_every_damage(page: Any) -> None:
    """One bit flipped, cut, or a piece put elsewhere, in each of the kinds of files."""
    generator = random.Random(5)
    whole = [
        [PROOF.to_tlog_proof(note()).encode(), RECORD],
        [PROOF.to_json().encode(), RECORD, note().encode()],
        bundle_files(),
        [GROWTH.to_json().encode(), note(7, TREE.root(0, 7)).encode(), note().encode()],
    ]
    cases: list[list[bytes]] = []
    for _ in range(1500):
        files = [*generator.choice(whole)]
        at = generator.randrange(len(files))
        content = bytearray(files[at])
        kind, place = generator.randrange(4), generator.randrange(len(content))
        if kind == 0:
            content[place] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del content[place:]
        elif kind == 2:
            del content[place : place + generator.randrange(1, 50)]
        else:
            content[place:place] = generator.choice(
                [b"0", b"\n", b" ", b'"', b",", b"=", b"1.0", b"-"]
            )
        files[at] = bytes(content)
        cases.append(files)
    assert_agrees(page, cases, [LOG, WITNESS])
    assert_agrees(page, cases[:400], [])


def test_it_agrees_with_the_program_on_odd_texts(page: Any) -> None:
    proof, record = PROOF.to_json(), RECORD.decode()
    odd = [
        proof.replace('"size": 13', '"size": 13.0'),
        proof.replace('"size": 13', '"size": 1.3e1'),
        proof.replace('"size": 13', '"size": 14, "size": 13'),
        proof.replace('"size": 13', '"si\\u007ae": 13'),
        proof.replace('"size": 13', '"size": true'),
        proof.replace('"partition": null', '"partition": -0').replace('c": null', 'c": "t"'),
        proof.replace('"salt": ""', '"salt": null'),
        "\ufeff" + proof,
        proof.replace("\n", " "),
        proof.replace("merkql-proof/v1", "merkql-proof/v2"),
        proof + "x",
        "[" + proof + "]",
        proof.replace(ROOT.hex(), ROOT.hex().upper()),
    ]
    names = ["\u00e9", "", "\\ud83d\\ude00", "\\ud800", "__proto__", "a\\u0000b"]
    records = [record.replace("tr\\u00e4ce", name) for name in names]
    assert len(set(records)) == len(names)
    cases = [[text.encode(), RECORD] for text in odd] + [
        [proof.encode(), r.encode()] for r in records
    ]
    cases += [[proof.encode(), RECORD, RECORD]]
    assert_agrees(page, cases, [ROOT.hex()])


def test_it_agrees_with_the_program_on_groups_of_keys(page: Any) -> None:
    absent = evidence.Signer("witness.example/w2", 4, b"\x08" * 32).key
    tlog_proof = PROOF.to_tlog_proof(note()).encode()
    control = tlog_proof.replace(b"witness.example", b"witness\x01example")
    for keys in (
        [LOG, f"1 {absent} {WITNESS}"],
        [LOG, f"2 {absent} {WITNESS}"],
        [f"2 {LOG} {WITNESS}"],
        [f"2 {WITNESS} {WITNESS}"],
        [f"3 {LOG} {WITNESS}"],
        [f"0 {LOG}"],
        [f"{LOG} {WITNESS}"],
        [f"1  {LOG}"],
    ):
        assert_agrees(page, [[tlog_proof, RECORD], [control, RECORD]], keys)
    verdict, reasons = drop(page, [tlog_proof, RECORD], [LOG, f"1 {absent} {WITNESS}"])
    assert (verdict, len(reasons)) == ("PROVED", 2)
