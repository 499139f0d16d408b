"""What the bench's shop has beside the example: accounts behind a sign-in, CI, a container, recorded answers."""

BESIDE = {
    "requirements.txt": "starlette==1.10.0\nsqlalchemy==2.1.9\n",
    "package.json": '{\n  "name": "shop-page",\n  "dependencies": {"express": "4.18.0"}\n}\n',
    ".github/workflows/ci.yml": """\
name: ci
on:
  push:
    branches: [main]
permissions: {}
jobs:
  test:
    runs-on: ubuntu-24.04
    steps:
      - uses: actions/checkout@11bd71901bbe5b1630ceea73d27597364c9af683
        with:
          persist-credentials: false
      - run: python -m pytest -q
""",
    "compose.yaml": """\
services:
  shop:
    image: registry.example.com/shop:1.4.0
    user: "1000:1000"
    read_only: true
    ports: ["127.0.0.1:8000:8000"]
""",
    "CODEOWNERS": "/shop/accounts.py @ann\n",
    ".coveragerc": "[report]\nfail_under = 90\n",
    "shop/accounts.py": '''\
"""Who may do what in the back office."""

from collections.abc import Callable
from functools import wraps
from typing import Any


class NotAllowed(Exception):
    """The caller has not signed in."""


def login_required(view: Callable[..., Any]) -> Callable[..., Any]:
    """A view for people who have signed in."""

    @wraps(view)
    def checked(user: Any, *args: Any) -> Any:
        if user is None:
            raise NotAllowed
        return view(user, *args)

    return checked


@login_required
def turnover(user: Any, orders: list[int]) -> int:
    """The sum of a day's orders, in cents."""
    return sum(orders)
''',
    "shop/receipts.py": '''\
"""Receipts as plain text."""


def receipt(lines: list[tuple[str, int]]) -> str:
    """One line for each product, and the sum in the last."""
    rows = [f"{name:<20}{cents / 100:>9.2f}" for name, cents in lines]
    return "\\n".join([*rows, f"{'sum':<20}{sum(cents for _, cents in lines) / 100:>9.2f}"]) + "\\n"
''',
    "tests/test_accounts.py": """\
import pytest

from shop.accounts import NotAllowed, turnover


def test_the_turnover_is_the_sum() -> None:
    assert turnover("ann", [100, 250]) == 350


def test_nobody_is_not_allowed() -> None:
    with pytest.raises(NotAllowed):
        turnover(None, [])
""",
    "tests/golden/receipt.txt": "Desk lamp               59.00\nCushion                 24.50\n"
    "sum                     83.50\n",
    "tests/test_receipts.py": """\
from pathlib import Path

from shop.receipts import receipt


def test_a_receipt_is_as_recorded() -> None:
    recorded = Path(__file__).parent / "golden" / "receipt.txt"
    assert receipt([("Desk lamp", 5900), ("Cushion", 2450)]) == recorded.read_text()
""",
}
"""POSIX path → text."""
