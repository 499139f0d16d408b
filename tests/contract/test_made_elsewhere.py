"""Changes that were made elsewhere: somebody's branch goes through the whole loop, with real git, tests, scanners."""

import logging
import random
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from pydantic import SecretStr

from blocks.agents.command import Command
from blocks.forges import LocalForge
from blocks.forges.mirror import Mirror
from blocks.ledger import history
from blocks.ledger.ledger import Ledger
from blocks.workshop import Workshop
from domain.brief import Acceptance, Brief
from domain.errors import ForgeError, GatewayAway, GatewayError, InputError, NotYet, SandboxError, Withdrawn
from domain.issues import IssueIntake
from domain.policy.elsewhere import Unfit
from domain.ports import Joined
from domain.project import ElsewherePolicy, ProjectSettings
from domain.records import MEND
from domain.task import Approval, Attempt, Feedback, Outcome, Packed, Prepared, Verdict
from domain.track_record import records
from domain.trees import TreeEntry
from flows.agent_task import _turns
from flows.race import answered
from flows.report import Passed, turned_down
from kits.briefs import ACCEPTANCE, FILES, SETTINGS, git, repository
from kits.briefs import brief as of_sums
from tasks.pages.bill import bill_of
from tasks.people.asking import A_CLAIM
from tasks.people.elsewhere import Pushed, on_base
from tasks.people.mending import Mend, as_commits, mend, mends, put_on_branch, try_to_mend
from tasks.prepare import with_own_tests
from tasks.review_gate import Review
from tests.contract.by_steps import WORKSHOP, a_workshop, in_a_run
from tests.unit.policy_cases import prepared

BAD, GOOD = "\n\ndef double(a):\n    return 3 * a\n", "\n\ndef double(a):\n    return 2 * a\n"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with a_workshop(tmp_path_factory.mktemp("elsewhere")) as made:
        yield made


class Person:
    """Somebody with a clone, who pushes to branches."""

    def __init__(self, at: Path, name: str) -> None:
        self.at, self.name = at, name
        self.clone = at.with_name(f"{at.name}-of-{name.split()[0]}")
        git(at, "clone", "--quiet", str(at), str(self.clone))

    def pushes(self, branch: str, files: Mapping[str, str | None], on: str = "") -> str:
        """A commit on top of the branch, or on `on`; its id. None takes a file away."""
        git(self.clone, "fetch", "--quiet")
        git(self.clone, "checkout", "--quiet", "-B", branch, on or f"origin/{branch}")
        for path, content in files.items():
            (self.clone / path).parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                (self.clone / path).unlink()
            else:
                (self.clone / path).write_text(content)
        git(self.clone, "add", "--all")
        who = f"{self.name} <{self.name.split()[0].lower()}@example.org>"
        git(self.clone, "commit", "--quiet", "--allow-empty", "--author", who, "--message", "mine")
        git(self.clone, "push", "--quiet", "--force", "origin", branch)
        return git(self.clone, "rev-parse", "HEAD")


class Loop:
    """One run of the pipeline, in one process. Each time that it waits for a push, the next of `pushes` happens;
    without one nobody waits any longer. Carl approves what comes to the gate."""

    def __init__(self, patch: pytest.MonkeyPatch, *pushes: Callable[[], object]) -> None:
        self.pushes, self.run, self.shown = list(pushes), "", list[str]()
        self.while_carl_looks: list[Callable[[], object]] = []
        patch.setattr("tasks.people.elsewhere.answered", self._pushed)
        patch.setattr("tasks.review_gate.answered", self._review)
        patch.setattr("tasks.review_gate.known_by", lambda *_: A_CLAIM)

    def _pushed(self, form: type[Any], text: str, key: str, **_: str) -> Any:
        self.shown.append(text)
        if not self.pushes:
            return Pushed(looked_by="housekeeping", stop="nobody pushed")
        self.pushes.pop(0)()
        return Pushed(looked_by="poll")

    def _review(self, form: type[Any], text: str, key: str, mark: str) -> Any:
        self.shown.append(text)
        if self.while_carl_looks:
            self.while_carl_looks.pop(0)()
        return Review(decision="approve", reviewer="carl", mark=mark)

    def of(self, told: Brief) -> State:
        def it() -> State:
            self.run = self.run or str(flow_run.id)
            return _turns(self.run, told)

        return in_a_run(it)


def asked(at: Path, change: str, **fields: Any) -> Brief:
    given = {"workshop": WORKSHOP, "change": change, "budget": {"attempts": 4}, **fields}
    return Brief.model_validate(of_sums(at, "", **given))


def test_a_branch_is_refused_waits_for_a_push_and_is_merged_in_its_authors_name(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = repository(tmp_path / "sums.git")
    ann, bob = Person(at, "Ann Lee"), Person(at, "Bob Ray")
    sums = git(at, "show", "main:sums.py") + "\n"
    tests = {"tests/test_twice.py": ACCEPTANCE.replace("test_double", "test_twice")}
    first = ann.pushes("ann/double", {"sums.py": sums + BAD}, "origin/main")
    heads: list[str] = []

    def mends_it() -> None:
        heads.append(bob.pushes("ann/double", {"sums.py": sums + GOOD, **tests}))
        ann.pushes("main", {"README.md": "sums\n"})  # the branch moves meanwhile

    loop = Loop(monkeypatch, mends_it)
    loop.of(asked(at, "ann/double"))
    entries = shop.ledger.entries(run_id=loop.run)
    (outcome,) = [Outcome.model_validate(e.body) for e in entries if e.kind == "outcome"]
    assert outcome.end == "merged", (outcome, loop.shown)
    attempts = [Attempt.model_validate(e.body) for e in entries if e.kind == "attempt"]
    assert [one.source for one in attempts] == [first, *heads]
    assert [one.agent for one in attempts] == ["elsewhere: Ann Lee", "elsewhere: Bob Ray"]
    verdicts = [Verdict.model_validate(e.body) for e in entries if e.kind == "verdict"]
    assert verdicts[0].is_refused and "test_double" in verdicts[0].reasons[0]
    assert "push to ann/double" in loop.shown[0] and "make it pass" in loop.shown[0], "it says what to mend"
    (approval,) = [Approval.model_validate(e.body) for e in entries if e.kind == "approval"]
    assert (approval.reviewer, approval.rule) == ("carl", None)
    assert git(at, "log", "-1", "--format=%an <%ae>", "main") == "Bob Ray <bob@example.org>"
    message = git(at, "log", "-1", "--format=%B", "main")
    assert "Co-authored-by: Ann Lee <ann@example.org>" in message and f"Lockgate-Change: {heads[0]}" in message
    tree = git(at, "ls-tree", "-r", "--name-only", "main").splitlines()
    assert {"README.md", "tests/test_twice.py", "tests/acceptance/test_double.py"} <= set(tree)
    assert git(at, "rev-parse", "ann/double") == heads[0], "nobody's branch is pushed to"
    assert bill_of(shop.ledger, loop.run).usd == 0 and not [e for e in entries if e.kind in ("plan", "metered")]
    book = history.read(shop.ledger.url.get_secret_value())
    lines = {one.line.agent: (one.asked, one.merged) for one in records([book])}
    assert lines["elsewhere: Bob Ray"] == (1, 1) and lines["elsewhere: Ann Lee"][1] == 0


def test_our_agent_mends_a_branch_and_it_stays_its_authors_change_when_base_moves(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = repository(
        tmp_path / "sums.git", {**FILES, "lockgate.toml": f'{SETTINGS}[elsewhere]\nmend = "command/fixer"\n'}
    )
    Command(command="/bin/sed -i 's/3 . a/2 * a/' sums.py").keep("fixer")
    ann = Person(at, "Ann Lee")
    head = ann.pushes("ann/double", {"sums.py": FILES["sums.py"] + BAD}, "origin/main")
    loop = Loop(monkeypatch)
    loop.while_carl_looks.append(lambda: ann.pushes("main", {"README.md": "sums\n"}))
    loop.of(asked(at, "ann/double"))
    entries = shop.ledger.entries(run_id=loop.run)
    (outcome,) = [Outcome.model_validate(e.body) for e in entries if e.kind == "outcome"]
    assert outcome.end == "merged", (outcome, loop.shown)
    (mended,) = [Mend.model_validate(e.body) for e in entries if e.kind == "mend"]
    assert git(at, "rev-parse", "ann/double") == mended.commit and git(at, "rev-parse", "ann/double~") == head
    attempts = [Attempt.model_validate(e.body) for e in entries if e.kind == "attempt"]
    assert [one.agent for one in attempts] == ["elsewhere: Ann Lee", "elsewhere: Ann Lee, mended by command/fixer"]
    assert len(loop.shown) == 2 and not any("push to" in one for one in loop.shown), "carl was asked twice, ann never"
    assert git(at, "log", "-1", "--format=%an <%ae>", "main") == "Ann Lee <ann@example.org>", "on the new base, too"
    assert "Co-authored-by: lockgate/command/fixer" in git(at, "log", "-1", "--format=%B", "main")
    assert "2 * a" in git(at, "show", "main:sums.py") and git(at, "show", "main:README.md") == "sums"


def test_the_changes_own_new_tests_are_its_acceptance_and_nobody_waits_for_ever(
    shop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = repository(tmp_path / "sums.git")
    ann = Person(at, "Ann Lee")
    sums = git(at, "show", "main:sums.py") + "\n"
    evil = "from sums import double\n\n\ndef test_double():\n    assert double(4) == 8\n\n\nKEY = 'ghp_%s'\n"
    secret = evil % ("Zq3x9Lk2Vb7Nm4Rt8Yw1Pc6Hs5Jd0Fg2KaXe")
    ann.pushes("own", {"sums.py": sums + GOOD, "tests/test_double.py": secret}, "origin/main")
    green = {"sums.py": sums + GOOD, "tests/test_add.py": "def test_one():\n    assert True\n"}
    first = ann.pushes("own", {"sums.py": sums + GOOD, "tests/test_double.py": None}, "origin/own")
    opened = git(at, "show", "main:tests/test_sums.py") + "\n" + ACCEPTANCE.replace("test_double", "test_twice")

    def conflicts() -> None:
        ann.pushes("main", {"sums.py": sums.replace("a + b", "b + a")})
        ann.pushes("own", {"sums.py": sums.replace("a + b", "(a + b)") + GOOD}, "origin/main~1")

    loop = Loop(
        monkeypatch,
        conflicts,
        lambda: ann.pushes("own", green, "origin/main"),
        lambda: ann.pushes(
            "own",
            {"sums.py": sums + GOOD, "tests/test_double.py": secret, "tests/test_sums.py": opened},
            "origin/main",
        ),
    )
    with pytest.raises(Withdrawn, match="nobody pushed"):
        loop.of(asked(at, "own", acceptance={}, may_change_tests=["tests/test_sums.py"], budget={"attempts": 5}))
    entries = shop.ledger.entries(run_id=loop.run)
    attempts = [Attempt.model_validate(e.body) for e in entries if e.kind == "attempt"]
    assert attempts[0].source == first and len(attempts) == 4
    assert "adds no test file" in str(attempts[0].problem), "no test of its own waits for a push"
    assert "it conflicts with the branch that it would go to, in 'sums.py'" in str(attempts[1].problem), "so it does"
    assert "already passes on base" in str(attempts[2].problem), "and so does one that proves nothing"
    assert (attempts[3].added_lines, attempts[3].problem) == (18, None), "its own tests are lines of it"
    *_, ready = [e.body for e in entries if e.kind == "prepared"]
    own = [file["path"] for file in ready["brief"]["acceptance"]["files"]]
    assert ready["own_tests"] and own == ["tests/test_double.py", "tests/test_sums.py"], "what the brief opens, too"
    assert any("who made it wrote them" in one for one in ready["warnings"])
    rows = [(row["test"], row["base"], row["head"]) for e in entries if e.kind == "tested" for row in e.body["rows"]]
    assert ("tests/test_double.py::test_double", "passed") in [(test, head) for test, _, head in rows]
    (verdict,) = [Verdict.model_validate(e.body) for e in entries if e.kind == "verdict"]
    assert verdict.is_refused and "secret" in " ".join(verdict.rules + verdict.reasons).lower(), verdict


# ── how it is taken, with git alone ──


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Person, Any]:
    folder = tmp_path_factory.mktemp("taken")
    at = repository(folder / "sums.git")
    ledger = Ledger(url=SecretStr(f"sqlite:///{folder}/ledger.db"))
    forge = LocalForge(root=folder / "mirrors", git_timeout_s=60)
    return at, Person(at, "Ann Lee"), SimpleNamespace(forge=forge, ledger=ledger, issues=())


Pushes = Callable[[Person], object]
TEXT = "def add(a, b):\n    return a + b\n"


def _conflict(ann: Person) -> None:
    ann.pushes("it", {"sums.py": TEXT.replace("a + b", "b + a")}, "origin/old")


def _other_history(ann: Person) -> None:
    git(ann.clone, "checkout", "--quiet", "--orphan", "other")
    git(ann.clone, "commit", "--quiet", "--message", "other")
    git(ann.clone, "push", "--quiet", "--force", "origin", "other:it")


def _submodule(ann: Person) -> None:
    git(ann.clone, "checkout", "--quiet", "-B", "it", "origin/main")
    git(ann.clone, "update-index", "--add", "--cacheinfo", f"160000,{'a' * 40},lib")
    git(ann.clone, "commit", "--quiet", "--message", "sub")
    git(ann.clone, "push", "--quiet", "--force", "origin", "it")


REFUSED: tuple[tuple[str, Pushes, str], ...] = (
    ("conflict", _conflict, "it conflicts with the branch that it would go to, in 'sums.py': merge that into it"),
    ("other-history", _other_history, "it has no commit in common"),
    ("submodule", _submodule, "it changes what no step can work on, nor a reviewer see: 'lib': a submodule"),
    ("empty", lambda ann: ann.pushes("it", {}, "origin/main"), "main has all of it already"),
    ("merged", lambda ann: ann.pushes("it", {}, "origin/old"), "main has all of it already"),
)


@pytest.mark.parametrize(("name", "pushes", "why"), REFUSED, ids=[name for name, _, _ in REFUSED])
def test_what_is_no_change_on_base_is_no_attempt_and_says_what_to_do(
    sums: tuple[Path, Person, Any], name: str, pushes: Pushes, why: str
) -> None:
    at, ann, shop = sums
    if not git(at, "branch", "--list", "old"):
        git(at, "branch", "old", "main")
        ann.pushes("main", {"sums.py": TEXT.replace("a + b", "(a + b)")})
    git(ann.clone, "fetch", "--quiet")
    git(ann.clone, "reset", "--quiet", "--hard")
    pushes(ann)
    attempt = taken(at, shop)
    assert attempt.commit is None and why in str(attempt.problem)


def taken(at: Path, shop: Any, change: str = "it") -> Attempt:
    told = prepared().brief.model_copy(update={"repository": str(at), "branch": "main", "change": change})
    ready = prepared().model_copy(update={"brief": told, "base": shop.forge.base(str(at), "main")})
    return on_base(shop, ready, 1, shop.forge.source(str(at), "it"))


def test_the_same_change_is_the_same_commit_whatever_its_attributes_and_hooks_say(
    sums: tuple[Path, Person, Any],
) -> None:
    at, ann, shop = sums
    head = ann.pushes(
        "it",
        {".gitattributes": "* filter=evil merge=evil text eol=crlf\n", "new.txt": "a\nb\n", "sums.py": TEXT + GOOD},
        "origin/main",
    )
    one, two = taken(at, shop), taken(at, shop)
    assert one == two and one.source == head and one.commit
    assert shop.forge.tree(str(at), one.commit)["new.txt"].content == b"a\nb\n"
    assert shop.forge.author(str(at), one.commit) == "Ann Lee <ann@example.org>"
    ann.name = "Bob Ray"
    ann.pushes("it", {"new.txt": "c\n"})
    ann.name = "Ann Lee"
    both = taken(at, shop)
    assert (both.agent, shop.forge.author(str(at), str(both.commit))) == (
        "elsewhere: Bob Ray",
        "Bob Ray <bob@example.org>",
    )
    message = shop.forge.message(str(at), str(both.commit))
    assert "Co-authored-by: Ann Lee <ann@example.org>\n" in message and f"Lockgate-Change: {both.source}\n" in message
    head = str(both.source)
    assert shop.forge.stands(str(at), "it") == head and shop.forge.stands(str(at), "no") is None


def test_what_our_agent_mended_stands_on_top_of_its_branch_and_never_over_a_push(
    sums: tuple[Path, Person, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, ann, shop = sums
    head = ann.pushes("it", {"mended.txt": "a\n"}, "origin/main")
    refused = taken(at, shop)
    told = prepared().brief.model_copy(update={"repository": str(at), "branch": "main", "change": "it"})
    ready = prepared().model_copy(update={"brief": told, "base": refused.base, "source": head})
    tree = {**shop.forge.tree(str(at), refused.commit), "mended.txt": TreeEntry(0o100644, b"b\n")}
    made = as_commits(shop, ready, refused, tree, "command/fixer")
    assert made.attempt.commit and shop.forge.tree(str(at), made.attempt.commit)["mended.txt"].content == b"b\n"
    monkeypatch.setattr("tasks.people.mending.workshop_of", lambda _: shop)
    for _ in range(2):
        put_on_branch(ready, refused, made)
    assert git(at, "rev-parse", "it") == made.commit
    assert git(at, "log", "--format=%an", f"{head}~..it").splitlines() == ["lockgate/command/fixer", "Ann Lee"]
    assert git(at, "diff", "--numstat", head, "it").split() == ["1", "1", "mended.txt"], "nothing else comes with it"
    shop.ledger.record("another-run", *MEND.at(1), made)
    again = on_base(shop, ready, 2, str(made.commit))
    assert again.agent == "elsewhere: Ann Lee, mended by command/fixer", "it stays her change"
    assert shop.forge.author(str(at), str(again.commit)) == "Ann Lee <ann@example.org>"
    assert "Co-authored-by: lockgate/command/fixer" in shop.forge.message(str(at), str(again.commit))
    mine = ann.pushes("it", {"mended.txt": "c\n"}, head)
    monkeypatch.setattr("tasks.people.mending.get_run_logger", lambda: logging.getLogger("lockgate"))
    put_on_branch(ready, refused, made)
    assert git(at, "rev-parse", "it") == mine, "who pushed meanwhile is not pushed over"


@pytest.mark.parametrize(
    ("change", "mend", "source", "known", "commit", "wanted"),
    [
        ("it", "command/fixer", "gates", None, "c", True),
        ("it", "", "gates", None, "c", False),
        ("", "command/fixer", "gates", None, "c", False),
        ("refs/pull/7/head", "command/fixer", "gates", None, "c", False),
        ("it", "command/fixer", "reviewer", None, "c", False),
        ("it", "command/fixer", "gates", "prepared", "c", False),
        ("it", "command/fixer", "gates", None, "d", False),  # base moved, and what was refused is another commit
    ],
)
def test_our_agent_mends_what_the_gates_refuse_of_a_branch_once_where_base_names_it(
    change: str, mend: str, source: str, known: str | None, commit: str, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = SimpleNamespace(find=lambda *_: known)
    monkeypatch.setattr("tasks.people.mending.workshop_of", lambda _: SimpleNamespace(ledger=ledger))
    told = prepared().brief.model_copy(update={"change": change})
    settings = ProjectSettings(elsewhere=ElsewherePolicy(mend=mend))
    ready = prepared().model_copy(update={"brief": told, "settings": settings})
    refused = Attempt(number=1, base=ready.base, commit="c" * 40)
    said = Feedback(attempt=1, source=source, points=("no",), last_commit=commit * 40)
    assert mends(ready, refused, said) is wanted


def to_mend(sums: tuple[Path, Person, Any], run: str, change: str, **fields: Any) -> tuple[Prepared, Attempt, Feedback]:
    """A branch of Ann's that the gates refused."""
    at, ann, shop = sums
    head = ann.pushes(change, {"mended.txt": "a\n"}, "origin/main")
    told = prepared().brief.model_copy(update={"repository": str(at), "branch": "main", "change": change})
    settings = ProjectSettings(elsewhere=ElsewherePolicy(mend="command/fixer", shared=("Team/**",)))
    ready = prepared().model_copy(
        update={"run_id": run, "brief": told, "base": shop.forge.base(str(at), "main"), "source": head}
    )
    ready = ready.model_copy(update={"settings": settings})
    refused = on_base(shop, ready, 1, head)
    ready = ready.model_copy(update={"brief": told.model_copy(update=fields)})
    return ready, refused, Feedback(attempt=1, source="gates", points=("no",), last_commit=refused.commit)


class AHost:
    def is_protected(self, repository: str, branch: str) -> bool:
        return True


def _default(patch: pytest.MonkeyPatch, at: Path, shop: Any) -> None:
    patch.setattr(LocalForge, "default_branch", lambda *_: "it")


def _no_default(patch: pytest.MonkeyPatch, at: Path, shop: Any) -> None:
    def raises(*_: object) -> str:
        raise InputError("HEAD is detached")

    patch.setattr(LocalForge, "default_branch", raises)


def _intake(patch: pytest.MonkeyPatch, at: Path, shop: Any) -> None:
    patch.setattr(shop, "issues", (IssueIntake(repository=f"{at}/", agent="command/none", branch="it"),))


def _goes_to_it(patch: pytest.MonkeyPatch, at: Path, shop: Any) -> None:
    packed = Packed(repository=str(at).removesuffix(".git"), branch="it", base="b" * 40, commit="c" * 40, pack="d" * 64)
    entries = shop.ledger.entries
    other = SimpleNamespace(body=packed.model_dump(mode="json"))
    patch.setattr(Ledger, "entries", lambda _, **asked: (other,) if asked == {"kind": "packed"} else entries(**asked))


def _protected(patch: pytest.MonkeyPatch, at: Path, shop: Any) -> None:
    patch.setattr(LocalForge, "hosted", lambda *_: AHost())


Arrange = Callable[[pytest.MonkeyPatch, Path, Any], object]
SHARED: tuple[tuple[str, str, dict[str, str], Arrange, str], ...] = (
    ("own", "it", {}, lambda *_: None, ""),
    ("own-below", "ann/main", {}, lambda *_: None, ""),
    ("promotion", "it", {"branch": "it"}, lambda *_: None, "it is where the change is to go"),
    ("develop", "Develop", {}, lambda *_: None, "branches of such a name are shared"),
    ("release", "release/2.x", {}, lambda *_: None, "branches of such a name are shared"),
    ("of-the-team", "team/shop", {}, lambda *_: None, "branches of such a name are shared"),
    ("default", "it", {}, _default, "it is the default branch"),
    ("no-default", "it", {}, _no_default, "HEAD is detached"),
    ("intake", "it", {}, _intake, "issues are worked on for it"),
    ("of-other-runs", "it", {}, _goes_to_it, "other runs merge into it"),
    ("protected", "it", {}, _protected, "it is protected"),
)


@pytest.mark.parametrize(("name", "change", "fields", "arrange", "why"), SHARED, ids=[name for name, *_ in SHARED])
def test_nothing_is_put_on_a_branch_that_others_build_on_and_no_agent_is_paid_for_it(
    sums: tuple[Path, Person, Any],
    name: str, change: str, fields: dict[str, str], arrange: Arrange, why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    at, _, shop = sums
    ready, refused, feedback = to_mend(sums, name, change, **fields)
    tree = {**shop.forge.tree(str(at), refused.commit), "mended.txt": TreeEntry(0o100644, b"b\n")}
    made = as_commits(shop, ready, refused, tree, "command/fixer")
    arrange(monkeypatch, at, shop)
    monkeypatch.setattr("tasks.people.mending.workshop_of", lambda _: shop)
    monkeypatch.setattr("tasks.people.mending.get_run_logger", lambda: logging.getLogger("lockgate"))
    monkeypatch.setattr("tasks.people.mending.unusable_agents", lambda *_: ("an agent would have been paid",))
    problem = str(mend.fn(ready, refused, feedback).attempt.problem)
    assert (why or "an agent would have been paid") in problem
    put_on_branch(ready, refused, made)
    assert git(at, "rev-parse", change) == (refused.source if why else made.commit)


def test_what_breaks_while_an_agent_mends_ends_no_run_and_is_not_done_twice(
    sums: tuple[Path, Person, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, opened = sums[2], list[str]()
    ready, refused, feedback = to_mend(sums, "breaks", "it")

    @contextmanager
    def room(*_: object, **__: object) -> Iterator[None]:
        opened.append("room")
        raise InputError("the project's setup fails: no such package")
        yield

    monkeypatch.setattr(shop, "agent", lambda _: Command(command="/bin/true"), raising=False)
    monkeypatch.setattr("tasks.people.mending.workshop_of", lambda _: shop)
    monkeypatch.setattr("tasks.people.mending.unusable_agents", lambda *_: ())
    monkeypatch.setattr("tasks.people.mending.used_up", lambda *_: "")
    monkeypatch.setattr("tasks.people.mending.room", room)
    for _ in range(2):
        made = mend.fn(ready, refused, feedback)
        assert "setup fails" in str(made.attempt.problem) and made.commit is None
        assert turned_down(made.attempt, []) is not None, "it is not tested, nor put anywhere"
    assert opened == ["room"], "what is on record is not done again"
    monkeypatch.setattr("tasks.people.mending.get_run_logger", lambda: logging.getLogger("lockgate"))
    for trouble, ends in (
        (SandboxError("no room"), False),
        (ForgeError("no disk"), False),
        (GatewayError("no such model"), False),
        (NotYet("the forge is away"), True),
        (GatewayAway("it is started again"), True),
    ):

        def breaks(*_: object, trouble: Exception = trouble) -> Mend:
            raise trouble

        monkeypatch.setattr("tasks.people.mending.mend", breaks)
        with pytest.raises(type(trouble)) if ends else nullcontext():
            assert try_to_mend(ready, refused, feedback).attempt.problem == str(trouble)


@pytest.mark.parametrize(("passes", "is_moved"), [(True, False), (False, False), (True, True)])
def test_only_what_passes_the_gates_is_put_on_the_branch_and_only_of_what_they_refused(
    sums: tuple[Path, Person, Any], passes: bool, is_moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, _, shop = sums
    ready, refused, feedback = to_mend(sums, f"answered-{passes}-{is_moved}", "it")
    tree = {**shop.forge.tree(str(at), refused.commit), "mended.txt": TreeEntry(0o100644, b"b\n")}
    made = as_commits(shop, ready, refused, tree, "command/fixer")
    if is_moved:
        feedback = feedback.model_copy(update={"last_commit": "d" * 40})
    judged: list[Attempt] = []

    def gates(_: Prepared, attempt: Attempt, earlier: list[Attempt]) -> Passed | Feedback:
        judged.append(attempt)
        return Passed(cast("Any", None), cast("Any", None)) if passes else feedback

    monkeypatch.setattr("tasks.people.mending.workshop_of", lambda _: shop)
    monkeypatch.setattr("flows.race.try_to_mend", lambda *_: made)
    monkeypatch.setattr("flows.race.helped", lambda _, told: told)
    assert answered(ready, [refused], [feedback], gates) == [feedback]
    assert judged == ([] if is_moved else [made.attempt])
    assert git(at, "rev-parse", "it") == (made.commit if passes and not is_moved else refused.source)


@pytest.mark.parametrize("change", ["no/such", "refs/pull/7/head"])
def test_a_change_that_is_not_there_is_told_with_what_is(sums: tuple[Path, Person, Any], change: str) -> None:
    at, _, shop = sums
    with pytest.raises(InputError, match=r"main|pull request"):
        shop.forge.source(str(at), change)


@pytest.mark.parametrize("change", ["-x", "a..b", "a b", "refs/tags/x", "refs/pull/0/head", "a~1", "@{-1}", "x.lock"])
def test_what_names_no_branch_is_no_change(change: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="neither a branch nor"):
        asked(tmp_path, change)


def _mktree(ann: Person, lines: str) -> str:
    made = subprocess.run(["git", "mktree"], cwd=ann.clone, input=lines, capture_output=True, text=True, check=True)
    return made.stdout.strip()


def _exploded(ann: Person) -> str:
    """Trees that name each other ten times, six levels deep: a million empty files in eight objects."""
    line = f"100644 blob {git(ann.clone, 'hash-object', '-w', '/dev/null')}"
    for _ in range(6):
        line = "040000 tree " + _mktree(ann, "".join(f"{line}\td{n}\n" for n in range(10)))
    return _pushed(ann, _mktree(ann, git(ann.clone, "ls-tree", "origin/main") + f"\n{line}\tdeep\n"))


def _odd(ann: Person, mode: str, *names: str) -> str:
    """A new directory as git would not write it."""
    blobs = [bytes.fromhex(git(ann.clone, "hash-object", "-w", name)) for name in ("sums.py", "/dev/null")]
    raw = b"".join(
        b"%b %b\0%b" % (mode.encode(), name.encode(), blob) for name, blob in zip(names, blobs, strict=False)
    )
    words = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    made = subprocess.run(words, cwd=ann.clone, input=raw, capture_output=True, check=True).stdout.decode().strip()
    return _pushed(ann, _mktree(ann, git(ann.clone, "ls-tree", "origin/main") + f"\n040000 tree {made}\tnew\n"))


def _pushed(ann: Person, tree: str) -> str:
    commit = git(ann.clone, "commit-tree", tree, "-p", "origin/main", "-m", "it")
    git(ann.clone, "push", "--quiet", "--force", "origin", f"{commit}:refs/heads/it")
    return commit


def test_a_tree_of_a_million_files_or_of_gigabytes_is_never_read(
    sums: tuple[Path, Person, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, ann, shop = sums
    git(ann.clone, "fetch", "--quiet")
    _exploded(ann)
    monkeypatch.setattr(Mirror, "read_tree", lambda *_: pytest.fail("its files are read"))
    assert "it brings more than 50,000 files or 200 MB" in str(joined(at, shop).problem)
    monkeypatch.setattr("blocks.forges.mirror.MOST_BYTES", 1_000_000)
    ann.pushes("it", {"zeros": "0" * 600_000, "ones": "1" * 600_000}, "origin/main")
    assert "it brings more than 50,000 files" in str(joined(at, shop).problem)


def test_a_branch_of_more_than_is_fetched_leaves_nothing_on_disk(
    sums: tuple[Path, Person, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, ann, shop = sums
    ann.pushes("it", {"noise": random.Random(7).randbytes(1_500_000).hex()}, "origin/main")
    mirrors = Path(shop.forge.root)
    before = sorted(mirrors.rglob("*pack*"))
    monkeypatch.setattr("blocks.forges.local.MOST_FETCHED", 1 << 20)
    for _ in range(2):
        with pytest.raises(InputError, match=r"refs/heads/it of .*: it brings more than 1 MB of commits"):
            shop.forge.source(str(at), "it")
    assert sorted(mirrors.rglob("*pack*")) == before
    monkeypatch.setattr("blocks.forges.local.MOST_FETCHED", 4 << 20)
    assert taken(at, shop).commit


def joined(at: Path, shop: Any) -> Joined:
    return shop.forge.join(str(at), shop.forge.base(str(at), "main"), shop.forge.source(str(at), "it"))  # type: ignore[no-any-return]


def test_a_test_that_base_took_out_is_none_of_a_branch_from_before_that(
    sums: tuple[Path, Person, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at, ann, shop = sums
    git(ann.clone, "fetch", "--quiet")
    ann.pushes("main", {"tests/test_old.py": "def test_old():\n    assert 0\n"})
    ann.pushes("it", {"tests/test_new.py": "def test_new():\n    assert 1\n"}, "origin/main")
    ann.pushes("main", {"tests/test_old.py": None})
    told = prepared().brief.model_copy(update={"change": "it", "acceptance": Acceptance()})
    base = shop.forge.tree(str(at), shop.forge.base(str(at), "main"))
    brief, is_own = with_own_tests(told, base, joined(at, shop), ProjectSettings())
    monkeypatch.setattr("domain.policy.elsewhere.MOST_BYTES", 10)
    with pytest.raises(Unfit, match="it adds over 100 test files"):
        with_own_tests(told, base, joined(at, shop), ProjectSettings())
    assert is_own and [one.path for one in brief.acceptance.files] == ["tests/test_new.py"]


@pytest.mark.parametrize(
    ("mode", "names", "why"),
    [("100664", ("m.py",), "would not be what is judged"), ("100644", ("m.py", "m.py"), "names a file twice")],
)
def test_a_pull_request_whose_merge_would_be_another_tree_is_no_attempt(
    sums: tuple[Path, Person, Any], mode: str, names: tuple[str, ...], why: str
) -> None:
    at, ann, shop = sums
    git(ann.clone, "fetch", "--quiet")
    _odd(ann, mode, *names)
    attempt = taken(at, shop, "refs/pull/7/head")
    assert attempt.commit is None and why in str(attempt.problem)
    ann.pushes("it", {"new/m.py": "A = 1\n"}, "origin/main")
    assert taken(at, shop, "refs/pull/7/head").commit
