"""RFC 3161 timestamps: an authority's proof that a checkpoint existed by some time.

By the package rfc3161-client (extra ``merkql[timestamp]``). The checkpoint's text is stamped, so
that ``openssl ts -verify -data TEXT -in TOKEN`` checks it too. Checking works offline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from typing import Any

from merkql.proof import ProofError
from merkql.storage.history import KeptCheckpoint
from merkql.storage.partition import Partition
from merkql.transparency.web import Web, WebError

QUERY, REPLY = "application/timestamp-query", "application/timestamp-reply"
REPLY_SIZE_MAX = 1 << 16
_GRANTED = (0, 1)  # granted, and granted with modifications


def stamp(
    partition: Partition,
    url: str,
    *,
    roots: Sequence[bytes] = (),
    web: Web | None = None,
) -> KeptCheckpoint:
    """Have the authority at ``url`` stamp the newest checkpoint, and store its answer.

    ``roots``: PEM certificates to check the answer with at once; without them only the stamped
    content is compared. Raises ``ValueError`` if nothing was signed yet, ``ProofError`` for an
    answer that is not such a timestamp, ``WebError`` without an answer.
    """
    kept = partition.newest_checkpoint()
    if kept is None:
        raise ValueError("nothing was signed yet: make a checkpoint, then have it stamped")
    library = _library()
    text = kept.text
    builder = library.TimestampRequestBuilder().data(text)
    request = builder.hash_algorithm(library.HashAlgorithm.SHA256).build()
    own, web = web is None, web or Web()
    try:
        answer = web.request(
            "POST", url, body=request.as_bytes(), content_type=QUERY, size_max=REPLY_SIZE_MAX
        )
    finally:
        if own:
            web.close()
    if answer.status != 200:
        raise WebError(f"{url}: status {answer.status}")
    info = _read(answer.body, text)
    if info.nonce != request.nonce:
        raise ProofError("the authority answered another request: the nonce differs")
    if roots:
        check_stamp(answer.body, text, roots)
    stamped = replace(kept, timestamps=(answer.body,))
    partition.keep(stamped)
    return stamped


def check_stamp(token: bytes, text: bytes, roots: Sequence[bytes]) -> datetime:
    """When ``text`` was stamped; ``ProofError`` unless by an authority under ``roots`` (PEM)."""
    from cryptography import x509

    library = _library()
    info = _read(token, text)
    builder = library.VerifierBuilder()
    for pem in roots:
        for certificate in x509.load_pem_x509_certificates(pem):
            builder = builder.add_root_certificate(certificate)
    try:
        builder.build().verify_message(library.decode_timestamp_response(token), text)
    except library.VerificationError as error:
        raise ProofError(f"the timestamp does not check out: {error}") from None
    time: datetime = info.gen_time
    return time


def stamped_at(token: bytes, text: bytes) -> datetime:
    """The time in a token; checks what was stamped, but not by whom."""
    time: datetime = _read(token, text).gen_time
    return time


def _read(token: bytes, text: bytes) -> Any:
    """The content of a token; ``ProofError`` if it is not about ``text``."""
    try:
        response = _library().decode_timestamp_response(token)
        if response.status not in _GRANTED:
            reasons = " ".join(response.status_string) or "no reason given"
            raise ProofError(f"the authority did not stamp: {reasons}")
        info = response.tst_info
    except ValueError as error:
        raise ProofError(f"not a timestamp: {error}") from None
    if info.message_imprint.message != sha256(text).digest():
        raise ProofError("the timestamp is of something else")
    return info


def _library() -> Any:
    try:
        import rfc3161_client
    except ImportError as error:
        raise ImportError(
            "timestamps need the package rfc3161-client: pip install 'merkql[timestamp]'"
        ) from error
    return rfc3161_client
