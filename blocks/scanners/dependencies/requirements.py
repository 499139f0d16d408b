"""Requirements files of pip: https://pip.pypa.io/en/stable/reference/requirements-file-format/."""

import re
import shlex
from collections.abc import Iterator

from blocks.scanners.dependencies.reading import SHOWN, TreeReading, Unreadable, below
from domain.dependencies import Ecosystem

_HASH = re.compile(r"--hash[= ]((?:sha256|sha384|sha512|md5|sha1|sha224):[0-9a-f]{32,128})")
_UTF8 = ("utf-8", "utf8", "utf-8-sig", "us-ascii", "ascii")


def read_requirements(reading: TreeReading, path: str) -> None:
    for number, text in _lines(reading, path):
        bare, *options = re.split(r"(?:^|(?<=\s))(?=--?[A-Za-z])", text, maxsplit=1)
        if bare.strip():
            _requirement(reading, path, number, bare.strip(), text)
        if options:
            _options(reading, path, number, options[0])


def _lines(reading: TreeReading, path: str) -> Iterator[tuple[int, str]]:
    """(number, text) of logical lines, split, joined and stripped of comments as pip does it."""
    lines = reading.text(path).splitlines()
    for line in lines[:2]:
        if (coding := re.match(r"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", line)) and coding[1].lower() not in _UTF8:
            raise Unreadable(f"it says that it is {coding[1][:SHOWN]!r}, and pip would read it so")
    start, parts = 1, list[str]()
    for number, line in enumerate([*lines, ""], start=1):
        is_comment = re.match(r"\s*#", line) is not None
        if not parts:
            start = number
        if line.endswith("\\") and not is_comment:
            parts.append(line.rstrip("\\"))
            continue
        text = re.sub(r"(?:^|(?<!\s)\s+)#.*$", "", "".join([*parts, f" {line}" if is_comment else line])).strip()
        parts.clear()
        if text:
            yield start, text


def _requirement(reading: TreeReading, path: str, number: int, bare: str, text: str) -> None:
    if re.match(r"[./~]|[A-Za-z][A-Za-z0-9+.-]*:", bare) or bare.endswith((".whl", ".zip", ".tar.gz")):
        _path(reading, path, number, bare)
    else:
        reading.require(bare, path, number, hashes=_HASH.findall(text))


def _options(reading: TreeReading, path: str, number: int, text: str) -> None:
    """Every option of a line; a long one may be cut short as long as it is clear, so the shortest forms count too."""
    try:
        words = shlex.split(text)
    except ValueError:
        reading.see("unread", f"{path} {text}", "an option whose quotes do not end", path, number)
        return
    for place, word in enumerate(words):
        if not word.startswith("-"):
            continue
        name, _, value = word.partition("=")
        if not word.startswith("--"):
            name, value = word[:2], word[2:]
        following = words[place + 1] if place + 1 < len(words) else ""
        _option(reading, path, number, name, value or following)


def _option(reading: TreeReading, path: str, number: int, name: str, value: str) -> None:
    def is_one(*options: str) -> bool:
        return name in options or (len(name) > 3 and any(one.startswith(name) for one in options))

    if is_one("--hash", "--require-hashes", "--only-binary", "--prefer-binary", "--pre"):
        return
    if is_one("-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host", "--pypi-url"):
        reading.index(value, path, number)
    elif is_one("-e", "--editable"):
        _path(reading, path, number, value)
    elif is_one("-r", "--requirement", "-c", "--constraint"):
        inner = below(path, value)
        if inner is not None and inner in reading.tree:
            reading.includes.add(inner)
        else:
            message = f"includes {value[:SHOWN]!r}, which is not in the repository"
            reading.see("source", f"{path} {value}", message, path, number)
    elif is_one("--no-binary", "--global-option", "--config-settings", "--build-option", "--install-option"):
        reading.section("build", [name, value], f"{name[:SHOWN]} changes how it is built", path, number)
    else:
        reading.section("settings", [name, value], f"{name[:SHOWN]} is set", path, number)


def _path(reading: TreeReading, path: str, number: int, said: str) -> None:
    """A path is free where it is the repository's own project."""
    inner = below(path, re.sub(r"\[[\w,.\s-]*\]$", "", said)) if said.startswith(".") else None
    at = f"{inner}/" if inner else ""
    if inner is None or not any(f"{at}{name}" in reading.tree for name in ("pyproject.toml", "setup.py")):
        reading.source("a requirement", said, path, number)
        reading.is_whole[Ecosystem.PYPI] = False
