"""Ed25519 (RFC 8032), by the package ``cryptography`` of the extra ``merkql[sign]``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

KEY_SIZE = 32
SIGNATURE_SIZE = 64


def public_key(seed: bytes) -> bytes:
    """The 32 bytes of the public key that belongs to a private one."""
    public: bytes = _private_key(seed).public_key().public_bytes_raw()
    return public


def sign(seed: bytes, message: bytes) -> bytes:
    """The signature, 64 bytes; the same for the same key and message. Cost: about 40 µs."""
    signature: bytes = _private_key(seed).sign(message)
    return signature


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this key made the signature for this message."""
    from cryptography.exceptions import InvalidSignature

    if len(public) != KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        return False
    try:
        _library().Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=16)
def _private_key(seed: bytes) -> Any:
    """Cached: constructing a key costs as much as a signature."""
    return _library().Ed25519PrivateKey.from_private_bytes(seed)


def _library() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ImportError(
            "signatures need the package cryptography: pip install 'merkql[sign]'"
        ) from error
    return ed25519
