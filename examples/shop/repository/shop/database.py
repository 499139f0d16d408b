"""The table of products, and the questions we ask it."""

from dataclasses import dataclass

import sqlalchemy as sa

metadata = sa.MetaData()

products = sa.Table(
    "products",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(120), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("price_cents", sa.Integer, nullable=False),
)


@dataclass(frozen=True)
class Product:
    """One product. `price` is in euros, with two decimals, such as "64.90"."""

    id: int
    name: str
    description: str
    price_cents: int

    @property
    def price(self) -> str:
        return f"{self.price_cents // 100}.{self.price_cents % 100:02}"


class Catalogue:
    """The products in the database."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, pool_pre_ping=True)

    def search(self, text: str, limit: int = 50) -> list[Product]:
        """Products with `text` in their name or description, in any case, sorted by name."""
        found = products.c.name.icontains(text, autoescape=True) | products.c.description.icontains(
            text, autoescape=True
        )
        return self._read(sa.select(products).where(found).order_by(products.c.name).limit(limit))

    def get(self, product_id: int) -> Product | None:
        return next(iter(self._read(sa.select(products).where(products.c.id == product_id))), None)

    def problem(self) -> str | None:
        """Why products cannot be read; None where they can."""
        try:
            self._read(sa.select(products).limit(1))
        except sa.exc.SQLAlchemyError as err:
            return str(err.__cause__ or err)
        return None

    def close(self) -> None:
        self._engine.dispose()

    def _read(self, query: sa.Select[tuple[int, str, str, int]]) -> list[Product]:
        with self._engine.connect() as connection:
            return [Product(**row._mapping) for row in connection.execute(query)]
