"""Planted faults: put before a reviewer now and then, told at once, and nothing that could ever be merged."""

import os
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from blocks.forges.local import LocalForge
from blocks.ledger import history
from blocks.workshop import Workshop
from domain.access import Role
from domain.brief import Brief
from domain.diffs import files_of
from domain.history import History
from domain.planted import RUN, Planting, faults, slots, with_fault
from domain.project import ProjectSettings
from domain.records import sentence_of
from domain.review_health import health
from domain.task import Answer, Approval, Attempt, Merged, Prepared, Question
from flows.housekeeping import daily
from kits.briefs import brief as a_brief
from kits.briefs import repository
from station import api
from tasks.people import planting
from tasks.people.planting import plant
from tests.contract.desk import Browser, FakeDesk
from tests.contract.test_moves import Stream

SOURCE, OTHER = "eeeeeeee-0000-4000-8000-000000000001", "eeeeeeee-0000-4000-8000-000000000002"
MARK = "fedcba9876543210"
LINE = "    return a * 2 if a >= 0 else -1"


def test_what_can_be_made_wrong_is_product_code_and_each_fault_changes_one_line() -> None:
    diff = (
        "diff --git a/shop/a.py b/shop/a.py\n--- a/shop/a.py\n+++ b/shop/a.py\n@@ -1 +1,5 @@\n same == here\n"
        "+# a == b\n+if a == b and c:\n+    x = 1\n+    return x <= 2\n"
        "diff --git a/tests/test_a.py b/tests/test_a.py\n--- a/tests/test_a.py\n+++ b/tests/test_a.py\n@@ -0,0 +1 @@\n"
        "+y = a == b\n"
        "diff --git a/n.md b/n.md\n--- a/n.md\n+++ b/n.md\n@@ -0,0 +1 @@\n+a == b\n"
    )
    files = files_of(diff)[0]
    whole = {"shop/a.py": "same == here\n# a == b\nif a == b and c:\n    x = 1\n    return x <= 2\n"}
    found = faults(files, ("tests/**",), whole.get)
    assert [(one.path, one.line, one.now) for one in found] == [
        ("shop/a.py", 3, "if a != b and c:"), ("shop/a.py", 5, "    return x < 2"),
    ]  # fmt: skip
    for one in found:
        changed = with_fault(files, one)
        assert changed is not None
        pairs = [
            pair
            for was, now in zip(files, changed, strict=True)
            for pair in zip(was.lines, now.lines, strict=True)
            if pair[0] != pair[1]
        ]
        assert [(was.text, now.text) for was, now in pairs] == [(one.was, one.now)]
    assert with_fault(files, found[0]._replace(was="another line")) is None


SAID = {
    "a.py": '"""Price.\n\nCallers pass an amount and get it\n"""\nlog(f"open and shut {a == b} or == so")  # x == y\n',
    "b.js": '/* open\n a and b == c */\nlog("x == y"); // a && b\nif (a && b) log(`p == q ${a}`)\n',
    "c.rb": "=begin\na and b\n=end\nx = %q(a == b)\n",
    "d.go": "x := `a == b\n && c`\n// a == b\n",
}


def test_what_is_said_in_a_comment_or_a_text_is_never_made_wrong() -> None:
    files = files_of("".join(
        f"diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -0,0 +1,{text.count(chr(10))} @@\n"
        + "".join(f"+{line}\n" for line in text.splitlines())
        for path, text in SAID.items()
    ))[0]  # fmt: skip
    assert [(one.path, one.now) for one in faults(files, (), SAID.get)] == [
        ("a.py", 'log(f"open and shut {a != b} or == so")  # x == y'), ("b.js", "if (a || b) log(`p == q ${a}`)"),
    ]  # fmt: skip
    assert faults(files, (), {}.get) == [], "nothing is known of a file that is not there"


def test_when_is_told_by_the_ledger_alone_and_never_more_often_than_the_team_said() -> None:
    monday = datetime(2026, 11, 30, tzinfo=UTC)
    week = [monday + timedelta(hours=hour) for hour in range(7 * 24)]
    for most in (0, 1, 3):
        seen = [slots("ledger", "Ann", most, at) for at in week]
        assert seen == sorted(seen, key=len), "what was due stays due"
        assert len(seen[-1]) == most == len(seen[5 * 24])
        assert seen[-1] == slots("ledger", "@ann", most, week[-1])
    assert slots("ledger", "ann", 1, monday + timedelta(days=7, hours=-1)) != slots(
        "ledger", "ann", 1, monday + timedelta(days=13)
    ), "another week, another one"
    begins = {next(at for at in week if slots("ledger", f"p{n}", 1, at)).hour for n in range(40)}
    assert len(begins) > 10, "nobody knows when"


def test_a_planted_fault_is_shown_told_at_once_and_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = FakeDesk(tmp_path)
    monkeypatch.setattr(api, "_once", desk.once)
    at = repository(tmp_path / "sums.git")
    forge = LocalForge(root=tmp_path / "forge")
    base = forge.base(str(at), "main")
    tree = dict(forge.tree(str(at), base))
    tree["sums.py"] = tree["sums.py"]._replace(
        content=tree["sums.py"].content + f"\n\ndef double(a):\n{LINE}\n".encode()
    )
    commit, tree_id = forge.commit(str(at), base, tree, "m", "agent")
    desk.app.desk.forge_of = lambda name: forge
    brief = Brief.model_validate(a_brief(at, "command/x", title="Add a double", branch="main"))
    prepared = Prepared(run_id=SOURCE, brief=brief, base=base, settings=ProjectSettings(), contract="c",
                        settings_source="detected", requirements=())  # fmt: skip
    question = Question(fingerprint=MARK + "f" * 48, attempt=1, commit=commit, text=f"```diff\n+{LINE}\n```")
    by_bob = Approval(answer=Answer.APPROVE, reviewer="bob", fingerprint=question.fingerprint, signed_in=True)
    for kind, key, value in (
        ("prepared", "1", prepared), ("attempt", "1", Attempt(number=1, base=base, commit=commit, tree=tree_id)),
        ("question", question.fingerprint, question), ("approval", question.fingerprint, by_bob),
        ("merged", commit, Merged(commit=commit)),
    ):  # fmt: skip
        desk.ledger.record(SOURCE, kind, key, value)
    desk.ledger.record(OTHER, "approval", "x", by_bob.model_copy(update={"reviewer": "review-er", "fingerprint": "x"}))
    ann = Browser(desk, Role.REVIEW)
    later = datetime.now(UTC) + timedelta(days=6 - datetime.now(UTC).weekday())

    def shop(per_week: int) -> Workshop:
        desk.workshop["planted"] = {"per_week": per_week}
        planting = Planting(per_week=per_week)
        return cast(Workshop, SimpleNamespace(ledger=desk.ledger, forge=forge, planted=planting))

    plant(shop(0), later)
    assert desk.ledger.entries(run_id=RUN) == (), "off unless a team turns it on"
    refs = _refs(tmp_path, at)
    desk.asked.clear()
    for _ in range(3):
        plant(shop(1), later)
    (entry,) = desk.ledger.entries(run_id=RUN)
    assert (entry.body["reviewer"], entry.body["was"]) == ("review-er", LINE), "bob saw that change, and waits for none"
    place = f"/desk/review/{entry.body['id']}"
    other = Browser(desk, Role.ADMINISTER)
    for who in (ann, other):
        who.get("/desk/")
    assert place in ann.page and "Add a double" in ann.page
    assert place not in other.page, "it is for one person"
    page = ann.get(place).content.decode()
    assert (
        "planted" not in page.lower().replace(str(tmp_path).lower(), "")
        and LINE not in page
        and entry.body["now"].replace(">", "&gt;") in page
    )
    story = ann.get(place.replace("/review/", "/task/"))
    assert story.status == 200 and "Add a double" in story.content.decode()
    seen = story.content.decode().partition('data-again="')[2].partition('"')[0]
    desk._loop.run(_is_told_as_of_any(ann, entry.body["id"], seen))
    merged = next(e for e in desk.ledger.entries(run_id=SOURCE) if e.kind == "merged")
    assert sentence_of("merged", merged.body)[:12] not in story.content.decode(), "it tells nothing of what came later"
    ann.get(place)
    assert ann.sent(f"{place}/looked", {"mark": MARK, "what": "opened"}).status == 204
    assert ann.send(place, {"decision": "approve", "mark": "0" * 16}).status == 409
    ann.get(place)
    told = ann.send(place, {"decision": "approve"}).content.decode()
    assert "It got past you" in told and f"sums.py, line {entry.body['line']}" in told
    ann.get("/desk/")
    assert place not in ann.page
    assert ann.get(place).status == 409 and ann.send(place, {"decision": "reject", "mark": MARK}).status != 200
    assert desk.changes() == [], "Prefect was asked for nothing: there is no run"
    assert _refs(tmp_path, at) == refs, "and no commit"
    assert [e.kind for e in desk.ledger.entries(run_id=RUN)] == ["planted", "planted-answer"]
    read = history.read(desk.ledger.url.get_secret_value())
    found = health([read])
    assert (found.caught, found.caught_by) == ((0, 1), (("review-er", (0, 1)),))
    assert RUN not in read.tasks and len(found.reviews) == 1, "it is no review in any other count"
    assert "Planted faults that were caught: 0 of 1: review-er 0 of 1" in ann.get("/desk/team").content.decode()
    plant(shop(1), later)
    assert len(desk.ledger.entries(run_id=RUN)) == 2, "one a week"


async def _is_told_as_of_any(ann: Browser, planted: str, seen: str) -> None:
    """A page that has another mark is told at once that something moved, and one that has this mark is told nothing."""
    there, behind = Stream(ann, planted, seen), Stream(ann, planted, "x")
    await behind.moved(1)
    await there.until(lambda: bool(there.told))
    assert behind.told[1] == f"id: {seen}\nevent: moved\ndata: {seen}\n\n" and len(there.told) == 1
    for stream in (there, behind):
        await stream.go()


def _refs(folder: Path, at: Path) -> list[str]:
    """Every ref and object of the repository and of the platform's own copy."""
    places = [at, *(path.parent for path in (folder / "forge").rglob("HEAD") if (path.parent / "objects").is_dir())]
    asked = ["git", "cat-file", "--batch-all-objects", "--batch-check"]
    return [subprocess.run(asked, cwd=place, capture_output=True, check=True, text=True).stdout for place in places]


def test_few_changes_are_looked_at_and_of_each_no_file_that_it_did_not_change(tmp_path: Path) -> None:
    at = repository(tmp_path / "sums.git")
    forge = LocalForge(root=tmp_path / "forge")
    base = forge.base(str(at), "main")
    tree = {
        **forge.tree(str(at), base),
        "large.py": forge.tree(str(at), base)["sums.py"]._replace(content=b"x = 1 == 2\n" * 9000),
    }
    commit, _ = forge.commit(str(at), base, tree, "m", "agent")
    assert list(forge.files(str(at), commit, {"sums.py", "large.py", "gone.py"}, 90_000)) == ["sums.py"]
    assert forge.files(str(at), commit, {"large.py"}, 100_000)["large.py"] == tree["large.py"]
    asked = {"q": SimpleNamespace(attempt=1, commit="x")}
    merged = {"looks": (), "given": (), "merged": "x", "asked_by": "", "judged": "x", "asked": asked}
    tasks = {str(number): SimpleNamespace(run_id=str(number), **merged) for number in range(60)}
    looked: list[str] = []
    shop = SimpleNamespace(ledger=SimpleNamespace(entries=lambda run_id, kind: looked.append(run_id) or ()))
    left = iter(range(20))
    for name in ("ann", "bob", "carl"):
        assert planting._made(cast(Workshop, shop), cast(History, SimpleNamespace(tasks=tasks)), name, 7, left) is None
    assert len(looked) == 20, "for all reviewers together"


def test_whether_one_is_due_is_looked_at_once_an_hour(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    asked: list[str] = []

    def look() -> list[str]:
        asked.append("looked")
        return []

    for age_s in (0, 10, 3500, 3700):
        if (mark := tmp_path / "planted-default").exists():
            os.utime(mark, (time.time() - age_s,) * 2)
        daily("planted-default", look, 3600)
    assert asked == ["looked"] * 2
