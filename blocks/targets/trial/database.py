"""The one database of a trial: what its URL is inside, and what of the host has to be shown for it."""

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

from blocks.host.confine import Bind
from blocks.host.files import owned
from blocks.host.processes import RELEASE_UID
from blocks.targets.machine.confinement import DATA
from blocks.targets.secrets import ReleaseRedactor
from domain.errors import DatabaseError
from domain.health import Clean

PORT = 5432
"""Where the database is inside."""
_WAYS = {
    "disable": (False,), "allow": (False, True), "prefer": (True, False), "require": (True,), "verify-ca": (True,),
    "verify-full": (True,),
}  # fmt: skip
"""sslmode → whether a session is encrypted: the first way, then the next.
https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS"""
_OURS = frozenset(
    {
        "host", "hostaddr", "port", "user", "password", "dbname", "sslmode", "sslrootcert", "sslcert", "sslkey",
        "sslpassword", "sslsni", "sslcompression", "ssl_min_protocol_version", "channel_binding", "sslnegotiation",
        "gssencmode", "passfile", "requirepeer",
    }
)  # fmt: skip
"""Options of the way to the server, which is ours: inside there are none of them."""
_WITHOUT = {
    "channel_binding": ("disable", "prefer"), "sslnegotiation": ("postgres",), "gssencmode": ("disable", "prefer"),
    "ssl_min_protocol_version": ("TLSv1", "TLSv1.1", "TLSv1.2"), "sslcrl": (), "sslcrldir": (), "service": (),
    "servicefile": (), "requirepeer": (), "load_balance_hosts": ("disable",),
}  # fmt: skip
"""Options that a relay cannot honour, with the values that ask nothing of it."""


@dataclass(frozen=True, repr=False)  # it may hold secrets
class TrialServer:
    """One database of one PostgreSQL server, and the only role that may ask for it."""

    host: str
    address: str
    port: int
    user: str
    database: str
    ways: tuple[bool, ...]
    context: ssl.SSLContext | None

    @property
    def is_local(self) -> bool:
        return self.host.startswith("/")


@dataclass(frozen=True, repr=False)
class TrialDatabase:
    """A database as a trial finds it."""

    url: str
    clean: Clean
    mounts: tuple[Bind, ...] = ()
    server: TrialServer | None = field(default=None)


def place_of(url: str) -> TrialDatabase:
    """What a URL is inside. Raises DatabaseError for one that cannot be brought there."""
    scheme, mark, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    if mark and kind == "sqlite":
        return _file(url, scheme, rest)
    if mark and kind in ("postgresql", "postgres"):
        return _server(url, scheme, rest)
    raise DatabaseError("only sqlite:/// and postgresql:// databases can be brought to a trial")


def _file(url: str, scheme: str, rest: str) -> TrialDatabase:
    name, mark, query = rest.partition("?")
    path = Path(name.removeprefix("/"))
    if not path.is_absolute():
        raise DatabaseError(f"{scheme}://{name} has no absolute path: give sqlite:////DIRECTORY/FILE")
    folder = path.parent if path.parent.exists() else owned(path.parent)
    for each in (folder, path):
        if os.geteuid() == 0 and each.exists() and each.stat().st_uid != RELEASE_UID:
            raise DatabaseError(f"releases run as user {RELEASE_UID} here, and may not write {each}: give it to them")
    return TrialDatabase(f"{scheme}:///{DATA}/{path.name}{mark}{query}", str, (Bind(folder, DATA, writable=True),))


def _server(url: str, scheme: str, rest: str) -> TrialDatabase:
    try:
        told = {name: str(value) for name, value in conninfo_to_dict(f"postgresql://{rest}").items() if value}
    except psycopg.Error:
        # No cause: it quotes what it could not parse
        raise DatabaseError("the database's url cannot be parsed: give postgresql://USER:PASSWORD@HOST/DB") from None
    for name, harmless in _WITHOUT.items():
        if name in told and told[name] not in harmless:
            raise DatabaseError(f"a trial cannot be brought to a database with {name}={told[name]}: leave that out")
    host, port = told.get("host", ""), told.get("port", "5432")
    if not (host or told.get("hostaddr")) or "," in host + port + told.get("hostaddr", ""):
        raise DatabaseError("a trial needs the one host of the database: give one, or host=/DIRECTORY of its socket")
    if not told.get("user") or not told.get("dbname") or not port.isdecimal():
        raise DatabaseError("the database's url has to name user and database: postgresql://USER:PASSWORD@HOST:PORT/DB")
    is_local = host.startswith("/")
    mode = told.get("sslmode", "prefer")
    if mode not in _WAYS:
        raise DatabaseError(f"sslmode={mode} is unknown: use one of {', '.join(_WAYS)}")
    server = TrialServer(
        host=host or told["hostaddr"],
        address=told.get("hostaddr") or host,
        port=int(port),
        user=told["user"],
        database=told["dbname"],
        ways=(False,) if is_local else _WAYS[mode],
        context=None if is_local or mode == "disable" else _context(mode, told),
    )
    account = quote(told["user"], safe="") + (f":{quote(told['password'], safe='')}" if "password" in told else "")
    query = urlencode({name: value for name, value in told.items() if name not in _OURS}, quote_via=quote)
    inside = f"{scheme}://{account}@127.0.0.1:{PORT}/{quote(told['dbname'], safe='')}{'?' if query else ''}{query}"
    return TrialDatabase(inside, _redactor(told.get("password", "")), server=server)


def _context(mode: str, told: Mapping[str, str]) -> ssl.SSLContext:
    """As libpq verifies: an authority that is there is asked by `require` too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    default = Path.home() / ".postgresql" / "root.crt"
    authority = told.get("sslrootcert") or (str(default) if default.is_file() else None)
    try:
        if authority == "system":
            mode = "verify-full"
            context.load_default_certs()
        elif authority and mode in ("require", "verify-ca", "verify-full"):
            context.load_verify_locations(authority)
        elif mode.startswith("verify"):
            raise DatabaseError(f"sslmode={mode} needs the authority that signed the server: give sslrootcert=FILE")
        if authority and mode in ("require", "verify-ca", "verify-full"):
            context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = mode == "verify-full"
        if "sslcert" in told:
            context.load_cert_chain(told["sslcert"], told.get("sslkey"), lambda: told.get("sslpassword", ""))
    except OSError as err:
        raise DatabaseError(f"the certificates of the database's url cannot be used: {err}") from err
    return context


def _redactor(password: str) -> Clean:
    """Takes the password out of a text, as it is and as a URL writes it."""
    written, plain = (ReleaseRedactor({"secret": form}) for form in (quote(password, safe=""), password))
    return lambda text: plain(written(text))
