"""Change rules over new lines: what a reader cannot see, and what tells a check to look away."""

import io
import re
import tokenize
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from difflib import SequenceMatcher
from pathlib import PurePosixPath

from domain.paths import matches
from domain.policy.change import Change, is_python, text_of
from domain.policy.python_code import nodes_of, parsed_source
from domain.policy.rule import Hit, Rule
from domain.redaction import REPLACEMENT
from domain.task import Severity

# https://trojansource.codes: overrides, embeddings and isolates reorder what is shown; tag characters and runs of
# variation selectors carry text that is not shown at all. An England flag is a black flag followed by tags.
REORDERS = re.compile("[\u202a-\u202e\u2066-\u2069]")
SMUGGLES = re.compile("[\U000e0000-\U000e007f\U000e0100-\U000e01ef]|[\ufe00-\ufe0f]{2,}")
FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007e]{2,6}\U000e007f")
# Joiners are part of emoji and of Persian or Hindi words; beside ASCII they only hide.
INVISIBLE = re.compile(
    "[\u200b\u200e\u200f\u061c\u2060-\u2064\ufeff\u00ad\u180e\u115f\u1160\u3164\uffa0]"
    "|(?<=[\\x21-\\x7e])[\u200c\u200d]|[\u200c\u200d](?=[\\x21-\\x7e])"
)
LINE_BREAKS = re.compile("[\r\x0b\x0c\x85\u2028\u2029]|\x1b")
"""Python or a terminal takes these as a new line or a command where a diff shows none."""

LOOKALIKE = re.compile(
    "[\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u051b\u051d\u04bb\u04cf"
    "\u0410\u0412\u0415\u041a\u041c\u041d\u041e\u0420\u0421\u0422\u0425\u0406\u0408\u0405"
    "\u03bf\u0391\u0392\u0395\u0396\u0397\u0399\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7"
    "\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff]"
)
"""Cyrillic, Greek, fullwidth and mathematical letters that are drawn as Latin ones: https://www.unicode.org/Public/security/latest/confusables.txt"""

CODE = (".py", ".pyi", ".pyw", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".go", ".rs", ".java", ".kt", ".rb", ".c",
        ".h", ".cc", ".cpp", ".cs", ".sh", ".yml", ".yaml", ".toml", ".tf")  # fmt: skip
SUPPRESSION = re.compile(
    r"#\s*(?:(?:ruff|flake8)\s*:\s*(?:noqa|ignore|disable)|noqa|nosec|type:\s*ignore|mypy:\s*ignore|mypy:\s*disable|pyright:\s"
    r"|pylint:\s*(?:disable|skip)|pragma:\s*no\s*(?:cover|branch|mutate)|nosemgrep|noinspection|pyre-\w+|ty:\s*ignore)"
    r"|(?://|/\*|#)\s*(?:eslint-disable|@ts-(?:ignore|nocheck|expect-error)|NOLINT|nolint|NOSONAR|tslint:disable)"
    r"|\b(?:kingfisher|gitleaks|betterleaks|trufflehog)\s*:\s*(?:ignore|allow)|\bpragma:\s*allowlist\b",
    re.IGNORECASE,
)

PLACEHOLDER = re.compile(r"lockgate-secret-", re.IGNORECASE)

DEPENDENCY_LISTS = (
    "**/requirements*.txt",
    "**/requirements/*.txt",
    "**/constraints*.txt",
    "**/pyproject.toml",
    "**/Pipfile",
)
SOURCE = re.compile(
    r"(?:\b(?:git|hg|svn|bzr)\+[a-z]|@\s*(?:https?|file|git)[+:]|^\s*(?:https?|file)://"
    r"|^\s*(?:-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host)\b"
    r"|^\s*(?:index-url|extra-index-url|index_url|find-links|no-verify-hashes)\s*=|^\s*\[\[tool\.(?:uv\.index|poetry\.source)"
    r"|\b(?:git|url)\s*=\s*[\"'](?:https?|ssh|git|file)[:@])"
)  # fmt: skip

COOKIE = re.compile(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
"""https://peps.python.org/pep-0263/"""
ENCODINGS = re.compile(
    r"(?:utf[-_]?8(?:[-_]sig)?|(?:us[-_])?ascii|latin[-_]?1|iso[-_]?8859[-_]\d+|cp125\d|windows-125\d)", re.I
)


def _added(change: Change) -> Iterator[tuple[str, int, str]]:
    for path in change.present:
        for number, line in change.added(path):
            yield path, number, line


def _bidi(change: Change) -> Iterator[Hit]:
    for path, number, line in _added(change):
        if REORDERS.search(line):
            yield Hit("characters that reorder what is shown", path, number)
        elif SMUGGLES.search(FLAG.sub("", line)):
            yield Hit("characters that carry text which is not shown", path, number)


def _invisible(change: Change) -> Iterator[Hit]:
    for path, number, line in _added(change):
        shown = line.removeprefix("\ufeff") if number == 1 else line
        if found := INVISIBLE.search(shown):
            yield Hit(f"an invisible character (U+{ord(found.group()):04X})", path, number)
        elif PurePosixPath(path).suffix in CODE and (found := LINE_BREAKS.search(line.strip("\x0c"))):
            yield Hit(f"a control character that ends or hides a line (U+{ord(found.group()):04X})", path, number)


def _disguised(change: Change) -> Iterator[Hit]:
    for path, number, name in _new_names(change, in_texts=False):
        if (
            is_python(path)
            and not name.isascii()
            and name.isidentifier()
            and (plain := unicodedata.normalize("NFKC", name)).isascii()
        ):
            yield Hit(f"Python reads {name!r} as {plain!r}", path, number)


def _lookalike(change: Change) -> Iterator[Hit]:
    for path, number, name in _new_names(change, in_texts=True):
        if (found := LOOKALIKE.search(name)) and re.search("[A-Za-z]", name):
            yield Hit(f"{name!r} has U+{ord(found[0]):04X} among Latin letters, which looks like one", path, number)


def _new_names(change: Change, in_texts: bool) -> Iterator[tuple[str, int, str]]:
    """(path, line, name) of the names on new lines: Python's as Python reads them, and words of its texts where these
    are asked for; else every word of code."""
    for path in change.present:
        suffix = PurePosixPath(path).suffix
        if suffix not in CODE or suffix in (".yml", ".yaml", ".toml"):
            continue
        added = dict(change.added(path))
        if all(line.isascii() for line in added.values()):
            continue
        words = _names(text_of(change.head, path) or "", in_texts) if is_python(path) else _words(added)
        yield from ((path, number, name) for number, name in words if number in added)


def _names(source: str, in_texts: bool) -> Iterator[tuple[int, str]]:
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.NAME:
                yield token.start[0], token.string
            elif token.type in _TEXTS and not token.string.isascii():
                is_meant = (lambda word: True) if in_texts else _names_in(token.string)  # before Python 3.12
                for offset, line in enumerate(token.string.splitlines()):
                    words = filter(is_meant, re.findall(r"\w+", line))
                    yield from ((token.start[0] + offset, word) for word in words)
    except (tokenize.TokenError, SyntaxError):
        return  # another rule says that it cannot be parsed


_TEXTS = (tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING))


def _names_in(text: str) -> Callable[[str], bool]:
    """Whether a word is a name in an f-string as Python reads it; every word may be one if it cannot be read."""
    module = parsed_source(text.encode("utf-8", "replace"))
    if module is None:
        return lambda word: True
    told = {getattr(node, field, None) for node in nodes_of(module) for field in ("id", "attr", "arg")}
    return lambda word: unicodedata.normalize("NFKC", word) in told


def _words(lines: Mapping[int, str]) -> Iterator[tuple[int, str]]:
    for number, line in lines.items():
        yield from ((number, word) for word in re.findall(r"\w+", line))


def _suppression(change: Change) -> Iterator[Hit]:
    gone = _gone_suppressions(change)
    for path, number, line in _added(change):
        if PurePosixPath(path).suffix in CODE and (found := SUPPRESSION.search(line)):
            old = next((one for one in gone if _is_same_line(one, (path, line), found.start())), None)
            if old is None:
                yield Hit(f"a check is told to look away: {found.group()!r}", path, number)
            else:
                gone.remove(old)


def _gone_suppressions(change: Change) -> list[tuple[str, str]]:
    """(path, line) of what base has and the change has not, with such a word in it. At most 100: each is compared."""
    found: list[tuple[str, str]] = []
    for path in change.changed:
        if path in change.base and PurePosixPath(path).suffix in CODE:
            kept = Counter((text_of(change.head, path) or "").splitlines())
            for line in (text_of(change.base, path) or "").splitlines():
                if kept[line]:
                    kept[line] -= 1
                elif SUPPRESSION.search(line):
                    found.append((path, line))
    return found[:100]


_ALIKE = 0.6
"""Share of the code before such a word that is as it was, from which on it is the same line, mended."""


def _is_same_line(old: tuple[str, str], new: tuple[str, str], at: int) -> bool:
    """Whether a line that is gone had the same word: as it is and moved, or in the same file and mended."""
    if old[1].strip() == new[1].strip():
        return True
    found = SUPPRESSION.search(old[1])
    if old[0] != new[0] or found is None or old[1][found.start() :].strip() != new[1][at:].strip():
        return False
    before, now = old[1][: found.start()].strip()[:300], new[1][:at].strip()[:300]
    matcher = SequenceMatcher(None, before, now, autojunk=False)
    return matcher.quick_ratio() >= _ALIKE and matcher.ratio() >= _ALIKE


def _placeholder(change: Change) -> Iterator[Hit]:
    for path, number, line in _added(change):
        if PLACEHOLDER.search(line):
            yield Hit("a placeholder of a secret is written down", path, number)


def _moved(change: Change) -> Iterator[Hit]:
    for path, number, line in _added(change):
        if REPLACEMENT.search(line):
            yield Hit("what stands for a secret of the repository is put where the secret was not", path, number)


def _source(change: Change) -> Iterator[Hit]:
    for path, number, line in _added(change):
        if matches(path, DEPENDENCY_LISTS) and not line.lstrip().startswith("#") and (found := SOURCE.search(line)):
            yield Hit(
                f"a dependency from somewhere else than the package index: {found.group().strip()!r}", path, number
            )


def _encoding(change: Change) -> Iterator[Hit]:
    for path in filter(is_python, change.present):
        text = change.head[path].content[:400].decode("latin-1")
        for number, line in enumerate(text.splitlines()[:2], start=1):
            cookie = COOKIE.match(line.removeprefix("\xef\xbb\xbf"))
            if (
                cookie
                and not ENCODINGS.fullmatch(cookie[1])
                and text_of(change.base, path) != text_of(change.head, path)
            ):
                yield Hit(f"the source says it is encoded as {cookie[1]!r}", path, number)


REFUSE, PERSON = Severity.REFUSE, Severity.PERSON

TEXT_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "bidi", "change", REFUSE,
        "New lines with characters that reorder text (U+202A–202E, U+2066–2069), tag characters outside of a flag, or "
        "runs of variation selectors.",
        "The code that runs is not the code that is reviewed.",
        "remove them; write an escape such as \\u202e where the text needs one",
        _bidi,
    ),
    Rule(
        "disguised-name", "change", REFUSE,
        "A name of Python in letters that Python itself reads as ASCII ones: fullwidth, mathematical and their like.",
        "Scanners look for eval and os._exit as they are usually spelled, and so do people.",
        "spell it in ASCII",
        _disguised,
    ),
    Rule(
        "source-encoding", "change", REFUSE,
        "A Python source with a coding line other than UTF-8, ASCII or a Latin code page, such as utf-7.",
        "Python would run other characters than a reviewer sees.",
        "remove the coding line and save the file as UTF-8",
        _encoding,
    ),
    Rule(
        "dependency-source", "change", REFUSE,
        "New requirement lines with a VCS or URL source, another index, or --find-links.",
        "What they install can change without the repository changing.",
        "require a released version by its name",
        _source,
    ),
)  # fmt: skip

TEXT_PERSON_RULES: tuple[Rule[Change], ...] = (
    Rule(
        "lookalike", "change", PERSON,
        "A name in code that has Cyrillic, Greek, fullwidth or mathematical letters which look like Latin ones among "
        "Latin letters.",
        "It is another name than the one that a reviewer reads.",
        "spell it in one script, or let a reviewer agree",
        _lookalike,
    ),
    Rule(
        "suppression", "change", PERSON,
        "New noqa, nosec, type: ignore, pylint: disable, pragma: no cover, eslint-disable, @ts-ignore and their like; "
        "but for a line that was moved, or mended and had the same word.",
        "A check that is told to look away is green. The security scanners here ignore such comments.",
        "mend what the check says, or let a reviewer agree",
        _suppression,
    ),
    Rule(
        "placeholder", "change", PERSON,
        "A new line with `lockgate-secret-`, the beginning of every placeholder that stands for a secret.",
        "Where the gateway sees it, it may put the real value in its place.",
        "read the secret from the environment",
        _placeholder,
    ),
    Rule(
        "redaction-moved", "change", PERSON,
        "A new line with `redacted_<kind>_<hash>`. Agents see such a word where the repository has a secret; in its "
        "own file it becomes the secret again, as often as it stood there.",
        "A secret in another place is for its owner to decide, and the word itself is of no use to a program.",
        "leave the word where it was and use it from there, or let a reviewer agree",
        _moved,
    ),
    Rule(
        "invisible", "change", PERSON,
        "New lines with zero-width or other invisible characters, or control characters that Python reads as breaks.",
        "Two names may look alike, and a line may hold more than it shows.",
        "remove them, or let a reviewer agree that the text needs them",
        _invisible,
    ),
)  # fmt: skip
