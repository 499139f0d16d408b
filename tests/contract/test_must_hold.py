"""What gates must answer clearly, whatever a repository, a change or a scanner is like: real forge, real sandboxes."""

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest

from blocks.scanners import Dependencies
from blocks.scanners.tool import Tool
from blocks.workshop import Workshop
from domain.errors import AgentError
from domain.policy import judge
from domain.ports import Scanner
from domain.task import Decision, Evidence, Scanned
from domain.trees import Tree
from kits import briefs
from kits.briefs import git, repository
from tests.contract.by_steps import a_workshop, brief, commit_of, entry, gated, prepared_by
from tests.unit.policy_cases import evidence, prepared

ACCEPTED, REFUSED, PERSON = Decision.ACCEPTED, Decision.REFUSED, Decision.NEEDS_PERSON
Change = Callable[[Tree], Tree]
Contents = dict[str | bytes, bytes]
Files = Mapping[str | bytes, bytes]
SETTINGS = f"{briefs.SETTINGS}mutation_s = 0\n"
"""Mutants have tests of their own."""
FILES = {**briefs.FILES, "lockgate.toml": SETTINGS}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with a_workshop(tmp_path_factory.mktemp("home")) as made:
        yield made


def made(at: Path, more: Files | None = None, files: dict[str, str] | None = None) -> Path:
    """A repository of `files`, and of `more` with names and contents of any bytes."""
    repository(at, FILES if files is None else files, bare=False)
    for path, content in (more or {}).items():
        place = os.path.join(os.fsencode(at), os.fsencode(path))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            file.write(content)
    if more:
        git(at, "add", "--all")
        git(at, "commit", "--quiet", "--message", "more")
    return at


# --- repositories and changes


def good(base: Tree) -> Tree:
    return {**base, "sums.py": entry(base["sums.py"].content + b"\n\ndef double(a):\n    return 2 * a\n")}


def good_and(files: Mapping[str, bytes]) -> Change:
    return lambda base: {**good(base), **{path: entry(content) for path, content in files.items()}}


def without(*paths: str) -> Change:
    return lambda base: {path: one for path, one in base.items() if path not in paths}


def renamed(old: str, new: str) -> Change:
    return lambda base: {new if path == old else path: one for path, one in base.items()}


def accepts(test: str) -> dict[str, Any]:
    """A brief's acceptance: one test with this body."""
    return {"acceptance": {"files": [{"path": "tests/acceptance/test_it.py", "content": f"def test_it():\n{test}\n"}]}}


class Case(NamedTuple):
    """A repository, a change of it, and what becomes of it."""

    change: Change
    decision: Decision
    reasons: tuple[str, ...] = ()
    more: Files = MappingProxyType({})
    brief: Mapping[str, Any] = MappingProxyType({})
    files: dict[str, str] | None = None


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 12345\n"
LFS: Contents = {"big.bin": POINTER, ".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n"}
BINARY: Contents = {
    "logo.png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "data/zeros.bin": bytes(100_000),
}
ENCODED: Contents = {
    "latin.py": "# -*- coding: latin-1 -*-\nX = 'é'\n".encode("latin-1"),
    "notes.txt": "hé\r\n".encode("utf-16"),
    "bom.py": b"\xef\xbb\xbfX = 1\n",
    "crlf.py": b"X = 1\r\n",
    "ünï.py": b"X = 1\n",
}
MANY: Files = {f"data/{number % 100}/{number}.txt": b"word %d\n" % number for number in range(10_000)}
WORDS: Files = {"words.py": b"WORD = 'a'\n\n\ndef say():\n    return WORD\n"}
SPOKEN = {**accepts("    import spoken\n    assert spoken.say() == 'a'"), "goal": "Rename `words.py` to `spoken.py`"}
GONE = {**accepts("    import pathlib\n    assert not pathlib.Path('words.py').exists()"), "goal": "Remove `words.py`"}

CASES: dict[str, Case] = {
    "10,000 files": Case(good, ACCEPTED, more=MANY),
    "no tests": Case(good, ACCEPTED, files={"lockgate.toml": SETTINGS, "sums.py": FILES["sums.py"]}),
    "binary files, LFS pointers and other encodings that stay, and texts of any kind that change": Case(
        good_and({"bom.py": b"\xef\xbb\xbfX = 2\n", "crlf.py": b"X = 2\r\n", "ünï.py": b"X = 2\n"}),
        ACCEPTED, (), BINARY | LFS | ENCODED,
    ),
    "what is no text and changes": Case(
        good_and({
            "logo.png": b"\x89PNG\0",
            "big.bin": POINTER.replace(b"12345", b"54321"),
            "latin.py": ENCODED["latin.py"] + b"Y = 1\n",
            "notes.txt": "hé ho".encode("utf-16"),
        }),
        PERSON,
        (
            "logo.png", "big.bin: a Git LFS pointer",
            "latin.py: not readable as UTF-8", "notes.txt: not readable as UTF-8",
        ),
        BINARY | LFS | ENCODED,
    ),
    "renames only": Case(renamed("words.py", "spoken.py"), ACCEPTED, (), WORDS, SPOKEN),
    "renames only, and something still wants the old name": Case(
        renamed("sums.py", "spoken.py"), REFUSED, ("tests/test_sums.py::test_add",), WORDS, SPOKEN
    ),
    "deletes only": Case(without("words.py"), ACCEPTED, (), WORDS, GONE),
    "deletes only, and a test with it": Case(
        without("words.py", "tests/test_sums.py"), REFUSED, ("tests/test_sums.py",), WORDS, GONE
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_any_repository_and_change_gets_a_clear_verdict(shop: Workshop, tmp_path: Path, name: str) -> None:
    case = CASES[name]
    at = made(tmp_path / "repository", case.more, case.files)
    ready = prepared_by(name, brief(at, **case.brief))
    assert ready.refusals == ()
    seen = gated(shop, ready, case.change)
    assert seen.verdict.decision is case.decision, seen.verdict
    assert [reason for reason in case.reasons if reason not in " ".join(seen.verdict.reasons)] == []
    assert not [f for f in seen.scanned.findings if f.rule == "scanner-failed"]


def test_what_fails_on_base_is_said_before_the_work_and_is_not_the_changes(shop: Workshop, tmp_path: Path) -> None:
    old = {"tests/test_old.py": "import sums\n\n\ndef test_old():\n    assert sums.add(1, 1) == 3\n"}
    lint = {"lockgate.toml": SETTINGS + "lint = \"sh -c 'echo sums.py:1: old; exit 1'\"\n"}
    at = made(tmp_path / "repository", files={**FILES, **old, **lint})
    ready = prepared_by("fails on base", brief(at))
    assert ready.refusals == ()
    told = "\n".join(ready.warnings)
    assert "tests pass (50 %); these do not count for the change: tests/test_old.py::test_old (" in told
    assert "lint fails on base (exit code 1), so only what it says anew counts" in told
    assert "test_double" not in told
    seen = gated(shop, ready, good)
    assert seen.verdict.decision is ACCEPTED, seen.verdict
    meant = made(tmp_path / "meant", files={
        **FILES, **old, "lockgate.toml": SETTINGS + 'known_failures = ["tests/test_old.py::test_old"]\n'
    })  # fmt: skip
    assert prepared_by("meant", brief(meant)).warnings == ()


def test_a_name_that_is_not_utf_8_is_left_out_by_its_name_and_none_may_be_added(shop: Workshop, tmp_path: Path) -> None:
    at = made(tmp_path / "repository", {b"caf\xe9.txt": b"x\n"})
    ready = prepared_by("a name", brief(at))
    assert ready.refusals == ()
    assert "left out of the work, and kept as it is: 'caf\\udce9.txt': the name is not UTF-8" in ready.warnings
    workspace = shop.sandbox.open({}, label="a name", toolchain=None)
    try:
        writes = "open(b'/work/caf\\xe9.txt', 'w').write('x')"
        done = workspace.run(["/usr/bin/python3", "-c", writes], timeout_s=20, env={})
        assert done.exit_code == 0, done.output
        with pytest.raises(AgentError, match="the name is not UTF-8"):
            workspace.collect()
    finally:
        workspace.close()


def test_an_empty_change_and_one_of_everything_are_told_apart(shop: Workshop, tmp_path: Path) -> None:
    ready = prepared_by("nothing", brief(made(tmp_path / "repository")))
    with pytest.raises(AgentError, match="changed nothing"):
        commit_of(shop, ready, lambda base: base)
    seen = gated(shop, ready, lambda base: {})
    assert seen.verdict.decision is REFUSED
    assert "tests/test_sums.py" in " ".join(seen.verdict.reasons)


def test_a_submodule_stays_as_it_is_and_a_change_may_not_touch_it(shop: Workshop, tmp_path: Path) -> None:
    at, other = made(tmp_path / "repository"), made(tmp_path / "other")
    git(at, "-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(other), "vendored")
    git(at, "commit", "--quiet", "--message", "a submodule")
    ready = prepared_by("submodule", brief(at))
    assert ready.refusals == ()
    seen = gated(shop, ready, good)
    assert seen.verdict.decision is ACCEPTED, seen.verdict
    with pytest.raises(AgentError, match="inside a submodule"):
        commit_of(shop, ready, good_and({"vendored/sums.py": b"x = 1\n"}))
    elsewhere = b'[submodule "vendored"]\n\tpath = vendored\n\turl = https://example.org/other\n'
    seen = gated(shop, ready, good_and({".gitmodules": elsewhere}))
    assert seen.verdict.decision is not ACCEPTED
    assert ".gitmodules" in " ".join(seen.verdict.reasons)


# --- scanners, every one of the workshop

LOOKS_AT: dict[str, bytes] = {
    "app.py": b"import requests\n",
    "db/new.sql": b"select 1;\n",
    ".github/workflows/ci.yml": b"on: push\npermissions: {}\njobs: {}\n",
    "pyproject.toml": b'[project]\nname = "app"\nversion = "1"\ndependencies = ["requests"]\n',
    "notes.txt": b"words\n",
}
"""Something for each scanner."""
TROUBLE = {
    "missing": None,
    "crashing": "kill -9 $$",
    "hanging": "sleep 600",
    "printing rubbish": "printf 'all is well \\377\\376'",
    "printing nothing": "exit 0",
}


class Service:
    """A registry in trouble: it hangs, hangs up, or says something else than one asks."""

    def __init__(self, says: bytes | None) -> None:
        self._says = says
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            if self._says is None:
                self._held.append(caller)
                continue
            caller.recv(65536)
            caller.sendall(self._says)
            caller.close()

    def close(self) -> None:
        for one in (self._listener, *self._held):
            one.close()


_HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
ANSWERS = {
    "missing": b"", "crashing": b"", "hanging": None, "printing rubbish": _HEAD % 4 + b"\xff\xfe{[",
    "printing nothing": _HEAD % 0,
}  # fmt: skip


@pytest.fixture
def troubled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Scanner, str], Scanner]]:
    """The same scanner in trouble."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    services: list[Service] = []

    def make(scanner: Scanner, trouble: str) -> Scanner:
        if isinstance(scanner, Dependencies):
            services.append(Service(ANSWERS[trouble]))
            if trouble == "missing":
                services[-1].close()
            url = services[-1].url
            return Dependencies(index_url=url, npm_registry=url, vulnerabilities=url, timeout_s=0.5, scan_timeout_s=5)
        assert isinstance(scanner, Tool), "a scanner of a new kind: say here how it breaks"
        script, program = TROUBLE[trouble], tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(stat.S_IRWXU)
        return type(scanner)(program=str(program) if script else "/nowhere/scanner", timeout_s=1)

    yield make
    for service in services:
        service.close()


@pytest.mark.parametrize("trouble", TROUBLE)
@pytest.mark.parametrize("name", [scanner.name for scanner in Workshop().scanners])
def test_a_scanner_in_trouble_lets_nothing_pass_and_says_who_it_was(
    troubled: Callable[[Scanner, str], Scanner], name: str, trouble: str
) -> None:
    whole = next(scanner for scanner in Workshop().scanners if scanner.name == name)
    head = {path: entry(content) for path, content in LOOKS_AT.items()}
    findings = troubled(whole, trouble).scan({}, head, sorted(head))
    assert findings
    known = evidence()
    seen = Evidence(
        attempt=known.attempt,
        tested=known.tested,
        scanned=Scanned(commit=known.scanned.commit, findings=findings, scanners=("one",)),
    )
    verdict = judge(prepared(), seen)
    expected = (PERSON, "dependencies/unknown") if name == "dependencies" else (REFUSED, "scanner-failed")
    assert (verdict.decision, expected[1] in verdict.rules) == (expected[0], True), verdict
    assert name in " ".join((*verdict.reasons, *verdict.rules))
