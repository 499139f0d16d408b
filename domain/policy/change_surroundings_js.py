"""What new JavaScript and TypeScript of a product newly looks at, reaches and hides. Read line by line."""

import functools
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import PurePosixPath

from domain.policy.change import ENOUGH, Change, base_names, is_beside, text_of
from domain.policy.change_other_code import new_script_lines
from domain.policy.rule import Hit

_Q = r"['\"`]"
_AROUND = re.compile(
    r"\bObject\.(?:keys|entries|values|getOwnPropertyNames)\(\s*process\.env\s*\)|\bin\s+process\.env\s*\)"
    r"|\bReflect\.ownKeys\(\s*process\.env|\bJSON\.stringify\(\s*process\.env|\.\.\.\s*process\.env\s*\]"
    r"|\bprocess\.(?:ppid|execArgv|title)\b|\bos\.(?:hostname|userInfo)\(|\bprocess\.cwd\(\)\s*\.?\s*(?:[!=]==?|(?:includes|endsWith|match|split|indexOf)\b)"
    r"|\bprocess\.argv\s*\.\s*(?:some|find|join|includes|indexOf|filter|slice\(\s*0)\b|\bprocess\.argv\.toString\("
    r"|\brequire\.cache\b|\bmodule\.(?:parent|children)\b|\bprocess\._\w+|\bprocess\.binding\("
    r"|(?:Date\.now\(\)|new Date\(\)(?:\.\w+\(\))?)\s*[<>]=?\s*(?:new Date\(|Date\.(?:parse|UTC)\(|\d{4})"
    r"|(?:new Date\([^()]+\)|Date\.(?:parse|UTC)\([^()]*\)|(?<!\d)\d{10,})\s*[<>]=?\s*(?:Date\.now\(\)|new Date\(\))"
    r"|\b(?:process\.uptime|performance\.now)\(\)\s*[<>]=?\s*\d|\bNODE_ENV\b\W{0,6}[!=]==?\s*['\"`](?:production|prod)\b"
    r"|['\"`]production['\"`]\s*[!=]==?\s*process\.env|\b(?:console\.\w+|JSON\.\w+|Object\.assign)\([^()]*\bprocess\.env\s*[,)]"
    r"|^(?!.*\benv\s*:).*\.\.\.\s*process\.env\b|\bprocess\.exitCode\s*=\s*0\b|\bprocess\.reallyExit\b"
    r"|\bprocess\.(?:on|once|addListener|prependListener)\(\s*['\"`](?:exit|beforeExit|uncaughtException|unhandledRejection)\b"
    r"|\bprocess\.std(?:in|out|err)\.isTTY\b|\bprocess\.(?:getuid|geteuid|getgid|getegid|getgroups|listenerCount|listeners|memoryUsage"
    r"|resourceUsage|cpuUsage|getActiveResourcesInfo)\(|\bisMainThread\b|\bprocess\.env\.(?:npm_\w+|KUBERNETES_\w+|HOSTNAME|CI)\b"
    r"|\b(?:new Date\([^()]*\)|Date\.now\(\))"
    r"(?:\.get(?:UTC)?(?:Day|Date|Hours|Minutes|Month)\(\)\s*[!=<>]=?=?\s*\d|\s*[%&]\s*\d)"
    r"|\bMath\.random\(\)\s*[<>]=?\s*(?:0?\.0|1e-|0?\.9[5-9]|0?\.99)|\bObject\.(?:keys|getOwnPropertyNames)\(\s*global(?:This)?\s*\)"
    r"|\bprocess\.argv\.length\s*[!=<>]|\bimport\.meta\.url\s*\.\s*(?:includes|match|indexOf)\b|(?:\bos|\))\.(?:cpus|loadavg|totalmem|freemem|networkInterfaces)\("
    r"|\b__dirname\b.{0,60}['\"`/]\.\.(?:/\.\.|['\"`]\s*,\s*['\"`]\.\.)|\bexistsSync\(.{0,80}\b(?:tests?|spec|__tests__|node_modules|\.git)\b"
)
_BUILTINS = (
    "Array|Object|String|Number|Boolean|Map|Set|WeakMap|Promise|RegExp|Date|Function|Symbol|Error|Reflect|JSON|Math"
    "|Intl|Buffer|console|globalThis\\.(?:JSON|Date|Math|console)"
)
_CHANGED = re.compile(
    rf"(?<![.\w])(?:{_BUILTINS})(?:\.prototype)?(?:\.\w+|\[[^\]\n]{{1,80}}\])\s*=(?![=>])"
    rf"|\bObject\.(?:defineProperty|defineProperties|assign|setPrototypeOf)\(\s*(?:{_BUILTINS})(?:\.prototype)?\s*,"
    r"|\b__proto__\s*=(?!=)"
)
_POWERS = {
    "other machines": "net|http|https|http2|tls|dgram|dns|axios|got|node-fetch|undici|ws|request|superagent",
    "other programs": "child_process|cluster|execa|cross-spawn|shelljs|node-pty",
    "code from elsewhere": "vm|module|worker_threads|inspector|repl|v8|vm2",
    "the machine below": "ffi|ffi-napi|node-gyp-build|bindings|process\\.dlopen",
}
_ASKS_FOR = r"(?:\brequire\(\s*|\bimport\(\s*|\bfrom\s+|\bimport\s+|\bgetBuiltinModule\(\s*)"
_IMPORT = _ASKS_FOR + r"{q}(?:node:)?(?:{names})(?:/promises)?{q}"
_GLOBALS = re.compile(r"\bfetch\(|\bnew\s+(?:WebSocket|EventSource|XMLHttpRequest)\b|\bnavigator\.sendBeacon\(")
_ADDRESS = re.compile(rf"{_Q}(?:https?|wss?)://([\w.-]+)")
_LOCAL = re.compile(
    r"localhost$|127\.|0\.0\.0\.0$|.*\.(?:local|test|example|invalid)$|(?:.*\.)?(?:example\.(?:com|net|org)|w3\.org)$"
)
_PIECES = re.compile(
    rf"(?:\[|\brequire\(|\bimport\()\s*(?:{_Q}[^'\"`\n]*{_Q}\s*\+\s*)+{_Q}[^'\"`\n]*{_Q}\s*[\])]"
    rf"|(?:\[|\brequire\(|\bimport\()\s*`[^`\n]*\$\{{\s*{_Q}"
    rf"|{_Q}[^'\"`\n]*{_Q}\s*\.\s*(?:concat|replace)\(\s*{_Q}|{_Q}[^'\"`\n]+{_Q}\s*\.split\([^)]*\)\s*\.(?:reverse\(\)\s*\.\s*)?(?:join|map)\("
    r"|\[\s*(?:['\"][^'\"\n]{0,20}['\"]\s*,\s*)+['\"][^'\"\n]{0,20}['\"]\s*\]\s*\.\s*(?:reverse\(\)\s*\.\s*)?join\(\s*['\"]{2}"
    rf"|\bString\.fromCharCode\(\s*\d|\batob\(\s*{_Q}|\bBuffer\.from\(\s*{_Q}[^'\"`\n]*{_Q}\s*,\s*{_Q}(?:base64(?:url)?|hex|latin1|binary){_Q}"
    rf"|(?:\\x[0-9a-fA-F]{{2}}|\\u[0-9a-fA-F]{{4}}){{4,}}|\[\s*{_Q}constructor{_Q}\s*\]|\.constructor\.constructor\b"
)


_RUNNERS = re.compile(
    _ASKS_FOR + rf"{_Q}(node:test|vitest|@jest/globals|jest|mocha|chai|ava|tap|sinon|@testing-library/[\w-]+){_Q}"
)


_PIECE, _TWICE = 4_000, 400
"""Characters of a line that are read at once, and of these that the next piece has, too."""


def _lines(change: Change) -> Iterator[tuple[str, int, str]]:
    """New lines, very long ones in pieces: what some patterns take grows with the square of a line. (`unreadable` asks
    a person about such lines, whatever is in them.)"""
    for path, number, line in new_script_lines(change):
        yield from ((path, number, line[at : at + _PIECE]) for at in range(0, len(line) or 1, _PIECE - _TWICE))


def imports_runner_script(change: Change) -> Iterator[Hit]:
    base_has = functools.cache(functools.partial(_base_has, change))

    def hits() -> Iterator[Hit]:
        for path, number, line in _lines(change):
            found = _RUNNERS.search(line)
            if found and not base_has(re.compile(f"{_ASKS_FOR}{_Q}{re.escape(found[1])}{_Q}")):
                yield Hit(f"product code asks for a test runner: {line.strip()[:100]!r}", path, number)

    yield from islice(hits(), ENOUGH)


def looks_around_script(change: Change) -> Iterator[Hit]:
    for path, number, line in _lines(change):
        if _AROUND.search(line):
            yield Hit(f"it asks where it runs: {line.strip()[:100]!r}", path, number)


def hides_script(change: Change) -> Iterator[Hit]:
    for path, number, line in _lines(change):
        if _PIECES.search(line):
            yield Hit(f"a name or a text is put together out of pieces: {line.strip()[:100]!r}", path, number)


def reaches_script(change: Change) -> Iterator[Hit]:
    base_has = functools.cache(functools.partial(_base_has, change))
    for path, number, line in _lines(change):
        for family, names in _POWERS.items():
            asked = re.compile(_IMPORT.format(q=_Q, names=names))
            found = asked.search(line) or (_GLOBALS.search(line) if family == "other machines" else None)
            if found and not base_has(asked if asked.search(line) else _GLOBALS):
                said = f"it reaches {family}, which nothing of the product does on base: {line.strip()[:80]!r}"
                yield Hit(said, path, number)
        if _MADE_CODE.search(line) and not base_has(_MADE_CODE):
            yield Hit(f"it makes code of a text, or HTML without escaping: {line.strip()[:80]!r}", path, number)
        if (found := _OF_ASSERT.search(line)) and found[1] in _asserts(change, path):
            yield Hit(f"it changes what tests assert with: {line.strip()[:80]!r}", path, number)
        if _CHANGED.search(line) and not base_has(_CHANGED):
            yield Hit(f"it changes what all code of the process has: {line.strip()[:80]!r}", path, number)
    yield from islice(_addresses(change), ENOUGH)


_MADE_CODE = re.compile(
    r"\bnew\s+Function\(|\.(?:innerHTML|outerHTML)\s*\+?=[^=]|\binsertAdjacentHTML\(|\bdocument\.write\("
)
_OF_ASSERT = re.compile(r"(?<![.\w])(\w+)(?:\.\w+|\[[^\]\n]{1,80}\])+\s*=(?![=>])")
_ASSERT = re.compile(
    r"\b(\w+)\s*=\s*require\(\s*['\"`](?:node:)?(?:assert|test|util|vm|async_hooks)(?:/\w+)?['\"`]"
    r"|\bimport\s+(?:\*\s+as\s+)?(\w+)\s+from\s+['\"`](?:node:)?(?:assert|test|util)(?:/\w+)?['\"`]"
)


def _asserts(change: Change, path: str) -> set[str]:
    """What a file calls the modules that tests assert with."""
    return {name for pair in _ASSERT.findall(text_of(change.head, path) or "") for name in pair if name}


def _addresses(change: Change) -> Iterator[Hit]:
    is_named = base_names(change)
    for path, number, line in _lines(change):
        for host in _ADDRESS.findall(line):
            if not _LOCAL.match(host) and not is_named(host):
                yield Hit(f"it names {host}, which base does not", path, number)


def _base_has(change: Change, asked: re.Pattern[str]) -> bool:
    scripts = (
        path
        for path in change.base
        if PurePosixPath(path).suffix in SCRIPTS and not change.is_test(path) and not is_beside(path)
    )
    return any(asked.search(text_of(change.base, path) or "") for path in scripts)


SCRIPTS = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx")
