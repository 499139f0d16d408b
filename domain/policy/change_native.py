"""Change rules over C, Cython and other languages that no other rule reads: line by line."""

import functools
import re
from collections.abc import Collection, Iterator
from pathlib import PurePosixPath

from domain.policy.change import Change, text_of
from domain.policy.rule import Hit

SOURCES = frozenset(
    (".c", ".h", ".cc", ".cpp", ".cxx", ".hpp", ".hh", ".pyx", ".pxd", ".pxi", ".rb", ".java", ".kt", ".scala", ".cs",
     ".php", ".pl", ".pm", ".lua", ".swift", ".ex", ".exs", ".m", ".f90", ".jl", ".r", ".sh", ".bash")
)  # fmt: skip
_TESTS = re.compile(
    r"\b(?:PYTEST_(?:CURRENT_TEST|VERSION|XDIST_\w+)|JEST_WORKER_ID|VITEST|NODE_TEST_CONTEXT|RSPEC_\w+)\b"
)
_POWERS = re.compile(
    r"\b(?:system|popen|_popen|exec[lv]p?e?|posix_spawnp?|fork|dlopen|socket|connect|getaddrinfo|ptrace|mprotect)\s*\("
    r"|\b(?:ProcessBuilder|Runtime\.getRuntime|HttpClient|Net::HTTP|TCPSocket|Open3|shell_exec|proc_open|curl_exec)\b"
)
_ASKS = re.compile(r"\b(?:getenv|secure_getenv|environ|System\.getenv|ENV)\b")
_COMMENT = re.compile(r"\s*(?://|\*|/\*|#(?!\s*(?:include|define|if))|;|--)")


def native_knows(change: Change) -> Iterator[Hit]:
    for path, number, line in native_lines(change):
        if _TESTS.search(line):
            yield Hit(f"it asks whether tests are running: {line.strip()[:100]!r}", path, number)


def native_reaches(change: Change) -> Iterator[Hit]:
    has = functools.cache(functools.partial(base_has, change, SOURCES))
    for path, number, line in native_lines(change):
        for pattern, what in ((_POWERS, "other programs or machines"), (_ASKS, "variables of the environment")):
            if PurePosixPath(path).suffix not in (".sh", ".bash") and pattern.search(line) and not has(pattern):
                said = f"it reaches {what}, which nothing of these languages does on base: {line.strip()[:80]!r}"
                yield Hit(said, path, number)


def native_lines(change: Change) -> Iterator[tuple[str, int, str]]:
    """(path, line number, line) of new lines of these languages that are no comment."""
    for path in change.present:
        if PurePosixPath(path).suffix.lower() in SOURCES and not change.is_test(path):
            yield from ((path, number, line) for number, line in change.added(path) if not _COMMENT.match(line))


def base_has(change: Change, endings: Collection[str], pattern: re.Pattern[str]) -> bool:
    """Whether product code of base in files with such endings has it."""
    own = (path for path in change.base if PurePosixPath(path).suffix.lower() in endings and not change.is_test(path))
    return any(pattern.search(text_of(change.base, path) or "") for path in own)
