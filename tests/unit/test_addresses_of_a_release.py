"""What a release in a network of its own reaches, by the variables and settings of its environment."""

import pytest

from blocks.targets.machine.network import Ways, addresses_of
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
        ((), {"DATABASE_URL": "postgresql://shop@127.0.0.1:3128/shop"}, "DATABASE_URL names the port 3128"),
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


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("postgresql://shop:a@b@10.0.0.5/shop?x=10.0.0.5", "postgresql://shop:a@b@127.77.0.1/shop?x=10.0.0.5"),
        ("mongodb://10.0.0.5:27018,db.internal,[fd00::5]:1/s", "mongodb://127.77.0.1:27018,db.internal,127.77.0.3:1/s"),
        ("redis://[::1]", "redis://127.77.0.1"),
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("postgresql://db.internal/shop", "postgresql://db.internal/shop"),
        ("https://10.0.0.5/v1", "https://10.0.0.5/v1"),
        ("10.0.0.5", "10.0.0.5"),
    ],
)
def test_a_machine_that_a_url_names_by_address_is_led_to_by_the_loopback(given: str, seen: str) -> None:
    assert Ways(addresses_of((), {"URL": given})).as_seen_inside(given) == seen
