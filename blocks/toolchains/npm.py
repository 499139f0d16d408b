"""npm packages, fetched and unpacked as data. No script of a package runs, and no dependency is looked for."""

import base64
import hashlib
import os
import re
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import quote

import httpx

from domain.errors import InputError, SandboxError

_NAME = (
    r"(?:@[a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*"  # https://docs.npmjs.com/cli/configuring-npm/package-json#name
)
_PACKAGE = re.compile(rf"(?:(?P<alias>{_NAME})@npm:)?(?P<name>{_NAME})@(?P<version>[0-9][0-9A-Za-z.+-]*)")
_INTEGRITY = re.compile(r"sha512-([A-Za-z0-9+/]{86}==)")
_MAX_TARBALL_BYTES = 500_000_000
_MAX_METADATA_BYTES = 5_000_000
_MAX_UNPACKED_BYTES = 2_000_000_000
_MAX_FILES = 100_000


class Package(NamedTuple):
    """One version of a package, and where it goes below node_modules. `sha512`: of its tarball."""

    directory: str
    name: str
    version: str
    sha512: bytes


def read(packages: Mapping[str, str]) -> list[Package]:
    """`NAME@VERSION`, or `ALIAS@npm:NAME@VERSION` as npm writes it, → integrity. Sorted by directory.

    Raises InputError for a range, a tag or an address instead of a version, another hash than SHA-512, a name twice.
    """
    found: dict[str, Package] = {}
    for key, integrity in packages.items():
        package, pin = _PACKAGE.fullmatch(key), _INTEGRITY.fullmatch(integrity)
        if not package:
            raise InputError(f"npm package {key[:120]!r} is not NAME@VERSION with a full version, such as is-odd@3.0.1")
        if not pin:
            raise InputError(
                f"npm package {key[:120]!r} has no sha512 integrity: see npm view {key[:120]} dist.integrity"
            )
        directory = package["alias"] or package["name"]
        if directory in found:
            raise InputError(
                f"npm package {directory!r} is named twice: give one an alias, such as other@npm:{key[:120]}"
            )
        found[directory] = Package(directory, package["name"], package["version"], base64.b64decode(pin[1]))
    return [found[directory] for directory in sorted(found)]


def install(packages: list[Package], directory: Path, registry: str, timeout_s: float) -> None:
    """Unpack `packages` below `directory`/node_modules, readable by everybody.

    Raises InputError if the registry has none of that, or something else than was pinned; SandboxError where it
    does not answer.
    """
    with httpx.Client(timeout=min(60.0, timeout_s), follow_redirects=True) as client:
        for package in packages:
            tarball = directory / "tarball"
            with open(tarball, "xb") as file:
                _fetch(client, package, registry, file)
            target = directory / "node_modules" / package.directory
            try:
                _unpack(tarball, target)
            except (tarfile.TarError, OSError, EOFError) as err:
                raise InputError(f"the npm package {package.name}@{package.version} cannot be unpacked: {err}") from err
            tarball.unlink()


def _fetch(client: httpx.Client, package: Package, registry: str, file: BinaryIO) -> None:
    base = httpx.URL(registry.rstrip("/") + "/")
    what = f"the npm package {package.name}@{package.version}"
    try:
        answer = client.get(base.join(f"{quote(package.name, safe='@')}/{package.version}"))
        if answer.status_code in (401, 403, 404, 405):
            raise InputError(f"{what} is not in the registry ({answer.status_code}): check its name and version")
        answer.raise_for_status()
        if len(answer.content) > _MAX_METADATA_BYTES:
            raise InputError(f"{what} cannot be fetched: the registry says too much about it")
        address = base.join(answer.json()["dist"]["tarball"])
        # credentials in the registry's address are its own: another host does not get them
        is_its_own = (address.host, address.port, address.scheme) == (base.host, base.port, base.scheme)
        login = (base.username, base.password) if base.username and is_its_own else None
        digest, size = hashlib.sha512(), 0
        with client.stream("GET", address, auth=login) as stream:
            stream.raise_for_status()
            for piece in stream.iter_raw(1 << 18):
                digest.update(piece)
                size += len(piece)
                if size > _MAX_TARBALL_BYTES:
                    raise InputError(f"{what} is over {_MAX_TARBALL_BYTES // 1_000_000} MB")
                file.write(piece)
    except httpx.HTTPError as err:
        raise SandboxError(f"{what} cannot be fetched from {base.host}: {type(err).__name__} {_plain(err)}") from err
    except (ValueError, KeyError, TypeError, httpx.InvalidURL) as err:
        raise SandboxError(f"{what} cannot be fetched: {base.host} is no npm registry") from err
    if digest.digest() != package.sha512:
        raise InputError(f"{what} is not what was pinned: its SHA-512 is {base64.b64encode(digest.digest()).decode()}")


def _plain(err: httpx.HTTPError) -> str:
    return str(err.response.status_code) if isinstance(err, httpx.HTTPStatusError) else ""


def _unpack(tarball: Path, target: Path) -> None:
    """Files of a package, without the directory that npm puts them all in."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.mkdir()
    used = count = 0
    with tarfile.open(tarball, "r:gz") as tar:
        for member in tar:
            parts = member.name.split("/")[1:]
            used, count = used + member.size, count + 1
            if used > _MAX_UNPACKED_BYTES or count > _MAX_FILES:
                raise tarfile.TarError(f"it is over {_MAX_UNPACKED_BYTES // 1_000_000} MB or {_MAX_FILES} files")
            if member.isdir():
                continue
            if not member.isreg() or member.issparse() or not parts or any(part in ("", ".", "..") for part in parts):
                raise tarfile.TarError(f"{member.name!r} is no plain file")
            path = target.joinpath(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)  # the last of two with one name counts, as it does for npm
            source = tar.extractfile(member)
            assert source is not None  # noqa: S101 (it is regular)
            with open(path, "xb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
                os.fchmod(file.fileno(), 0o755 if member.mode & 0o111 else 0o644)
    for directory, _, _ in os.walk(target.parent):
        os.chmod(directory, 0o755)  # noqa: S103 (another user reads it in the sandbox)
