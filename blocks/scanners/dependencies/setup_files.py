"""setup.cfg and setup.py, as text: what setup.py computes stays unknown."""

import ast
import configparser

from blocks.scanners.dependencies.reading import SHOWN, WORD, Lines, Reading, Unreadable, first_word, strings
from domain.dependencies import Ecosystem


def read_setup_cfg(reading: Reading, path: str) -> None:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(reading.text(path))
    except configparser.Error as err:
        raise Unreadable(f"it is no ini file: {str(err).splitlines()[0][:SHOWN]}") from err
    lines = Lines(reading.text(path), WORD)
    options = dict(parser["options"]) if parser.has_section("options") else {}
    said = [options.get(key, "") for key in ("install_requires", "setup_requires", "tests_require")]
    if parser.has_section("options.extras_require"):
        said += parser["options.extras_require"].values()
    for line in "\n".join(said).split("\n"):
        text = line.strip()
        if text.startswith("file:"):
            reading.is_whole[Ecosystem.PYPI] = False
            continue
        if text and not text.startswith("#"):
            reading.require(text, path, lines.of(first_word(text)))
    reading.section("build", options.get("setup_requires"), "build requirements are new or changed", path)
    for line in options.get("dependency_links", "").split():
        reading.source("a requirement", line, path, lines.of("dependency_links"))
    if parser.has_section("easy_install"):
        for key in ("index_url", "find_links"):
            if key in parser["easy_install"]:
                reading.index(parser["easy_install"][key], path, lines.of(key))


def read_setup_py(reading: Reading, path: str) -> None:
    source = reading.text(path)
    reading.section("build", source, "setup.py is new or changed: it runs when the project is built", path)
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as err:
        raise Unreadable("it is no Python that can be parsed") from err
    known = {node.targets[0].id: node.value for node in module.body
             if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)}  # fmt: skip
    for call in ast.walk(module):
        if isinstance(call, ast.Call) and _called(call) == "setup":
            for word in call.keywords:
                if word.arg in ("install_requires", "setup_requires", "tests_require", "extras_require"):
                    value = known.get(word.value.id, word.value) if isinstance(word.value, ast.Name) else word.value
                    _literal(reading, path, value)
                elif word.arg == "dependency_links":
                    for node in ast.walk(word.value):
                        if isinstance(node, ast.Constant) and isinstance(node.value, str):
                            reading.source("a requirement", node.value, path, node.lineno)
                elif word.arg is None:
                    reading.is_whole[Ecosystem.PYPI] = False


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _literal(reading: Reading, path: str, value: ast.expr) -> None:
    try:
        said = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        reading.is_whole[Ecosystem.PYPI] = False
        return
    groups = list(said.values()) if isinstance(said, dict) else [said]
    for group in groups:
        for text in strings(list(group) if isinstance(group, (tuple, set)) else group):
            for line in filter(None, (line.strip() for line in text.splitlines())):
                reading.require(line, path, value.lineno)
