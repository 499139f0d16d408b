"""Which packages JavaScript and TypeScript files import, and whose they are. Read by their shape, never run."""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from blocks.scanners.dependencies.reading import NPM_NAME, below, table
from domain.trees import Tree

SUFFIXES = (".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".vue", ".svelte", ".astro")

BUILTIN = frozenset((
    "assert", "assert/strict", "async_hooks", "buffer", "child_process", "cluster", "console", "constants",
    "crypto", "dgram", "diagnostics_channel", "dns", "domain", "events", "fs", "http", "http2", "https",
    "inspector", "module", "net", "os", "path", "perf_hooks", "process", "punycode", "querystring",
    "readline", "repl", "stream", "string_decoder", "sys", "timers", "tls", "trace_events", "tty", "url",
    "util", "v8", "vm", "wasi", "worker_threads", "zlib",
))  # fmt: skip
"""https://nodejs.org/api/module.html#modulebuiltinmodules"""

_TOKEN = re.compile(
    r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(`(?:[^`\\]|\\.)*`)|(?://[^\n]*|/\*.*?\*/)""", re.DOTALL
)
_IMPORT = re.compile(
    r"""(?<![\w$.])(?:import\s*(?:[\w$*{}\s,]{1,4000}?\bfrom\s*)?|export\s+[\w$*{}\s,]{1,4000}?\bfrom\s*
    |(?:require(?:\.resolve)?|import)\s*\(\s*)"(\d+)\"""",
    re.VERBOSE,
)
"""Over a text whose strings are numbered: what a string says is never taken for code."""


_CONFIGURATION = re.compile(r"(?:.*/)?[tj]sconfig(?:\.[\w-]+)*\.json")


class JsImport(NamedTuple):
    """A bare specifier's package, or a whole address."""

    package: str
    specifier: str
    line: int


def imports(content: bytes) -> list[JsImport]:
    """Imports of something else than a file of its own: each package once, where it is imported first."""
    strings: list[str] = []

    def number(token: re.Match[str]) -> str:
        lines = "\n" * token[0].count("\n")
        if token[1] is None:
            return lines
        strings.append(token[1][1:-1])
        return f'"{len(strings) - 1}"{lines}'

    source = _TOKEN.sub(number, content.decode("utf-8", "replace"))
    found: dict[str, JsImport] = {}
    for one in _IMPORT.finditer(source):
        if len(one[1]) > 9 or int(one[1]) >= len(strings):
            continue  # a quote that nothing closes stood before the number of another string
        said = strings[int(one[1])]
        if package := _package(said):
            found.setdefault(package, JsImport(package, said, source.count("\n", 0, one.start(1)) + 1))
    return list(found.values())


def _package(said: str) -> str | None:
    if said.startswith((".", "/", "#", "~", "@/", "$")) or said in BUILTIN:
        return None
    if re.match(r"https?://", said):
        return said
    if ":" in said:
        return None  # node:, virtual:, bun: and the like are the platform's
    parts = said.split("/")
    name = "/".join(parts[: 2 if said.startswith("@") else 1])
    return name if NPM_NAME.fullmatch(name) and name not in BUILTIN else None


class JsLocals:
    """What a tree's own names may stand for: paths of its TypeScript configuration, and packages that are committed."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def has(self, specifier: str) -> bool:
        first = specifier.split("/")[0]
        return first in self._roots or any(re.fullmatch(pattern, specifier) for pattern in self._patterns)

    @cached_property
    def _configurations(self) -> list[tuple[str, Mapping[str, object]]]:
        return [
            (path, _options(entry.content))
            for path, entry in self._tree.items()
            if _CONFIGURATION.fullmatch(path) and "node_modules/" not in path
        ]

    @cached_property
    def _patterns(self) -> tuple[str, ...]:
        aliases = [alias for _, options in self._configurations for alias in table(options.get("paths"))]
        return tuple(re.escape(alias).replace(r"\*", ".*") for alias in aliases if alias != "*")

    @cached_property
    def _roots(self) -> frozenset[str]:
        """First parts of committed packages, and of paths below a baseUrl."""
        found = {path.rpartition("node_modules/")[2].split("/")[0] for path in self._tree if "node_modules/" in path}
        for path, options in self._configurations:
            base = options.get("baseUrl")
            above = below(path, base) if isinstance(base, str) else None
            if above is not None:
                prefix = f"{above}/".lstrip("/")
                found |= {
                    one[len(prefix) :].split("/")[0].split(".")[0] for one in self._tree if one.startswith(prefix)
                }
        return frozenset(found)


def _options(content: bytes) -> Mapping[str, object]:
    """compilerOptions of a configuration with comments and commas too many; empty if it cannot be read."""
    text = _TOKEN.sub(lambda token: token[1] or "", content.decode("utf-8", "replace"))
    try:
        said = json.loads(re.sub(r",(\s*[}\]])", r"\1", text))["compilerOptions"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
