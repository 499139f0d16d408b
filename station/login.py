"""Signing in at a station's door from another machine, or as another person: a file with the address and the token."""

import contextlib
import http.client
import json
import os
import sys
from getpass import getpass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from domain.errors import InputError, LockgateError
from station import credentials


class Login(NamedTuple):
    """A door, and the token to show there."""

    url: str
    token: str


def known() -> Login | None:
    """By LOCKGATE_URL and LOCKGATE_TOKEN_FILE, else by `lockgate login`; None if neither is there."""
    url, file = os.environ.get("LOCKGATE_URL"), os.environ.get("LOCKGATE_TOKEN_FILE")
    if url and file:
        return Login(_address(url), _private(Path(file)).strip())
    try:
        kept = json.loads(_private(_file()))
        return Login(str(kept["url"]), str(kept["token"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as err:
        raise InputError(f"{_file()} is damaged: `lockgate login URL` makes it anew") from err


def login(url: str, token_file: Path | None) -> str:
    """Ask for the token, try it, and keep both in a file of mode 600; who it is, as a sentence."""
    address = _address(url)
    if token_file is not None:
        token = _private(token_file).strip()
    else:
        token = getpass("token: ").strip() if sys.stdin.isatty() else sys.stdin.readline().strip()
    me = _who(Login(address, token))
    credentials.folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = _file().with_name(f".login.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump({"url": address, "token": token}, file)
    draft.replace(_file())
    return f"signed in at {address} as {me['name']}, who may {', '.join(me['roles'])}"


def logout() -> str:
    """Forget them."""
    with contextlib.suppress(FileNotFoundError):
        _file().unlink()
    return "signed out: commands use this machine's own station again"


def _file() -> Path:
    return credentials.folder() / "login.json"


def _private(path: Path) -> str:
    """A file that nobody else may read. Raises InputError for any other."""
    try:
        with open(path) as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise InputError(f"{path} can be read by others: chmod 600 {path}")
            return file.read()
    except FileNotFoundError:
        if path == _file():
            raise
        raise InputError(f"there is no file {path}") from None
    except (OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path} cannot be read: {err}") from err


def _address(url: str) -> str:
    try:
        place = urlsplit(url.rstrip("/"))
        fits = place.scheme in ("http", "https") and place.hostname and place.port != 0
    except ValueError:
        fits = False
    if not fits or place.path or place.query or place.fragment or "@" in place.netloc:
        raise InputError(f"{url!r} is no address of a door: give one such as https://lockgate.example.org")
    if place.scheme == "http" and not _is_loopback(str(place.hostname)):
        print(f"lockgate: the token crosses the network to {place.hostname} in the clear", file=sys.stderr)
    return f"{place.scheme}://{place.netloc}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _who(login: Login) -> dict[str, Any]:
    """What the door says of a token. Raises InputError if it does not know it."""
    place = urlsplit(login.url)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(str(place.hostname), place.port, timeout=30)
    try:
        connection.request("GET", "/door/me", headers={"Authorization": f"Bearer {login.token}"})
        answer = connection.getresponse()
        told = json.loads(answer.read(65_536))
        if answer.status != 200:
            raise InputError(f"{login.url} answers {answer.status}: {told['detail']}")
        return {"name": told["name"], "roles": told["roles"]}
    except (OSError, http.client.HTTPException) as err:
        raise LockgateError(f"nothing answers at {login.url}: {err}") from err
    except (ValueError, KeyError, TypeError) as err:
        raise InputError(f"what answers at {login.url} is no door of Lockgate") from err
    finally:
        connection.close()
