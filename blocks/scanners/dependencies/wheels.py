"""Which modules a wheel brings, from the list at the end of the archive; the rest of it is not fetched."""

import io
import re
import zipfile

import httpx

from blocks.scanners.dependencies.web import Cache, Unknown, Web
from domain.value import Value

TAILS = (1 << 16, 1 << 21)
"""Bytes from the end of the wheel; the second where the list is longer than the first."""
MAX_WHOLE_BYTES = 20_000_000
"""Of a server that gives the whole file when asked for its end."""


class Modules(Value):
    """Top-level modules and packages."""

    names: frozenset[str]


def modules(web: Web, cache: Cache, address: str) -> frozenset[str]:
    """What can be imported once the wheel at `address` is installed. Raises Unknown."""
    found = cache.get(f"wheel {address}", Modules, lambda: Modules(names=_listed(web, httpx.URL(address))))
    return found.names if found else frozenset()


def _listed(web: Web, address: httpx.URL) -> frozenset[str]:
    if address.scheme not in ("http", "https"):
        raise Unknown("the wheel has no address that can be asked")
    for size in TAILS:
        tail = web.fetch(
            "GET", address, MAX_WHOLE_BYTES, headers={"Range": f"bytes=-{size}", "Accept-Encoding": "identity"}
        )
        if tail is None:
            raise Unknown(f"{address.host} does not have the wheel")
        try:
            with zipfile.ZipFile(io.BytesIO(tail)) as wheel:  # offsets count from the end, so a tail is enough to list
                return frozenset(name for entry in wheel.namelist() if (name := _module(entry)))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
            continue
    raise Unknown(f"the list of files of the wheel at {address.host} cannot be read")


def _module(entry: str) -> str | None:
    parts = entry.split("/")
    if len(parts) > 2 and parts[0].endswith(".data"):
        parts = parts[2:] if parts[1] in ("purelib", "platlib") else []
    if len(parts) > 1:
        return parts[0] if parts[0].isidentifier() else None
    found = re.fullmatch(r"(\w+)(?:\.[\w-]+)*\.(?:py|so|pyd)", parts[0]) if parts else None
    return found[1] if found else None
