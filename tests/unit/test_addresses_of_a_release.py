"""What a release in a network of its own reaches, by the variables and settings of its environment."""

import pytest

from blocks.targets.network import Ways, addresses_of
from domain.errors import InputError


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("postgresql://shop:a%40b@db.internal/shop", ["db.internal:5432"]),
        ("postgresql+psycopg://shop:p@ss@127.0.0.1:5433/shop?sslmode=require", ["127.0.0.1:5433"]),
        ("postgres://LOCALHOST/shop", ["127.0.0.1:5432"]),
        ("mongodb://one:27017,two/shop", ["one:27017", "two:27017"]),
        ("redis://:secret@127.0.0.2:6380/0", ["127.0.0.2:6380"]),
        ("amqps://queue.example.com", ["queue.example.com:5671"]),
        ("postgresql:///shop?host=/run/postgresql", []),
        ("sqlite:////data/shop.db", []),
        ("https://api.example.com/v1", []),
        ("http://127.0.0.1:4200/api", []),
        ("file:///etc/passwd", []),
        ("127.0.0.1:5432", []),
        ("postgresql://db:notaport/shop", []),
        ("blue", []),
    ],
)
def test_a_url_of_a_database_names_one_address_and_other_words_name_none(value: str, found: list[str]) -> None:
    assert [f"{a.host}:{a.port}" for a in addresses_of((), {"ANY": value})] == found


@pytest.mark.parametrize(
    ("reach", "granted", "said"),
    [
        (("db.internal",), {}, "is not HOST:PORT"),
        (("db.internal:0",), {}, "is not HOST:PORT"),
        (("10.0.0.5:5432",), {}, "give 10.0.0.5 a name"),
        (("[::1]:5432",), {}, "give ::1 a name"),
        (("db internal:5432",), {}, "no name of a host"),
        (("a=/run/docker.sock:80",), {}, "no name of a host"),
        (("127.0.0.1:3128",), {}, "the way to the egress gateway"),
        ((), {"DATABASE_URL": "postgresql://10.0.0.5/shop"}, "DATABASE_URL names 10.0.0.5"),
    ],
)
def test_what_cannot_be_reached_is_refused_by_its_name(
    reach: tuple[str, ...], granted: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        addresses_of(reach, granted)


def test_an_address_is_there_once_and_the_release_listens_where_none_of_them_is() -> None:
    found = addresses_of(("localhost:5432", "127.0.0.1:8000"), {"URL": "postgresql://127.0.0.1/shop"})
    assert [f"{a.host}:{a.port}" for a in found] == ["127.0.0.1:5432", "127.0.0.1:8000"]
    assert (Ways(found).port, Ways().port) == (8001, 8000)
