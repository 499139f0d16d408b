"""What `sign-in.toml` in Lockgate's home says: who else tells at the desk who somebody is. It is read as it changes."""

import functools
import os
import tomllib
from pathlib import Path

import tomli_w
from pydantic import ValidationError

from blocks.home import home
from domain.errors import InputError
from domain.sign_in import OpenId, SignIn
from station import credentials

FILE, SECRET = "sign-in.toml", "openid-secret"


def known() -> SignIn:
    """Raises InputError if the file says what cannot be."""
    path = home() / FILE
    try:
        found = path.stat()
    except FileNotFoundError:
        return SignIn()
    return _read(path, found.st_mtime_ns, found.st_size)


def openid_secret() -> str:
    """What Lockgate shows to the provider; empty: nothing, PKCE alone."""
    path = credentials.folder() / SECRET
    return path.read_text().strip() if path.is_file() else ""


def keep_openid(openid: OpenId, secret: str) -> Path:
    """Where it was written. What else the file says stays."""
    made = known().model_copy(update={"openid": openid}).model_dump(mode="json", exclude_none=True)
    path, secret_path = home() / FILE, credentials.folder() / SECRET
    for place, text in ((secret_path, secret), (path, tomli_w.dumps(made))):
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = place.with_name(f"{place.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        draft.replace(place)
    return path


@functools.lru_cache(maxsize=1)
def _read(path: Path, changed_at: int, size: int) -> SignIn:
    try:
        return SignIn.model_validate(tomllib.loads(path.read_text()))
    except ValidationError as err:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in err.errors())
        raise InputError(f"{path}: {wrong}") from err
    except (tomllib.TOMLDecodeError, OSError, UnicodeDecodeError) as err:
        raise InputError(f"{path}: {err}") from err
