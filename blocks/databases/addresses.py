"""Database URLs and what hides the secrets in them."""

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

from domain.errors import InputError
from domain.health import Clean

_SHORTEST_SECRET = 4
"""A shorter password is in every other line of a text; to replace it would only show where it is."""


def with_query(url: str, extra: Mapping[str, str]) -> str:
    """The URL with these options; `options` is added to what is there, since libpq takes several in one."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in extra.items():
        query[name] = f"{query[name]} {value}" if name == "options" and query.get(name) else value
    # libpq and SQLAlchemy both read %20; only one of them reads + as a space
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote)))


def with_place(url: str, user: str, password: str, database: str) -> str:
    """The URL with another account and database on the same server, its other options kept."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    query = [(name, value) for name, value in parse_qsl(parts.query) if name not in ("user", "password", "dbname")]
    return urlunsplit(
        parts._replace(
            netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}",
            path=f"/{quote(database, safe='')}",
            query=urlencode(query, quote_via=quote),
        )
    )


def libpq_url(url: str) -> str:
    """The URL without the driver that SQLAlchemy is told in it. Raises InputError if it is none of PostgreSQL."""
    scheme, mark, rest = url.partition("://")
    if not mark or scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise InputError("the database's url is not one of PostgreSQL: give postgresql://USER:PASSWORD@HOST/DATABASE")
    return f"postgresql://{rest}"


def clean(*urls: str) -> Clean:
    """Takes these URLs and the passwords in them out of a text, as they are and as a URL writes them."""
    secrets = set()
    for url in urls:
        parts = urlsplit(url)
        values = [value for name, value in parse_qsl(parts.query) if name in ("password", "sslpassword")]
        if parts.password:
            values += [parts.password, unquote(parts.password)]
        secrets |= {form for value in values for form in (value, quote(value, safe="")) if value}
    shown = [url for url in urls if urlsplit(url).password or "password=" in url]
    forms = sorted({*shown, *(s for s in secrets if len(s) >= _SHORTEST_SECRET)}, key=len, reverse=True)

    def cleaned(text: str) -> str:
        for form in forms:
            text = text.replace(form, "[secret]")
        return text

    return cleaned
