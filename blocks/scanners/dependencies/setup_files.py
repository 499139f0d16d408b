"""setup.cfg and setup.py, as text: what setup.py computes stays unknown."""

import ast
import configparser
from typing import Any

from blocks.scanners.dependencies.reading import (
    SHOWN,
    WORD,
    NameLines,
    TreeReading,
    Unreadable,
    below,
    first_word,
    strings,
)
from domain.dependencies import Ecosystem
from domain.detect.metadata import cfg_files, cfg_lines, literal, literals


def read_setup_cfg(reading: TreeReading, path: str) -> None:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(reading.text(path))
    except configparser.Error as err:
        raise Unreadable(f"it is no ini file: {str(err).splitlines()[0][:SHOWN]}") from err
    lines = NameLines(reading.text(path), WORD)
    options = dict(parser["options"]) if parser.has_section("options") else {}
    said = [options.get(key, "") for key in ("install_requires", "setup_requires", "tests_require")]
    for section in ("options.extras_require", "extras"):  # the second is pbr's
        said += [text or "" for text in parser[section].values()] if parser.has_section(section) else []
    for value in said:
        if value.strip().startswith(("file:", "attr:")):
            named = cfg_files(value)
            reading.is_whole[Ecosystem.PYPI] &= bool(named) and all(below(path, one) in reading.tree for one in named)
            continue
        for text in cfg_lines(value):
            reading.require(text, path, lines.of(first_word(text)))
    reading.section("build", options.get("setup_requires"), "build requirements are new or changed", path)
    for line in options.get("dependency_links", "").split():
        reading.source("a requirement", line, path, lines.of("dependency_links"))
    if parser.has_section("easy_install"):
        for key in ("index_url", "find_links"):
            if key in parser["easy_install"]:
                reading.index(parser["easy_install"][key], path, lines.of(key))


def read_setup_py(reading: TreeReading, path: str) -> None:
    source = reading.text(path)
    reading.section("build", source, "setup.py is new or changed: it runs when the project is built", path)
    try:
        module = ast.parse(source)
        known = literals(module)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        raise Unreadable("it is no Python that can be parsed") from err
    for call in ast.walk(module):
        if isinstance(call, ast.Call) and _called(call) == "setup":
            for word in call.keywords:
                if word.arg in ("install_requires", "setup_requires", "tests_require", "extras_require"):
                    _require(reading, path, literal(word.value, known), word.value.lineno)
                elif word.arg == "dependency_links":
                    for node in ast.walk(word.value):
                        if isinstance(node, ast.Constant) and isinstance(node.value, str):
                            reading.source("a requirement", node.value, path, node.lineno)
                elif word.arg is None:
                    reading.is_whole[Ecosystem.PYPI] = False


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _require(reading: TreeReading, path: str, said: Any, number: int) -> None:
    """Requirements as a value of setup.py; what is none of them, or is not known, makes it not whole."""
    for group in said.values() if isinstance(said, dict) else [said]:
        lines = strings(group)
        is_whole = isinstance(group, str) or (isinstance(group, list) and len(lines) == len(group))
        reading.is_whole[Ecosystem.PYPI] &= is_whole
        for line in filter(None, (line.strip() for text in lines for line in text.splitlines())):
            reading.require(line, path, number)
