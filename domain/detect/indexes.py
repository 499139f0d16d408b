"""Package indexes that a project names beside the public one: from locks, pyproject.toml, pip.conf and Pipfile."""

import configparser
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from domain.detect.reading import View
from domain.errors import InputError
from domain.project import ProjectSettings

PUBLIC = ("https://pypi.org/simple", "https://pypi.python.org/simple", "https://files.pythonhosted.org")


class IndexAddress(NamedTuple):
    """`url` has no login, whatever the file says."""

    url: str
    path: str
    """The file that names it, relative to the root of the repository."""


def named(view: View, settings: ProjectSettings) -> tuple[IndexAddress, ...]:
    """What the packages of these settings come from, beside the public index. A lock says it for each package; without
    one it is what the tools are told."""
    lock = settings.lock or ""
    reader = {"uv.lock": _uv_lock, "poetry.lock": _poetry_lock, "Pipfile.lock": _pipfile_lock}.get(
        lock.rpartition("/")[2]
    )
    if re.fullmatch(r"pylock(\..+)?\.toml", lock.rpartition("/")[2]):
        reader = _pylock
    if reader is not None:
        found = [(url, lock) for url in reader(view, lock)]
    else:
        data = view.toml("pyproject.toml")
        found = [(url, "pyproject.toml") for url in (*_uv(data), *_poetry(data), *_pdm(data))]
        found += [(url, "uv.toml") for url in _of_uv(view.toml("uv.toml"), {})]
        found += [(url, path) for path in ("pip.conf", "pip.ini", ".pip/pip.conf") for url in _pip(view.text(path))]
    return beside_public(at(url, view.full(path)) for url, path in found if url)


def at(url: str, path: str) -> IndexAddress:
    """The index that the file `path` names. Raises InputError for an address that cannot be read."""
    try:
        normal(url)
        return IndexAddress(bare(url), path)
    except ValueError as err:  # which may quote a login
        raise InputError(
            f"{path} names a package index whose address cannot be read: write it as https://HOST/PATH, or "
            "https://HOST:PORT/PATH with a port up to 65535"
        ) from err


def beside_public(found: Iterable[IndexAddress]) -> tuple[IndexAddress, ...]:
    """Those that are not the public index, each once."""
    public = {normal(url) for url in PUBLIC}
    return tuple(index for index in dict.fromkeys(found) if normal(index.url) not in public)


def bare(url: str) -> str:
    """An address without a login, a query and a fragment."""
    site = urlsplit(url)
    return site._replace(netloc=site.netloc.rpartition("@")[2], query="", fragment="").geturl()


def normal(url: str) -> str:
    """An address in the one spelling by which two are compared: no login, no scheme, no `/simple` at its end."""
    site = urlsplit(bare(url))
    return f"{(site.hostname or '').lower()}:{site.port or ''}{site.path.rstrip('/').removesuffix('/simple')}"


def _uv_lock(view: View, path: str) -> Iterator[str]:
    for package in _tables(view.toml(path).get("package")):
        yield _text(_table(package, "source").get("registry"))


def _poetry_lock(view: View, path: str) -> Iterator[str]:
    for package in _tables(view.toml(path).get("package")):
        source = _table(package, "source")
        if source.get("type") == "legacy":
            yield _text(source.get("url"))


def _pylock(view: View, path: str) -> Iterator[str]:
    for package in _tables(view.toml(path).get("packages")):
        yield _text(package.get("index"))


def _pipfile_lock(view: View, path: str) -> Iterator[str]:
    for source in _tables(_table(view.json(path), "_meta").get("sources")):
        yield _text(source.get("url"))


def _uv(data: Mapping[str, Any]) -> Iterator[str]:
    uv = _table(_table(data, "tool"), "uv")
    yield from _of_uv(uv, _table(uv, "sources"))


def _of_uv(uv: Mapping[str, Any], sources: Mapping[str, Any]) -> Iterator[str]:
    """https://docs.astral.sh/uv/concepts/indexes/: an explicit index counts if a package names it."""
    every = [one for value in sources.values() for one in (value if isinstance(value, list) else [value])]
    used = [one.get("index") for one in every if isinstance(one, dict)]
    for index in _tables(uv.get("index")):
        if not index.get("explicit") or index.get("name") in used:
            yield _text(index.get("url"))
    for options in (uv, _table(uv, "pip")):
        extra = options.get("extra-index-url")
        yield from (_text(url) for url in (options.get("index-url"), *(extra if isinstance(extra, list) else [])))


def _poetry(data: Mapping[str, Any]) -> Iterator[str]:
    """https://python-poetry.org/docs/repositories/#package-sources"""
    poetry = _table(_table(data, "tool"), "poetry")
    groups = [_table(group, "dependencies") for group in _tables(_table(poetry, "group").values())]
    every = [one for table in (_table(poetry, "dependencies"), *groups) for one in table.values()]
    used = [one.get("source") for one in every if isinstance(one, dict)]
    for source in _tables(poetry.get("source")):
        if source.get("priority") != "explicit" or source.get("name") in used:
            yield _text(source.get("url"))


def _pdm(data: Mapping[str, Any]) -> Iterator[str]:
    for source in _tables(_table(_table(data, "tool"), "pdm").get("source")):
        yield _text(source.get("url"))


def _pip(text: str) -> Iterator[str]:
    config = configparser.RawConfigParser(strict=False)
    try:
        config.read_string(text)
    except configparser.Error:
        return
    for section in config.sections():
        for option in ("index-url", "extra-index-url", "index_url", "extra_index_url"):
            yield from config.get(section, option, fallback="").split()


def _table(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def _tables(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, Iterable) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) and "://" in value else ""
