"""Shopping carts that exist only as events: two groups fold the same log into two views.

    python examples/event_sourced_cart.py [DIRECTORY]

Shows keys (the events of one cart stay in order) and groups that read the same events on their
own. A real program would keep each view beside its committed offsets; here they stay in memory.
Expects a directory that holds no earlier run.
"""

from __future__ import annotations

import interrupts  # noqa: F401 - first, so that Ctrl-C finds it whenever it comes

# isort: split
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from merkql import Broker, ProducerRecord, Record
from program import run

TOPIC = "cart-events"

# One line an event: cart, then what happened. `add` has a quantity and a price.
FIRST_EVENTS = """\
cart-1 add Widget 2 9.99
cart-1 add Gadget 1 24.99
cart-1 add Doohickey 3 4.50
cart-1 remove Doohickey
cart-1 add Thingamajig 1 15.00
cart-1 checkout
cart-2 add Sprocket 5 3.25
cart-2 add Cog 10 1.50
cart-2 add Gear 2 12.00
cart-2 remove Cog
cart-2 add Bearing 4 6.75
cart-2 checkout
cart-3 add Bolt 100 0.10
cart-3 add Nut 100 0.08
cart-3 add Washer 50 0.05
cart-1 add Gizmo 2 7.50
cart-2 add Flange 1 18.00
cart-3 add Rivet 200 0.03
cart-3 remove Washer
cart-1 add Doodad 3 5.99
cart-2 add Bracket 2 8.50
cart-3 add Pin 50 0.15
cart-1 add Widget 1 9.99
cart-2 remove Flange
cart-2 add Axle 1 35.00
cart-3 add Screw 150 0.04
cart-1 add Spring 4 2.25
cart-2 add Pulley 2 11.00
cart-3 add Anchor 10 1.20
cart-1 add Lever 1 13.50
"""
LATER_EVENTS = """\
cart-3 add Clamp 5 2.50
cart-3 add Hinge 8 1.75
cart-3 remove Anchor
cart-3 add Latch 3 4.00
cart-3 checkout
"""


@dataclass
class Cart:
    """Item -> (quantity, price); an item that is added again keeps its first price."""

    items: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    checked_out: bool = False

    def apply(self, event: dict[str, str]) -> None:
        if event["type"] == "AddItem":
            quantity, price = self.items.get(event["item"], (0, Decimal(event["price"])))
            self.items[event["item"]] = (quantity + int(event["quantity"]), price)
        elif event["type"] == "RemoveItem":
            self.items.pop(event["item"], None)
        else:
            self.checked_out = True

    def total(self) -> Decimal:
        return sum((quantity * price for quantity, price in self.items.values()), Decimal())


def main(directory: Path) -> None:
    states: dict[str, Cart] = {}
    revenue: dict[str, Cart] = {}
    with Broker.open(directory) as broker:
        broker.create_topic(TOPIC, partitions=2)
        produce(broker, FIRST_EVENTS)
        print_carts(broker, states, detailed=True)
        print_revenue(broker, revenue)

    with Broker.open(directory) as broker:
        print("  Closed and opened again.")
        produce(broker, LATER_EVENTS)
        print_carts(broker, states, detailed=False)
        print_revenue(broker, revenue)


def produce(broker: Broker, lines: str) -> None:
    events = [to_event(line) for line in lines.splitlines()]
    broker.producer().send_batch(events)
    print(f"  Produced {len(events)} events.")


def to_event(line: str) -> ProducerRecord:
    cart, action, *rest = line.split()
    event = {"type": {"add": "AddItem", "remove": "RemoveItem", "checkout": "Checkout"}[action]}
    event |= zip(("item", "quantity", "price"), rest, strict=False)
    return ProducerRecord(TOPIC, json.dumps(event), key=cart)


def poll_all(broker: Broker, group: str) -> list[Record]:
    """What the group has not read yet; closing the consumer commits it."""
    events: list[Record] = []
    with broker.consumer(group) as consumer:
        consumer.subscribe([TOPIC])
        while records := consumer.poll(timeout=0.05):
            events += records
    print(f"  Group {group} polled {len(events)} events.")
    return events


def fold(events: Iterable[Record], carts: dict[str, Cart]) -> None:
    for record in events:
        cart = carts.setdefault((record.key or b"").decode(), Cart())
        cart.apply(json.loads(record.value or b""))


def print_carts(broker: Broker, carts: dict[str, Cart], *, detailed: bool) -> None:
    fold(poll_all(broker, "cart-state"), carts)
    for name, cart in sorted(carts.items()):
        print(f"  {name}: {len(cart.items)} items, total ${cart.total():.2f}")
        for item, (quantity, price) in cart.items.items() if detailed else ():
            print(f"    {item} x{quantity} = ${quantity * price:.2f}")


def print_revenue(broker: Broker, carts: dict[str, Cart]) -> None:
    """A cart counts, with all that is in it, once it was checked out."""
    fold(poll_all(broker, "revenue"), carts)
    paid = {name: cart.total() for name, cart in sorted(carts.items()) if cart.checked_out}
    for name, total in paid.items():
        print(f"  {name}: ${total:.2f}")
    print(f"  Total revenue: ${sum(paid.values()):.2f}")


if __name__ == "__main__":
    run(main)
