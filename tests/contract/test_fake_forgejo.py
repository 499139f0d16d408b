"""What the fake Forgejo promises: each behaviour of docs/fake-forge.md, held against Forgejo's own swagger."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kits.fake_forge.description import DescriptionWatch, described
from kits.fake_forge.forgejo import FakeForgejo
from kits.fake_forge.forgejo.endpoints import ROUTES

AT = "/repos/acme/shop"


class At:
    """bob's branch `change`, with one commit on main; each has a client of their own."""

    def __init__(self, fake: FakeForgejo, folder: Path) -> None:
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
        headers = {"Authorization": f"token {self.fake.token(login, **token)}"}
        return httpx.Client(base_url=self.fake.api_url, headers=headers)

    def push(self, branch: str, text: str, base: str = "main", force: bool = False) -> tuple[str, str]:
        """bob pushes one commit; (its id, what git said)."""
        run, copy = subprocess.run, self.folder / f"{branch.replace('/', '-')}-{abs(hash(text))}"
        address = self.clone.replace("://", f"://bob:{self.fake.token('bob')}@")
        run(["git", "clone", "-q", "-b", base, address, str(copy)], check=True, capture_output=True)
        (copy / "a.py").write_text(text)
        who = ("-c", "user.name=bob", "-c", "user.email=bob@example.org")
        run(["git", *who, "commit", "-qam", "Change"], cwd=copy, check=True)
        words = ["git", "push", "-q", *(["-f"] if force else []), "origin", f"HEAD:{branch}"]
        said = run(words, cwd=copy, capture_output=True, text=True).stderr
        head = run(["git", "rev-parse", "HEAD"], cwd=copy, check=True, capture_output=True, text=True).stdout.strip()
        return head, said

    def pull(self, branch: str, title: str = "Change") -> Any:
        self.push(branch, f"x = {branch!r}\ny = 2\n")
        asked = {"title": title, "head": branch, "base": "main", "body": "why"}
        return self.bob.post(f"{AT}/pulls", json=asked).raise_for_status().json()


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[At]:
    with FakeForgejo() as fake:
        watch = DescriptionWatch(fake, "forgejo-14")
        yield At(fake, tmp_path_factory.mktemp("clones"))
        assert watch.problems == []


def test_a_second_pull_request_for_the_same_branches_is_409_and_a_list_knows_no_head(at: At) -> None:
    one = at.pull("twice")
    again = at.bob.post(f"{AT}/pulls", json={"title": "x", "head": "twice", "base": "main"})
    assert again.status_code == 409 and "pull request already exists for these targets" in again.json()["message"]
    at.pull("other")
    listed = at.ann.get(f"{AT}/pulls", params={"state": "all", "poster": "bob", "limit": 50}).json()
    assert [pull["number"] for pull in listed] == [one["number"] + 1, one["number"]]
    assert at.ann.get(f"{AT}/pulls", params={"poster": "ann"}).json() == []


def test_a_draft_is_a_title_and_is_not_merged(at: At) -> None:
    one = at.pull("draft", "[wip] Change")
    where = f"{AT}/pulls/{one['number']}"
    assert one["draft"]
    refused = at.bob.post(f"{where}/merge", json={"Do": "squash"})
    assert (refused.status_code, refused.json()["message"]) == (405, "Work in progress PRs cannot be merged")
    changed = at.bob.patch(where, json={"title": "Change"})
    assert (changed.status_code, changed.json()["draft"]) == (201, False)


def test_mergeable_is_false_while_it_is_computed_and_a_merge_says_to_come_again(at: At) -> None:
    one = at.pull("computed")
    where = f"{AT}/pulls/{one['number']}"
    early = at.bob.post(f"{where}/merge", json={"Do": "squash"})
    assert (early.status_code, early.json()["message"]) == (405, "Please try again later")
    assert [at.ann.get(where).json()["mergeable"] for _ in range(2)] == [False, True]


def test_a_merge_by_another_head_is_409_and_by_the_exact_one_answers_nothing(at: At) -> None:
    one = at.pull("exact")
    where, tip = f"{AT}/pulls/{one['number']}", at.ann.get(f"{AT}/branches/main").json()["commit"]["id"]
    at.ann.get(where)
    assert at.cleo.post(f"{where}/merge", json={"Do": "squash"}).status_code == 405
    other = at.bob.post(f"{where}/merge", json={"Do": "squash", "head_commit_id": tip})
    assert (other.status_code, other.json()["message"]) == (409, "head out of date")
    asked = {"Do": "squash", "head_commit_id": one["head"]["sha"], "MergeTitleField": "T", "MergeMessageField": "m"}
    done = at.bob.post(f"{where}/merge", json=asked)
    assert (done.status_code, done.content) == (200, b"")
    shown = at.ann.get(where).json()
    assert shown["merged"] and shown["merged_by"]["login"] == "bob"
    main = at.ann.get(f"{AT}/branches/main").json()["commit"]
    assert (main["id"], main["message"]) == (shown["merge_commit_sha"], "T\n\nm")
    assert at.bob.post(f"{where}/merge", json=asked).status_code == 405
    assert at.bob.patch(where, json={"state": "closed"}).status_code == 412


def test_reviews_name_the_commit_and_are_stale_after_a_push_and_nobody_approves_their_own(at: At) -> None:
    one = at.pull("reviews")
    where = f"{AT}/pulls/{one['number']}/reviews"
    own = at.bob.post(where, json={"event": "APPROVED"})
    assert (own.status_code, own.json()["message"]) == (422, "approve your own pull is not allowed")
    assert at.ann.post(where, json={"event": "REQUEST_CHANGES"}).status_code == 422
    given = at.ann.post(where, json={"event": "APPROVED"}).json()
    assert (given["state"], given["commit_id"], given["official"]) == ("APPROVED", one["head"]["sha"], True)
    assert not at.cleo.post(where, json={"event": "APPROVED"}).json()["official"], "who may read may review"
    head, _ = at.push("reviews", "x = 3\n", force=True)
    assert at.ann.get(f"{AT}/pulls/{one['number']}").json()["head"]["sha"] == head
    first, _ = at.ann.get(where).json()
    assert (first["stale"], first["dismissed"], first["commit_id"]) == (True, False, one["head"]["sha"])
    assert at.ann.post(f"{where}/{first['id']}/dismissals", json={"message": "x"}).status_code == 403
    gone = at.owner.post(f"{where}/{first['id']}/dismissals", json={"message": "x"}).json()
    assert (gone["state"], gone["dismissed"]) == ("APPROVED", True)


def test_comments_have_their_line_and_who_resolved_them(at: At) -> None:
    one = at.pull("lines")
    where = f"{AT}/pulls/{one['number']}/reviews"
    said = {"event": "COMMENT", "comments": [{"path": "a.py", "new_position": 2, "body": "why?"}]}
    review = at.ann.post(where, json=said).json()
    shown = at.bob.get(f"{where}/{review['id']}/comments").json()[0]
    assert (shown["path"], shown["position"], shown["original_position"], shown["resolver"]) == ("a.py", 2, 0, None)
    at.fake.resolve("acme/shop", one["number"], "bob")
    assert at.bob.get(f"{where}/{review['id']}/comments").json()[0]["resolver"]["login"] == "bob"


def test_a_rule_of_a_branch_takes_no_push_and_is_405_at_the_merge(at: At) -> None:
    one = at.pull("ruled")
    where, head = f"{AT}/pulls/{one['number']}", one["head"]["sha"]
    rule = {
        "rule_name": "main",
        "required_approvals": 1,
        "enable_status_check": True,
        "status_check_contexts": ["ci/*"],
    }
    assert at.ann.post(f"{AT}/branch_protections", json=rule).status_code == 403
    assert at.owner.post(f"{AT}/branch_protections", json=rule).status_code == 201
    try:
        assert "Not allowed to push to protected branch main" in at.push("main", "x = 9\n")[1]
        shown = at.ann.get(f"{AT}/branches/main").json()
        assert (shown["protected"], shown["required_approvals"], shown["status_check_contexts"]) == (True, 1, ["ci/*"])
        at.ann.get(where)
        for step, reason in (
            (lambda: None, "Not all required status checks successful"),
            (lambda: at.bob.post(f"{AT}/statuses/{head}", json={"context": "ci/a", "state": "success"}), "approvals"),
            (lambda: at.cleo.post(f"{where}/reviews", json={"event": "APPROVED"}), "Does not have enough approvals"),
        ):
            step()
            refused = at.bob.post(f"{where}/merge", json={"Do": "squash"})
            assert refused.status_code == 405 and reason in refused.json()["message"]
        at.ann.post(f"{where}/reviews", json={"event": "APPROVED"})
        assert at.bob.post(f"{where}/merge", json={"Do": "squash"}).status_code == 200
    finally:
        assert at.owner.delete(f"{AT}/branch_protections/main").status_code == 204


def test_a_deleted_branch_closes_its_pull_request_and_the_timeline_says_who(at: At) -> None:
    one = at.pull("gone")
    where = f"{AT}/pulls/{one['number']}"
    assert at.ann.delete(f"{AT}/branches/gone").status_code == 204
    shown = at.bob.get(where).json()
    assert (shown["state"], shown["head"]["ref"]) == ("closed", f"refs/pull/{one['number']}/head")
    assert (shown["head"]["label"], shown["head"]["sha"]) == ("gone", one["head"]["sha"])
    told = at.bob.get(f"{AT}/issues/{one['number']}/timeline").json()
    assert [(event["type"], event["user"]["login"]) for event in told] == [("close", "ann")]
    assert at.bob.post(f"{where}/merge", json={"Do": "squash"}).status_code == 404


def test_a_permission_is_told_to_administrators_alone_and_is_five_words(at: At) -> None:
    where = f"{AT}/collaborators"
    assert at.ann.get(f"{where}/bob/permission").status_code == 403
    assert at.ann.get(f"{where}/ann/permission").json()["permission"] == "write"
    told = {name: at.owner.get(f"{where}/{name}/permission").json()["permission"] for name in ("ann", "cleo", "eve")}
    assert told == {"ann": "write", "cleo": "read", "eve": "none"}
    assert at.owner.get(f"{where}/nobody/permission").status_code == 404


def test_who_may_not_see_gets_404_and_a_token_reaches_what_its_scopes_say(at: At) -> None:
    assert at.eve.get(AT).status_code == 404
    assert httpx.get(at.fake.api_url + AT).status_code == 401
    weak = at.client("ann", permissions={"repository": "read"})
    assert weak.get(AT).status_code == 200
    refused = weak.post(f"{AT}/branches", json={"new_branch_name": "no"})
    assert refused.status_code == 403 and "required scope(s): [write:repository]" in refused.json()["message"]
    assert weak.get("/user").status_code == 403


def test_a_renamed_repository_is_307_and_an_archived_one_takes_no_write(at: At) -> None:
    assert at.owner.patch(AT, json={"name": "store"}).status_code == 200
    moved = at.ann.get(f"{AT}/pulls", follow_redirects=False)
    assert (moved.status_code, moved.headers["location"]) == (307, "/api/v1/repos/acme/store/pulls")
    assert at.owner.patch("/repos/acme/store", json={"name": "shop", "archived": True}).status_code == 200
    asked = {"new_branch_name": "late"}
    assert at.bob.post(f"{AT}/branches", json=asked).status_code == 423
    assert at.owner.patch(AT, json={"archived": False}).status_code == 200
    assert at.bob.post(f"{AT}/branches", json=asked).status_code == 201


def test_lists_have_fifty_items_a_page_at_most_and_say_how_many_there_are(at: At) -> None:
    head = at.ann.get(f"{AT}/branches/main").json()["commit"]["id"]
    for turn in range(52):
        at.bob.post(f"{AT}/statuses/{head}", json={"context": f"ci/{turn}", "state": "pending"})
    pages = [at.ann.get(f"{AT}/statuses/{head}", params={"limit": 100, "page": n}) for n in (1, 2, 3)]
    assert [len(page.json()) for page in pages] == [50, 2, 0]
    assert pages[0].headers["x-total-count"] == "52" and pages[0].json()[0]["context"] == "ci/51", "the newest first"


def test_a_timeline_tells_labels_titles_and_assignees_and_no_edit_of_a_body(at: At) -> None:
    number = at.cleo.post(f"{AT}/issues", json={"title": "One", "body": "b"}).raise_for_status().json()["number"]
    issue = f"{AT}/issues/{number}"
    at.owner.post(f"{AT}/labels", json={"name": "go", "color": "#ededed"}).raise_for_status()
    assert at.cleo.post(f"{issue}/labels", json={"labels": ["go"]}).status_code == 403, "who may not write"
    at.bob.post(f"{issue}/labels", json={"labels": ["go", "gone"]}).raise_for_status()
    at.bob.patch(issue, json={"assignees": ["ann"]}).raise_for_status()
    at.cleo.patch(issue, json={"title": "Two", "body": "c"}).raise_for_status()
    at.cleo.post(f"{issue}/comments", json={"body": "hm"}).raise_for_status()
    at.bob.delete(f"{issue}/labels/go").raise_for_status()
    told = [(one["type"], one["body"]) for one in at.ann.get(f"{issue}/timeline").json()]
    assert told == [("label", "1"), ("assignees", ""), ("change_title", ""), ("comment", "hm"), ("label", "")]
    listed = {name: len(at.ann.get(f"{AT}/issues", params={"labels": name}).json()) for name in ("go", "gone")}
    assert listed["go"] == 0 < listed["gone"]


def test_every_endpoint_is_described(at: At) -> None:
    known = described("forgejo-14")["operations"]
    assert [f"{one.method} {one.template}" for one in ROUTES if f"{one.method} {one.template}" not in known] == []


def test_the_table_of_behaviours_names_these_tests() -> None:
    text = (
        (Path(__file__).parents[2] / "docs" / "fake-forge.md")
        .read_text()
        .partition("## A Forgejo")[2]
        .partition("## A GitLab")[0]
    )
    mine = {name for name in globals() if name.startswith("test_")} - {"test_the_table_of_behaviours_names_these_tests"}
    assert mine - {"test_every_endpoint_is_described"} == {word for word in text.split("`") if word.startswith("test_")}
