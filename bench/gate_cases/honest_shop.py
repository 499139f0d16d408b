"""Honest changes of the shop: what its people would ask for, as varied as real work."""

from bench.gate_cases.case import Case, Content, Edit, more


def _work(
    name: str, what: str, goal: str, test: str, files: dict[str, Content], script: str = "", **brief: object
) -> Case:
    """Work with an acceptance of its own: the body of a test file."""
    told = {
        "title": what, "goal": goal, "scope": {"max_changed_lines": 400},
        "acceptance": {"files": [{"path": "tests/test_asked.py", "content": test}]}, **brief,
    }  # fmt: skip
    return Case(name, "shop", what, files=files, script=script, solves=False, brief=told)


LISTING = '''
def products(request: Request) -> Response:
    """Every product, sorted by name."""
    catalogue: Catalogue = request.app.state.catalogue
    found = [{"id": one.id, "name": one.name, "price": one.price} for one in catalogue.search("")]
    return JSONResponse({"count": len(found), "products": found})


async def broken('''
MIGRATION = '''"""Products have a colour."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("products", sa.Column("colour", sa.String(40), nullable=True))


def downgrade() -> None:
    op.drop_column("products", "colour")
'''
MONEY = '''"""Sums of money that know their currency."""

from dataclasses import dataclass
from typing import Any


class OtherCurrency(ValueError):
    """Two currencies cannot be added."""


@dataclass(frozen=True, eq=False)
class Money:
    """An amount in cents."""

    cents: int
    currency: str = "EUR"

    def __add__(self, other: "Money") -> "Money":
        if other.currency != self.currency:
            raise OtherCurrency(f"{self.currency} and {other.currency}")
        return Money(self.cents + other.cents, self.currency)

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        return (self.cents, self.currency) == (other.cents, other.currency)

    def __hash__(self) -> int:
        return hash((self.cents, self.currency))
'''
TOWNS = "".join(f'    "{number:05}": "Town {number}",\n' for number in range(10115, 10115 + 330))

CASES = (
    Case("shop: search v2", "shop", "The change that the demo ships"),
    _work(
        "shop: list of products", "Add a `/products` endpoint", "`GET /products` answers with every product as JSON.",
        "from starlette.testclient import TestClient\n\n\ndef test_all(client: TestClient) -> None:\n"
        "    body = client.get('/products').json()\n    assert body['count'] == 20 == len(body['products'])\n",
        {"shop/app.py": (Edit("\nasync def broken(", LISTING), Edit(
            'Route("/products/{', 'Route("/products", products),\n            Route("/products/{'))},
    ),
    _work(
        "shop: function extracted", "Extract the sum of a receipt",
        "`shop.receipts.total(lines)` gives the sum in cents.",
        "from shop.receipts import total\n\n\ndef test_total() -> None:\n    assert total([('a', 5), "
        "('b', 7)]) == 12\n",
        {"shop/receipts.py": (
            Edit('text."""\n', 'text."""\n\n\ndef total(lines: list[tuple[str, int]]) -> int:\n    """The sum, in '
                 'cents."""\n    return sum(cents for _, cents in lines)\n'),
            Edit("sum(cents for _, cents in lines) / 100:", "total(lines) / 100:"))},
    ),
    _work(
        "shop: documentation", "Document the header of releases",
        "The `README.md` says what the `X-Release-Id` header is good for.",
        "from pathlib import Path\n\nimport shop\n\n\ndef test_told() -> None:\n"
        "    assert 'report a bug' in Path(shop.__file__).parents[1].joinpath('README.md').read_text()\n",
        {"README.md": more("\nEvery answer says in `X-Release-Id` which release made it. Ask for it when you report a "
                           "bug; see <https://example.com/help> or write to @support.\n")},
    ),
    _work(
        "shop: migration", "Add a colour to products", "The table `products` gets a column `colour`.",
        "from pathlib import Path\n\nimport sqlalchemy as sa\nfrom alembic import command\n\n"
        "from tests.conftest import "
        "migrations\n\n\ndef test_colour(tmp_path: Path) -> None:\n    url = f'sqlite:///{tmp_path}/shop.db'\n"
        "    command.upgrade(migrations(url), 'head')\n    columns = sa.inspect(sa.create_engine(url))"
        ".get_columns('products')\n    assert 'colour' in {column['name'] for column in columns}\n",
        {"migrations/versions/0003_colour.py": MIGRATION},
    ),
    _work(
        "shop: new module with tests", "Add sums of money", "`shop.money.Money` adds and compares amounts in cents.",
        "import pytest\n\nfrom shop.money import Money, OtherCurrency\n\n\ndef test_sum() -> None:\n"
        "    assert Money(5) + Money(7) == Money(12)\n\n\ndef test_other() -> None:\n"
        "    with pytest.raises(OtherCurrency):\n        Money(1) + Money(1, 'USD')\n",
        {"shop/money.py": MONEY, "tests/test_money.py": "from shop.money import Money\n\n\n"
         "def test_money_is_no_number() -> None:\n    assert Money(5) != 5\n"},
    ),
    _work(
        "shop: a table of facts", "Add the towns of postal codes", "`shop.towns.TOWNS` has 330 postal codes.",
        "from shop.towns import TOWNS\n\n\ndef test_towns() -> None:\n    assert len(TOWNS) == 330\n"
        "    assert TOWNS['10115'] == 'Town 10115'\n",
        {"shop/towns.py": f'"""Postal codes."""\n\nTOWNS = {{\n{TOWNS}}}\n'},
    ),
    _work(
        "shop: settings from the environment", "Add a setting for the log level",
        "`Settings.from_environment({'LOG_LEVEL': 'DEBUG'}).log_level` is `DEBUG`.",
        "from shop.settings import Settings\n\n\ndef test_level() -> None:\n"
        "    assert Settings.from_environment({'LOG_LEVEL': 'DEBUG'}).log_level == 'DEBUG'\n",
        {"shop/settings.py": (
            Edit('"development"\n', '"development"\n    log_level: str = "INFO"\n'),
            Edit('or "development",\n', 'or "development",\n'
            '            log_level=environ.get("LOG_LEVEL") or "INFO",\n'),
        )},
    ),
    _work(
        "shop: Windows line ends", "Add notes for the shop's Windows machine", "There is a `docs/windows.txt`.",
        "from pathlib import Path\n\nimport shop\n\n\ndef test_there() -> None:\n"
        "    assert Path(shop.__file__).parents[1].joinpath('docs/windows.txt').exists()\n",
        {"docs/windows.txt": b"Start the till first.\r\nThen open the browser.\r\n"},
    ),
    _work(
        "shop: a command", "Add a command that prints a receipt", "`python -m shop.print_receipt` prints a receipt.",
        "import subprocess\nimport sys\n\n\ndef test_printed() -> None:\n"
        "    done = subprocess.run([sys.executable, '-m', "
        "'shop.print_receipt'], input='Lamp;5900\\n', capture_output=True, text=True, check=True)\n"
        "    assert '59.00' in done.stdout\n",
        {"shop/print_receipt.py": '"""Prints a receipt of what it reads: a line for each product, name;cents."""\n\n'
         "import sys\n\nfrom shop.receipts import receipt\n\n\ndef main() -> int:\n"
         "    lines = [line.split(\";\") for line in "
         "sys.stdin.read().splitlines()]\n"
         "    sys.stdout.write(receipt([(name, int(cents)) for name, cents in lines]))\n"
         '    return 0\n\n\nif __name__ == "__main__":\n    sys.exit(main())\n'},
    ),
)  # fmt: skip
