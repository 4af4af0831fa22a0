"""examples/event_sourced_cart.py ends with the carts and the revenue that its events add up to.

The figures are those the original of this example prints, checked here by plain multiplication.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from decimal import Decimal

import pytest

CARTS = {
    "cart-1": "Widget 3 29.97, Gadget 1 24.99, Thingamajig 1 15.00, Gizmo 2 15.00, "
    "Doodad 3 17.97, Spring 4 9.00, Lever 1 13.50",
    "cart-2": "Sprocket 5 16.25, Gear 2 24.00, Bearing 4 27.00, Bracket 2 17.00, "
    "Axle 1 35.00, Pulley 2 22.00",
    "cart-3": "Bolt 100 10.00, Nut 100 8.00, Rivet 200 6.00, Pin 50 7.50, Screw 150 6.00, "
    "Anchor 10 12.00",
}
LATER_ITEMS = 5 * Decimal("2.50") + 8 * Decimal("1.75") + 3 * Decimal("4.00") - Decimal("12.00")


@pytest.fixture(scope="module")
def output(
    run_example: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    done = run_example("event_sourced_cart.py", tmp_path_factory.mktemp("cart"))
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def total(cart: str) -> Decimal:
    return sum((Decimal(item.split()[2]) for item in CARTS[cart].split(", ")), Decimal())


def test_each_group_gets_every_event_once(output: str) -> None:
    assert re.findall(r"Group (\S+) polled (\d+) events", output) == [
        ("cart-state", "30"),
        ("revenue", "30"),
        ("cart-state", "5"),
        ("revenue", "5"),
    ]


@pytest.mark.parametrize("cart", CARTS)
def test_first_state(output: str, cart: str) -> None:
    expected = [tuple(item.split()) for item in CARTS[cart].split(", ")]
    after = output[output.index(f"  {cart}: ") :].splitlines()
    assert after[0] == f"  {cart}: {len(expected)} items, total ${total(cart)}"
    shown = [re.fullmatch(r"    (\w+) x(\d+) = \$([\d.]+)", line) for line in after]
    own = [match.groups() for match in shown[1 : len(expected) + 1] if match]
    assert own == expected


def test_first_totals_are_those_of_the_original() -> None:
    assert [total(cart) for cart in CARTS] == [
        Decimal("125.43"),
        Decimal("141.25"),
        Decimal("49.50"),
    ]


def test_revenue(output: str) -> None:
    first = total("cart-1") + total("cart-2")
    second = first + total("cart-3") + LATER_ITEMS
    assert re.findall(r"Total revenue: \$([\d.]+)", output) == [str(first), str(second)]
    assert (str(first), str(second)) == ("266.68", "342.68")


def test_later_state_of_cart_3(output: str) -> None:
    later = output[output.index("Closed and opened again") :]
    assert "  cart-3: 8 items, total $76.00" in later
