"""Secrets of a repository and agents: real scanners, a real repository, real sandboxes, and an agent that tells all."""

import base64
import gzip
import os
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from prefect import flow

from blocks.agents.command import Command
from blocks.memory import Memory, block_name
from blocks.scanners import Gitleaks, Kingfisher
from blocks.workshop import Workshop, workshop
from domain.brief import Acceptance, AcceptanceFile, Brief, Roles
from domain.errors import SandboxError
from domain.policy import change_findings
from domain.project import ProjectSettings
from domain.redaction import REPLACEMENT
from domain.spots import Spotted
from domain.task import Attempt, Evidence, Feedback, Plan, Prepared, Scanned
from domain.task import Tested as OfTests
from domain.trees import Tree, TreeEntry
from tasks.edit import edit
from tasks.plan import plan
from tasks.review import opinion
from tasks.room.redaction import redacted, spotted
from tests.made_once import toolchains
from tests.prefect_server import prefect_server

T = TypeVar("T")
TOKEN = "gh" + "p_" + "Zx7Kq2Wm9Rt4Yb6Nc8Vd3Lf5Js1Hg0Pa2Bu4"
OTHER = "gh" + "p_" + "Lm4Xc8Vb2Nq6Wz9Kt3Rd7Yf1Hs5Jg0Pa2Tu6"
PASSWORD = "S3cr3tP4ssw0rdXyz"
BODY = [base64.b64encode(bytes(range(n, n + 48))).decode() for n in range(0, 200, 17)]
KEY = "\n".join((f"-----BEGIN {'RSA'} PRIVATE KEY-----", *BODY, f"-----END {'RSA'} PRIVATE KEY-----"))
ENCODED = base64.b64encode(f"header token = '{TOKEN}'".encode()).decode()
NESTED = base64.b64encode(ENCODED.encode()).decode()
SECRETS = (TOKEN, PASSWORD, ENCODED, NESTED, *BODY)

FILES: dict[str, bytes] = {
    "README.md": b"# Shop\n",
    "AGENTS.md": f"Deploy with {TOKEN}.\n".encode(),
    "app.py": f"import os\nTOKEN = '{TOKEN}'\nURL = 'postgres://app:{PASSWORD}@db.internal/app'\n".encode(),
    "binary.bin": b"\x00\xff\xfe\x01 " + TOKEN.encode() + b" \x80\r\n",
    "deploy/key.pem": f"{KEY}\n".encode(),
    "encoded.yml": f"auth: {ENCODED}\n".encode(),
    "nested.txt": f"once more: {NESTED}\n".encode(),
    "old/dump.gz": gzip.compress(f"TOKEN = '{TOKEN}'\n".encode(), mtime=0),
    "utf16.txt": f"TOKEN = '{TOKEN}'\n".encode("utf-16"),
}
TELLS = """
import os
for top in ("/work", "/lockgate"):
    for at, _, names in os.walk(top):
        for name in sorted(names):
            print("==", os.path.join(at, name), open(os.path.join(at, name), "rb").read())
"""
MOVES = """
lines = open("/work/app.py").read().split("\\n")
open("/work/app.py", "w").write("\\n".join([lines[0], "", "# moved", lines[2], "    ".join(["", lines[1]]), ""]))
word = lines[1].split("'")[1]
open("/work/other.py", "w").write("T = '" + word + "'\\n")
os.remove("/work/nested.txt")
open("/work/README.md", "a").write("attempt " + os.environ["LOCKGATE_ATTEMPT"] + "\\n")
"""
REVIEWS = """
open("/lockgate/opinion.json", "w").write('{"summary": "seen"}')
"""


def git(at: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    return subprocess.run(["git", *who, *arguments], cwd=at, capture_output=True, check=True, text=True).stdout.strip()


def program(*parts: str) -> str:
    """A command line for the sandbox's own Python."""
    return f"/usr/bin/python3 -c {shlex.quote(''.join(parts))}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home and a Prefect server of their own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("PREFECT_")]:
            patch.delenv(name)
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("PREFECT_LOCAL_STORAGE_PATH", str(home / "results"))
        patch.setenv("LOCKGATE_HOME", str(home))
        with prefect_server():
            Workshop(sandboxes="bubblewrap", registries=(), toolchains=toolchains()).keep("redaction")
            Command(command=program(TELLS, MOVES)).keep("moves")
            Command(command=program(TELLS, REVIEWS)).keep("reviews")
            Command(command=program(TELLS), plans=True).keep("plans")
            workshop.cache_clear()
            yield home
            workshop.cache_clear()


@pytest.fixture(scope="module")
def repository(home: Path) -> Path:
    """A repository with secrets of many forms."""
    at = home.with_name(f"{home.name}-shop")  # beside what is Lockgate's own
    at.mkdir()
    git(at, "init", "--quiet", "-b", "main")
    for path, content in FILES.items():
        (at / path).parent.mkdir(parents=True, exist_ok=True)
        (at / path).write_bytes(content)
    git(at, "add", "--all")
    git(at, "commit", "--quiet", "-m", "all of it")
    return at


@pytest.fixture(scope="module")
def shop(home: Path) -> Workshop:
    return workshop("redaction")


@pytest.fixture(scope="module")
def ready(repository: Path) -> Prepared:
    """A task on that repository, as `prepare` leaves it."""
    test = AcceptanceFile(path="test_app.py", content=f"def test_it():\n    assert '{TOKEN}'\n")
    brief = Brief(
        title="Move a line", goal=f"Move the line with {TOKEN}", repository=str(repository), workshop="redaction",
        acceptance=Acceptance(files=(test,)), agent="command/moves",
        roles=Roles(plan="command/plans", review="command/reviews"),
    )  # fmt: skip
    Memory(repository=str(repository), agent="command/moves", text=f"the key is {TOKEN}").keep(
        block_name(str(repository), "command/moves")
    )
    return Prepared(
        run_id="run-1", brief=brief, base=git(repository, "rev-parse", "HEAD"), settings=ProjectSettings(),
        settings_source="lockgate.toml", contract="", requirements=(),
    )  # fmt: skip


@pytest.fixture(scope="module")
def first(ready: Prepared, shop: Workshop) -> Attempt:
    """The first attempt: it moves a line, and puts a replacement into another file."""
    return in_a_run(lambda: edit(ready, Plan(steps=("move it",)), 1, (), "command/moves"))


def in_a_run(work: Callable[[], T]) -> T:
    @flow(name="in-a-run")
    def it() -> T:
        return work()

    return it()


def heard(shop: Workshop, attempt: Attempt) -> str:
    """All that the agent read and said again."""
    assert attempt.transcript
    return shop.store.get(attempt.transcript).decode()


def assert_hidden(text: str) -> None:
    assert [secret[:12] for secret in SECRETS if secret in text] == []


def test_the_agent_reads_none_of_the_secrets(first: Attempt, shop: Workshop) -> None:
    told = heard(shop, first)
    assert_hidden(told)
    assert all(f"== /work/{path} " in told for path in FILES)
    assert all(f"== /lockgate/{name} " in told for name in ("brief.md", "memory.md", "acceptance/test_app.py"))
    assert "PRIVATE KEY" not in told
    assert told.count("a secret is inside of this file") == 3, "archive, UTF-16, Base64 of Base64"
    assert REPLACEMENT.search(told.partition("== /lockgate/memory.md")[2])


def test_what_it_did_not_touch_is_as_it_was_and_a_moved_line_has_its_secret(
    first: Attempt, shop: Workshop, repository: Path
) -> None:
    assert first.commit, first.problem
    left = shop.forge.tree(str(repository), first.commit)
    untouched = FILES.keys() - {"app.py", "nested.txt", "README.md"}
    assert {path: left[path].content for path in untouched} == {path: FILES[path] for path in untouched}
    lines = FILES["app.py"].decode().split("\n")
    assert left["app.py"].content.decode() == f"import os\n\n# moved\n{lines[2]}\n    {lines[1]}\n"
    assert first.changed_paths == ("README.md", "app.py", "nested.txt", "other.py", "test_app.py"), (
        "with the acceptance"
    )


def test_a_replacement_in_another_file_is_not_filled_in_and_a_person_is_asked(
    first: Attempt, shop: Workshop, repository: Path, ready: Prepared
) -> None:
    base, left = (shop.forge.tree(str(repository), commit) for commit in (first.base, first.commit or ""))
    assert REPLACEMENT.search(left["other.py"].content.decode())
    found = change_findings(ready, first, base, left)
    assert [f.path for f in found if f.rule == "redaction-moved"] == ["other.py"]
    for scanner in (shop.kingfisher, shop.gitleaks):
        assert scanner.scan({}, {"other.py": left["other.py"]}, ["other.py"]) == (), "it is no secret by itself"


def test_feedback_and_the_last_patch_hold_no_secret(first: Attempt, shop: Workshop, ready: Prepared) -> None:
    said = f"app.py:2: assert '{TOKEN}' == 1, with {BODY[1]} and {PASSWORD}"
    why = Feedback(attempt=1, source="gates", points=(said,), last_commit=first.commit)
    second = in_a_run(lambda: edit(ready, Plan(steps=("again",)), 2, (why,), "command/moves"))
    told = heard(shop, second)
    assert_hidden(told)
    patch = told.partition("== /lockgate/last-attempt.patch ")[2].partition("\n==")[0]
    assert "a/nested.txt" in patch and "(not shown" in patch
    assert "-TOKEN = " in patch and "+    TOKEN = " in patch
    assert set(REPLACEMENT.findall(patch)) <= set(REPLACEMENT.findall(heard(shop, first))), "the words of the tree"
    assert "== /lockgate/feedback.md " in told


def test_planner_and_reviewer_read_none_either(
    first: Attempt, shop: Workshop, ready: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs: list[str] = []
    real = Command._run

    def listening(self: Command, *given: object) -> object:
        done = real(self, *given)  # type: ignore[arg-type]
        outputs.append(done.output)
        return done

    monkeypatch.setattr(Command, "_run", listening)
    evidence = Evidence(
        attempt=first,
        tested=OfTests(commit=first.commit or "", rows=(), sandbox="none"),
        scanned=Scanned(commit=first.commit or "", findings=(), scanners=()),
    )
    in_a_run(lambda: plan(ready, (), 1))
    said = in_a_run(lambda: opinion(ready, Plan(steps=("move it",)), evidence))
    assert said.summary == "seen"
    assert len(outputs) == 2
    for output in outputs:
        assert_hidden(output)
        assert "== /work/deploy/key.pem " in output
    assert "+    TOKEN = " in outputs[1], "the reviewer has the diff"


def test_a_secret_that_the_change_brings_is_hidden_from_the_reviewer_too(shop: Workshop, ready: Prepared) -> None:
    base = shop.forge.tree(ready.brief.repository, ready.base)
    head: Tree = {**base, "new.py": TreeEntry(0o100644, f"KEY = '{OTHER}'\nT = '{TOKEN}'\n".encode())}
    seen = redacted(shop, ready, head)
    assert OTHER.encode() not in seen.tree["new.py"].content
    assert_hidden(seen.tree["new.py"].content.decode())


def test_equal_trees_are_scanned_once_and_no_value_is_kept(shop: Workshop, ready: Prepared) -> None:
    tree = shop.forge.tree(ready.brief.repository, ready.base)
    seen = spotted(shop, tree)
    broken = shop.model_copy(update={"kingfisher": Kingfisher(program="/nowhere"), "gitleaks": Gitleaks()})
    broken.__dict__["secret_scanners"] = shop.secret_scanners
    assert spotted(broken, tree) == seen, "from the ledger, by no scanner"
    for entry in shop.ledger.entries():
        if entry.kind == "spotted":
            assert_hidden(str(entry.body))
            assert Spotted.model_validate(entry.body).problem is None


def test_no_agent_reads_a_tree_that_a_scanner_could_not_read(shop: Workshop, ready: Prepared) -> None:
    for failing in ({"kingfisher": Kingfisher(program="/nowhere")}, {"gitleaks": Gitleaks(program="/nowhere")}):
        broken = shop.model_copy(update=failing)
        broken.__dict__.pop("secret_scanners", None)
        for _ in range(2):  # and it is not kept that nothing was found
            with pytest.raises(SandboxError, match="not searched for secrets"):
                redacted(broken, ready, shop.forge.tree(ready.brief.repository, ready.base))
