"""What the fake GitLab promises: each behaviour of docs/fake-forge.md."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from domain.diffs import files_of
from kits.fake_forge.gitlab import FakeGitLab

AT = "/projects/acme%2Fshop"


class At:
    """bob opens merge requests; each has a client of their own."""

    def __init__(self, fake: FakeGitLab, folder: Path) -> None:
        self.fake, self.folder = fake, folder
        fake.organization("acme", {"owner": "admin"})
        self.clone = fake.repository("acme/shop", files={"a.py": "x = 1\n"}, private=True)
        for login in ("ann", "bob", "cleo"):
            fake.user(login, role="read" if login == "cleo" else "write", repository="acme/shop")
        fake.user("eve")
        self.owner, self.ann, self.bob, self.cleo, self.eve = (
            self.client(one) for one in ("owner", "ann", "bob", "cleo", "eve")
        )

    def client(self, login: str, **token: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.fake.token(login, **token)}"}
        return httpx.Client(base_url=self.fake.api_url, headers=headers)

    def push(self, branch: str, text: str) -> tuple[str, str]:
        """bob pushes one commit on main; (its id, what git said)."""
        run, copy = subprocess.run, self.folder / f"{branch}-{abs(hash(text))}"
        address = self.clone.replace("://", f"://oauth2:{self.fake.token('bob')}@")
        run(["git", "clone", "-q", "-b", "main", address, str(copy)], check=True, capture_output=True)
        (copy / "a.py").write_text(text)
        who = ("-c", "user.name=bob", "-c", "user.email=bob@example.org")
        run(["git", *who, "commit", "-qam", "Change"], cwd=copy, check=True)
        words = ["git", "push", "-q", "-f", "origin", f"HEAD:{branch}"]
        said = run(words, cwd=copy, capture_output=True, text=True).stderr
        head = run(["git", "rev-parse", "HEAD"], cwd=copy, check=True, capture_output=True, text=True).stdout.strip()
        return head, said

    def opened(self, branch: str, title: str = "Change") -> Any:
        self.push(branch, f"x = {branch!r}\ny = 2\n")
        asked = {"title": title, "source_branch": branch, "target_branch": "main", "description": "why"}
        return self.bob.post(f"{AT}/merge_requests", json=asked).raise_for_status().json()


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[At]:
    with FakeGitLab() as fake:
        yield At(fake, tmp_path_factory.mktemp("clones"))


def test_a_second_merge_request_for_the_same_branches_is_409_and_a_list_knows_the_branch(at: At) -> None:
    one = at.opened("twice")
    asked = {"title": "x", "source_branch": "twice", "target_branch": "main"}
    again = at.bob.post(f"{AT}/merge_requests", json=asked)
    assert again.status_code == 409 and "Another open merge request already exists" in again.json()["message"]
    at.opened("other")
    listed = at.ann.get(f"{AT}/merge_requests", params={"state": "all", "source_branch": "twice"}).json()
    assert [pull["iid"] for pull in listed] == [one["iid"]]


def test_a_draft_is_a_title_and_a_merge_of_what_is_not_mergeable_is_405(at: At) -> None:
    one = at.opened("draft", "[Draft] Change")
    where = f"{AT}/merge_requests/{one['iid']}"
    assert one["draft"] and one["detailed_merge_status"] == "preparing"
    assert [at.ann.get(where).json()["detailed_merge_status"] for _ in range(2)] == ["checking", "draft_status"]
    assert at.bob.put(f"{where}/merge", json={}).status_code == 405
    assert not at.bob.put(where, json={"title": "Change"}).json()["draft"]
    assert at.ann.get(where).json()["detailed_merge_status"] == "mergeable"


@pytest.mark.parametrize("method", ["merge", "ff"])
def test_a_merge_by_another_head_is_409_and_by_the_exact_one_merges(at: At, method: str) -> None:
    one = at.opened(f"exact-{method}")
    where = f"{AT}/merge_requests/{one['iid']}"
    at.owner.put(AT, json={"merge_method": method})
    at.ann.get(where)
    assert at.cleo.put(f"{where}/merge", json={}).status_code == 401
    other = at.bob.put(f"{where}/merge", json={"sha": "0" * 40})
    assert other.status_code == 409 and "SHA does not match HEAD of source branch" in other.json()["message"]
    asked = {"sha": one["sha"], "squash": True, "squash_commit_message": "T"}
    done = at.bob.put(f"{where}/merge", json=asked).json()
    assert (done["state"], done["merge_user"]["username"]) == ("merged", "bob")
    main = at.ann.get(f"{AT}/repository/branches/main").json()["commit"]["id"]
    assert main == (done["merge_commit_sha"] if method == "merge" else done["squash_commit_sha"])
    assert at.bob.put(f"{where}/merge", json=asked).status_code == 405
    at.owner.put(AT, json={"merge_method": "merge"})


def test_an_approval_names_its_moment_and_no_commit_and_survives_a_push(at: At) -> None:
    one = at.opened("approved")
    where = f"{AT}/merge_requests/{one['iid']}"
    assert at.ann.post(f"{where}/approve", json={"sha": "0" * 40}).status_code == 409
    assert at.ann.post(f"{where}/approve", json={"sha": one["sha"]}).status_code == 201
    assert at.ann.post(f"{where}/approve", json={}).status_code == 401, "once"
    head, _ = at.push("approved", "x = 3\n")
    (given,) = at.bob.get(f"{where}/approvals").json()["approved_by"]
    versions = at.bob.get(f"{where}/versions").json()
    assert set(given) == {"user", "approved_at"} and given["user"]["username"] == "ann"
    assert [version["head_commit_sha"] for version in versions] == [head, one["sha"]]
    assert versions[1]["created_at"] < given["approved_at"] < versions[0]["created_at"]
    assert at.bob.post(f"{where}/approve", json={}).status_code == 201, "authors may, where nobody forbids it"
    assert at.ann.post(f"{where}/unapprove").status_code == 201


def test_changes_are_requested_by_an_order_in_a_note(at: At) -> None:
    one = at.opened("wishes")
    where = f"{AT}/merge_requests/{one['iid']}"
    assert at.ann.post(f"{where}/notes", json={"body": "no\n/request_changes"}).json()["body"] == "no"
    assert [(r["user"]["username"], r["state"]) for r in at.bob.get(f"{where}/reviewers").json()] == [
        ("ann", "requested_changes")
    ]
    notes = at.bob.get(f"{where}/notes", params={"sort": "asc"}).json()
    assert [(note["system"], note["body"]) for note in notes] == [(True, "requested changes"), (False, "no")]


def test_a_list_leads_to_its_next_page_by_a_link(at: At) -> None:
    where = f"{AT}/merge_requests/{at.opened('paged')['iid']}/notes"
    for text in ("0", "1", "2"):
        at.ann.post(where, json={"body": text}).raise_for_status()
    first = at.ann.get(where, params={"per_page": 2, "sort": "asc"})
    last = at.ann.get(first.links["next"]["url"])
    assert [note["body"] for note in (*first.json(), *last.json())] == ["0", "1", "2"]
    assert "next" not in last.links and first.links["next"]["url"].startswith(f"{at.fake.api_url}{AT}/")


def test_a_discussion_stands_at_a_line_of_the_head_and_is_resolved(at: At) -> None:
    one = at.opened("lines")
    where = f"{AT}/merge_requests/{one['iid']}/discussions"
    (changed,) = at.ann.get(f"{AT}/merge_requests/{one['iid']}/diffs").json()
    assert (changed["new_path"], changed["old_path"]) == ("a.py", "a.py")
    files, _ = files_of(f"diff --git a/x b/x\n{changed['diff']}")
    line = next(line.new for line in files[0].lines if line.kind == "add")
    place = {"new_path": "a.py", "old_path": "a.py", "new_line": line, "position_type": "text", **one["diff_refs"]}
    wrong: tuple[dict[str, object], ...] = ({"head_sha": "0" * 40}, {"new_line": 99}, {"old_line": 7}, {"base_sha": ""})
    for other in wrong:
        assert at.ann.post(where, json={"body": "why?", "position": {**place, **other}}).status_code == 400, other
    answer = at.ann.post(where, json={"body": "why?", "position": place})
    assert answer.status_code == 201, answer.text
    made = answer.json()
    assert made["notes"][0]["position"]["new_line"] == line and not made["notes"][0]["resolved"]
    at.bob.put(f"{where}/{made['id']}", json={"resolved": True}).raise_for_status()
    assert at.bob.get(where).json()[0]["notes"][0]["resolved_by"]["username"] == "bob"


def test_a_status_that_is_under_way_is_not_begun_again(at: At) -> None:
    one = at.opened("statuses")
    for state, code in (("pending", 201), ("pending", 400), ("running", 201), ("success", 201), ("pending", 201)):
        answer = at.bob.post(f"{AT}/statuses/{one['sha']}", json={"name": "ci", "state": state})
        assert answer.status_code == code, (state, answer.text)
    told = at.ann.get(f"{AT}/repository/commits/{one['sha']}/statuses", params={"all": "true"}).json()
    assert [status["status"] for status in told] == ["success", "pending"]


def test_a_protected_branch_takes_no_push_and_rules_are_in_the_status(at: At) -> None:
    one = at.opened("ruled")
    where = f"{AT}/merge_requests/{one['iid']}"
    assert at.owner.post(f"{AT}/protected_branches", json={"name": "main", "push_access_level": 0}).status_code == 201
    rule = at.owner.post(f"{AT}/approval_rules", json={"name": "all", "approvals_required": 1}).json()["id"]
    try:
        assert "You are not allowed to push code to protected branches" in at.push("main", "x = 9\n")[1]
        at.ann.get(where)
        assert at.ann.get(where).json()["detailed_merge_status"] == "not_approved"
        assert at.bob.put(f"{where}/merge", json={}).status_code == 405
        at.ann.post(f"{where}/approve", json={})
        assert at.ann.get(where).json()["detailed_merge_status"] == "mergeable"
    finally:
        at.owner.delete(f"{AT}/protected_branches/main").raise_for_status()
        at.owner.delete(f"{AT}/approval_rules/{rule}").raise_for_status()


def test_a_deleted_branch_closes_its_merge_request(at: At) -> None:
    one = at.opened("gone")
    assert at.ann.delete(f"{AT}/repository/branches/gone").status_code == 204
    shown = at.bob.get(f"{AT}/merge_requests/{one['iid']}").json()
    assert (shown["state"], shown["closed_by"]["username"], shown["sha"]) == ("closed", "ann", one["sha"])


def test_a_member_has_a_level_and_who_may_not_see_gets_404(at: At) -> None:
    ids = {name: at.owner.get("/users", params={"username": name}).json()[0]["id"] for name in ("ann", "cleo", "eve")}
    levels = {name: at.bob.get(f"{AT}/members/all/{number}") for name, number in ids.items()}
    assert [levels[name].json().get("access_level") for name in ids] == [30, 20, None]
    assert levels["eve"].status_code == 404 and at.eve.get(AT).status_code == 404
    assert httpx.get(at.fake.api_url + AT).status_code == 401
    weak = at.client("ann", permissions={"api": "read"})
    refused = weak.post(f"{AT}/statuses/x", json={})
    assert (weak.get(AT).status_code, refused.status_code, refused.json()["error"]) == (200, 403, "insufficient_scope")


def test_a_renamed_project_redirects_and_an_archived_one_takes_no_write(at: At) -> None:
    number = at.owner.get(AT).json()["id"]
    assert at.owner.put(AT, json={"path": "store"}).status_code == 200
    moved = at.ann.get(f"{AT}/merge_requests", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (
        302,
        f"{at.fake.api_url}/projects/{number}/merge_requests",
    )
    assert at.bob.post(f"{AT}/repository/branches", json={"branch": "late", "ref": "main"}).status_code == 405
    at.owner.put(f"/projects/{number}", json={"path": "shop"}).raise_for_status()
    at.owner.post(f"{AT}/archive").raise_for_status()
    asked = {"branch": "late", "ref": "main"}
    assert at.bob.post(f"{AT}/repository/branches", json=asked).status_code == 403
    at.owner.post(f"{AT}/unarchive").raise_for_status()
    assert at.bob.post(f"{AT}/repository/branches", json=asked).status_code == 201


def test_issues_are_counted_apart_and_notes_tell_what_was_edited(at: At) -> None:
    made = at.cleo.post(f"{AT}/issues", json={"title": "One", "description": "b"}).raise_for_status().json()
    assert made["iid"] == 1 and at.ann.get(f"{AT}/merge_requests/1").json() != made
    issue = f"{AT}/issues/1"
    at.bob.put(issue, json={"add_labels": "go", "assignee_ids": [at.bob.get("/user").json()["id"]]}).raise_for_status()
    at.cleo.put(issue, json={"title": "Two", "description": "c"}).raise_for_status()
    at.bob.put(issue, json={"remove_labels": "go", "assignee_ids": []}).raise_for_status()
    events = at.ann.get(f"{issue}/resource_label_events").json()
    assert [(one["action"], one["label"]["name"]) for one in events] == [("add", "go"), ("remove", "go")]
    notes = at.ann.get(f"{issue}/notes?sort=asc").json()
    assert [one["body"] for one in notes if one["system"]] == [
        "assigned to @bob", "changed title from **One** to **Two**", "changed the description", "unassigned @bob",
    ]  # fmt: skip


def test_the_events_of_a_project_have_what_was_said_in_it(at: At) -> None:
    number = at.cleo.post(f"{AT}/issues", json={"title": "Said", "description": "b"}).raise_for_status().json()["iid"]
    at.cleo.post(f"{AT}/issues/{number}/notes", json={"body": "/lockgate run"}).raise_for_status()
    first = at.ann.get(f"{AT}/events", params={"target_type": "note", "sort": "desc"}).json()[0]
    assert (first["action_name"], first["note"]["noteable_iid"], first["note"]["body"]) == (
        "commented on", number, "/lockgate run",
    )  # fmt: skip
    assert "updated_at" not in first["note"]
    today = first["created_at"][:10]
    assert at.ann.get(f"{AT}/events", params={"after": today}).json() == []


def test_the_table_of_behaviours_names_these_tests() -> None:
    text = (Path(__file__).parents[2] / "docs" / "fake-forge.md").read_text().partition("## A GitLab")[2]
    mine = {name for name in globals() if name.startswith("test_")} - {"test_the_table_of_behaviours_names_these_tests"}
    assert mine == {word for word in text.split("`") if word.startswith("test_")}
