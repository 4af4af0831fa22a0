"""The records of every benchmark: orders as JSON of an exact size, from a fixed seed.

Like real events they repeat their field names and differ in their values, so LZ4 finds what it
would find in practice.
"""

from __future__ import annotations

import json
import random

SEED = 20130101
CITIES = ("Vienna", "Lisbon", "Osaka", "Quito", "Nairobi", "Bergen", "Hobart", "Tampere")
STATES = ("placed", "paid", "packed", "shipped", "delivered", "returned")


def values(count: int, size_bytes: int = 256) -> list[bytes]:
    """`count` values of exactly `size_bytes` each, no two alike."""
    generator = random.Random(SEED)
    return [_order(generator, number, size_bytes) for number in range(count)]


def keys(count: int, distinct: int = 10_000) -> list[bytes]:
    """`count` keys drawn from `distinct` customers."""
    generator = random.Random(SEED)
    return [b"customer-%06d" % generator.randrange(distinct) for _ in range(count)]


def _order(generator: random.Random, number: int, size_bytes: int) -> bytes:
    order = {
        "order": number,
        "customer": generator.randrange(10_000),
        "city": generator.choice(CITIES),
        "state": generator.choice(STATES),
    }
    text = json.dumps(order, separators=(",", ":"))[:-1] + ',"lines":['
    while len(text) < size_bytes:
        article, cents = generator.randrange(50_000), generator.randrange(100, 99_999)
        text += f'{{"article":{article},"count":{generator.randrange(1, 9)},"cents":{cents}}},'
    return text[:size_bytes].encode()
