"""Where canaries of Go and Rust stand, and which libraries they are linked with."""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from domain.ports import Completed
from domain.project import ProjectSettings
from domain.trees import Tree
from tasks.running.program_canaries import program_canaries
from tasks.running.suite import SuiteRequest, run_suite
from tests.unit.policy_cases import prepared, tree

LIB = '[package]\nname = "a-b"\n'
ALONE = LIB + '[lib]\ncrate-type = ["cdylib"]\n'
LINKED: dict[str, tuple[str, str | None, bool]] = {
    "a library": (LIB, None, True),
    "for Python and Rust": (LIB + '[lib]\ncrate-type = ["cdylib", "rlib"]\n', None, True),
    "for Python alone": (ALONE, None, False),
    "a static one": (LIB + '[lib]\ncrate_type = ["staticlib"]\n', None, False),
    "macros": (LIB + "[lib]\nproc-macro = true\n", None, False),
    "a path with a dot": (LIB + '[lib]\npath = "./src/lib.rs"\n', None, True),
    "a mark before the text": ("\ufeff" + LIB, None, True),
    "for Python as on base": (ALONE, ALONE, False),
    "what base links, hidden": (ALONE, LIB, True),
}  # fmt: skip


def _links(head: Tree, base: Tree | None) -> dict[str, bool]:
    made = program_canaries(head, base)
    text = {number: made.files[f"/lockgate/platform/cargo_canaries/{number}.rs"] for number in made.places}
    return {place: b"use a_b as _;" in text[number] for number, place in made.places.items()}


@pytest.mark.parametrize("name", LINKED)
def test_a_canary_is_linked_with_what_can_be_linked_or_what_base_links(name: str) -> None:
    manifest, before, due = LINKED[name]
    head = tree({"Cargo.toml": manifest, "src/lib.rs": ""})
    base = None if before is None else tree({"Cargo.toml": before, "src/lib.rs": ""})
    assert _links(head, base) == {"cargo .": due}


def test_a_library_that_becomes_a_program_is_linked_no_more() -> None:
    base = tree({"Cargo.toml": LIB, "src/lib.rs": ""})
    assert _links(tree({"Cargo.toml": LIB, "src/main.rs": ""}), base) == {"cargo .": False}


class _Cargo:
    """A workspace in which cargo runs the canaries of the first `ran` crates, and a test of the project."""

    kind = "fake"

    def __init__(self, ran: int) -> None:
        self.ran = ran
        self.files: dict[str, str] = {}

    def write(self, path: str, content: bytes) -> None:
        self.files[path] = content.decode()

    def run(self, argv: Sequence[str], *, timeout_s: float, env: Mapping[str, str]) -> Completed:
        return Completed(argv=tuple(argv), exit_code=0, output="", seconds=1)

    def save(self, path: str, max_bytes: int) -> bytes:
        said = "Running tests/all.rs (target/debug/deps/all-0123456789abcdef)\nrunning 1 test\ntest whole ... ok\n"
        name = self.files["/lockgate/platform/cargo_canaries/name"]
        for number in range(self.ran):
            source = self.files[f"/lockgate/platform/cargo_canaries/{number}.rs"]
            token = source.partition('assert_eq!("')[2].partition('"')[0]
            one, other = (f"{name}x{number}x{kind}" for kind in ("fails", "passes"))
            said += f"Running tests/{name}.rs (target/debug/deps/{name}-0123456789abcdef)\nrunning 2 tests\n"
            said += (
                f"test {one} ... FAILED\ntest {other} ... ok\n---- {one} stdout ----\n{token}\ntest result: FAILED\n"
            )
        begun = '{"runner": "cargo", "kind": "cargo", "cwd": "/work", "report": "one"}'
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w") as tar:
            for file, text in (("one.begun", begun), ("one", said)):
                about = tarfile.TarInfo(file)
                about.size = len(text)
                tar.addfile(about, io.BytesIO(text.encode()))
        return made.getvalue()


class _Store:
    def put(self, data: bytes) -> str:
        return "kept"


def test_a_crate_that_is_taken_out_has_no_canaries_to_miss_and_one_that_stays_has() -> None:
    both = tree({"Cargo.toml": LIB, "src/lib.rs": "", "old/Cargo.toml": LIB, "old/src/lib.rs": ""})
    less = {path: entry for path, entry in both.items() if not path.startswith("old/")}
    wanted = program_canaries(both).due
    assert len(wanted) == 4

    def problem(head: Tree, ran: int) -> str | None:
        @contextmanager
        def opened() -> Iterator[Any]:
            yield _Cargo(ran)

        settings = ProjectSettings(test="cargo test")
        shop: Any = SimpleNamespace(store=_Store())
        return run_suite(shop, head, prepared().brief, settings, opened, SuiteRequest(wanted, base=both)).problem

    assert problem(both, 2) is None
    assert problem(less, 1) is None
    assert "must be failed is missing" in str(problem(both, 1))
    assert "must be failed is missing" in str(problem(less, 0))


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("./... -failfast", "./..."),
        ("--failfast=true -v ./a -test.failfast -args -failfast x", "-v ./a -args -failfast x"),
        ("-run FailFast ./...", "-run FailFast ./..."),
    ],
)
def test_go_runs_the_tests_after_one_that_fails(tmp_path: Path, asked: str, given: str) -> None:
    go = Path("tasks/running/inside_programs/go").read_text().replace("/lockgate/reports", str(tmp_path))
    env = {**os.environ, "LOCKGATE_go": "/bin/echo"}
    subprocess.run(["sh", "-c", go, "go", "test", *asked.split()], env=env, check=True, capture_output=True)
    told = [path.read_text() for path in tmp_path.iterdir() if path.suffix != ".begun"]
    assert told == [f"test -json -failfast=false {given}\n"]


@pytest.mark.parametrize(
    "asked",
    ["-C deep test ./...", "test -C deep ./...", "test -C=deep ./...", "--C=deep test ./...", "--C deep test ./..."],
)
def test_go_may_be_told_where_it_runs(tmp_path: Path, asked: str) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "reports").mkdir()
    go = Path("tasks/running/inside_programs/go").read_text().replace("/lockgate/reports", str(tmp_path / "reports"))
    env = {**os.environ, "LOCKGATE_go": "/bin/echo"}
    subprocess.run(["sh", "-c", go, "go", *asked.split()], env=env, cwd=tmp_path, check=True, capture_output=True)
    told = {path.suffix: path.read_text() for path in (tmp_path / "reports").iterdir()}
    assert told[""] == "test -json -failfast=false ./...\n"
    assert f'"cwd": "{tmp_path}/deep"' in told[".begun"]
