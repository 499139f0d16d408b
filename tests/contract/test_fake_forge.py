"""What the fake forge promises to clients, and to the tests that use it."""

import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from githubkit import AppAuthStrategy, GitHub

from kits.fake_forge import FakeGitHub
from kits.fake_forge.ask import ROUTES
from kits.fake_forge.description import DescriptionWatch, described

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub() as fake:
        fake.limits(writes_a_minute=10_000)
        yield fake


@pytest.fixture(scope="module")
def watch(fake: FakeGitHub) -> DescriptionWatch:
    return DescriptionWatch(fake)


@pytest.fixture(autouse=True)
def all_is_as_github_describes_it(watch: DescriptionWatch) -> Iterator[None]:
    """Every request and answer of every test, and every webhook."""
    watch.problems.clear()
    yield
    watch.look_at_webhooks()
    assert watch.problems == []


class World:
    """One repository of its own for a test: octo owns it, ann and bob may write, eve has nothing."""

    def __init__(self, fake: FakeGitHub, name: str) -> None:
        self.fake, self.name = fake, name
        self.full = f"octo/{name}"
        self.at = f"/repos/{self.full}"
        fake.repository(self.full, files={"README.md": "hello\n"})
        for login in ("ann", "bob"):
            fake.collaborator(self.full, login, "write")
        self.octo, self.ann, self.bob, self.eve = (self.client(who) for who in ("octo", "ann", "bob", "eve"))

    def client(self, login: str, **token: Any) -> httpx.Client:
        return client(self.fake, self.fake.token(login, **token))

    def commit(self, branch: str, path: str = "a.py", text: str = "x = 1\ny = 2\n") -> str:
        """One file, one commit on a branch that is made of main if it is new; returns the commit."""
        if self.bob.get(f"{self.at}/git/ref/heads/{branch}").status_code == 404:
            tip = self.bob.get(f"{self.at}/git/ref/heads/main").json()["object"]["sha"]
            done = self.bob.post(f"{self.at}/git/refs", json={"ref": f"refs/heads/{branch}", "sha": tip})
            assert done.status_code == 201, done.text
        known = self.bob.get(f"{self.at}/contents/{path}", params={"ref": branch})
        body = {"message": f"Write {path}", "content": base64.b64encode(text.encode()).decode(), "branch": branch}
        if known.status_code == 200:
            body["sha"] = known.json()["sha"]
        done = self.bob.put(f"{self.at}/contents/{path}", json=body)
        assert done.status_code in (200, 201), done.text
        return str(done.json()["commit"]["sha"])

    def pull(self, branch: str = "change", **more: Any) -> dict[str, Any]:
        """bob's pull request of one commit."""
        self.commit(branch)
        done = self.bob.post(f"{self.at}/pulls", json={"title": "A change", "head": branch, "base": "main", **more})
        assert done.status_code == 201, done.text
        shown: dict[str, Any] = done.json()
        return shown


def client(fake: FakeGitHub, token: str | None = None) -> httpx.Client:
    headers = {"Accept": "application/vnd.github+json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    return httpx.Client(base_url=fake.url, headers=headers, timeout=30)


@pytest.fixture
def world(fake: FakeGitHub, request: pytest.FixtureRequest) -> World:
    return World(fake, request.node.name.replace("[", "-").replace("]", ""))


def test_a_second_pull_request_for_the_same_head_is_422(world: World) -> None:
    world.pull()
    again = world.bob.post(f"{world.at}/pulls", json={"title": "Again", "head": "change", "base": "main"})
    assert again.status_code == 422
    assert again.json()["errors"][0]["message"] == "A pull request already exists for octo:change."
    found = world.bob.get(f"{world.at}/pulls", params={"head": "octo:change"}).json()
    assert [pull["title"] for pull in found] == ["A change"]


def test_nobody_approves_their_own_pull_request(world: World) -> None:
    number = world.pull()["number"]
    own = world.bob.post(f"{world.at}/pulls/{number}/reviews", json={"event": "APPROVE"})
    assert (own.status_code, own.json()["errors"]) == (422, ["Can not approve your own pull request"])
    other = world.ann.post(f"{world.at}/pulls/{number}/reviews", json={"event": "APPROVE"})
    assert (other.status_code, other.json()["state"]) == (200, "APPROVED")


def test_a_merge_by_another_head_is_409_and_by_the_exact_one_merges(world: World) -> None:
    pull = world.pull()
    at = f"{world.at}/pulls/{pull['number']}"
    world.commit("change", "b.py")
    moved = world.bob.put(f"{at}/merge", json={"sha": pull["head"]["sha"]})
    assert moved.status_code == 409
    assert moved.json()["message"] == "Head branch was modified. Review and try the merge again."
    head = world.bob.get(at).json()["head"]["sha"]
    assert world.bob.put(f"{at}/merge", json={"sha": head}).json()["merged"] is True
    assert world.bob.get(at).json()["merged_by"]["login"] == "bob"


def test_git_pushes_and_fetches_with_a_token(fake: FakeGitHub, world: World, tmp_path: Path) -> None:
    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-c", "user.name=bob", "-c", "user.email=bob@example.org", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"}, capture_output=True, text=True
        )

    address = f"{fake.url}/{world.full}.git".replace("://", f"://x:{fake.token('bob')}@")
    assert git("clone", "-q", address, ".").returncode == 0
    assert git("switch", "-qc", "pushed").returncode == 0
    (tmp_path / "a.py").write_text("x = 1\n")
    git("add", "."), git("commit", "-qm", "A file")
    assert git("push", "-q", "origin", "pushed").returncode == 0
    head = git("rev-parse", "HEAD").stdout.strip()
    assert world.bob.get(f"{world.at}/git/ref/heads/pushed").json()["object"]["sha"] == head
    stranger = address.replace(address.split("@")[0], f"http://x:{fake.token('eve')}")
    assert "403" in git("push", stranger, "HEAD:refs/heads/mine").stderr
    assert "refs/heads/mine" not in git("ls-remote", "origin").stdout


def status_of(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["message"]


def approve(who: httpx.Client, world: World, number: int) -> dict[str, Any]:
    done = who.post(f"{world.at}/pulls/{number}/reviews", json={"event": "APPROVE"})
    assert done.status_code == 200, done.text
    shown: dict[str, Any] = done.json()
    return shown


def protect(world: World, **rule: Any) -> None:
    nothing = dict.fromkeys(
        ("required_status_checks", "enforce_admins", "required_pull_request_reviews", "restrictions"), None
    )
    done = world.octo.put(f"{world.at}/branches/main/protection", json={**nothing, **rule})
    assert done.status_code == 200, done.text


def app_client(fake: FakeGitHub, world: World, **more: Any) -> httpx.Client:
    """A client with an installation's token, got by githubkit with the app's key."""
    app = fake.app(f"app-{world.name}"[:60].lower().replace("_", "-"), "octo", **more)
    auth = AppAuthStrategy(app_id=app["id"], private_key=app["private_key"])
    with GitHub(auth, base_url=fake.url) as github:
        found = github.rest.apps.get_repo_installation("octo", world.name).parsed_data
        assert found.id == app["installation_id"]
        token = github.rest.apps.create_installation_access_token(found.id).parsed_data.token
    return client(fake, token)


def graphql(who: httpx.Client, query: str, **variables: Any) -> dict[str, Any]:
    done = who.post("/graphql", json={"query": query, "variables": variables})
    assert done.status_code == 200, done.text
    shown: dict[str, Any] = done.json()
    return shown


READY = "mutation($id: ID!) { markPullRequestReadyForReview(input: {pullRequestId: $id}) { pullRequest { isDraft } } }"
RESOLVE = "mutation($id: ID!) { resolveReviewThread(input: {threadId: $id}) { thread { isResolved } } }"
THREADS = """
query($name: String!, $number: Int!) { repository(owner: "octo", name: $name) { pullRequest(number: $number) {
  reviewThreads(first: 50) { nodes { id isResolved isOutdated path line comments(first: 5) { nodes { databaseId } } } }
} } }"""


def test_a_draft_is_not_merged_until_it_is_ready(world: World) -> None:
    pull = world.pull(draft=True)
    at = f"{world.at}/pulls/{pull['number']}"
    assert status_of(world.bob.put(f"{at}/merge", json={})) == (405, "Pull Request is still a draft")
    assert "errors" in graphql(world.eve, READY, id=pull["node_id"])
    assert world.bob.get(at).json()["draft"] is True
    assert "errors" not in graphql(world.bob, READY, id=pull["node_id"])
    assert world.bob.get(at).json()["draft"] is False
    assert world.bob.put(f"{at}/merge", json={}).status_code == 200


def test_mergeability_is_not_known_at_the_first_look(world: World) -> None:
    pull = world.pull()
    at = f"{world.at}/pulls/{pull['number']}"
    assert [world.bob.get(at).json()["mergeable"] for _ in range(2)] == [None, True]
    world.commit("main", "a.py", "z = 3\n")
    assert [world.bob.get(at).json()["mergeable_state"] for _ in range(2)] == ["unknown", "dirty"]
    assert status_of(world.bob.put(f"{at}/merge", json={})) == (405, "Pull Request is not mergeable")


def test_the_head_follows_a_forced_ref_and_comments_become_outdated(world: World) -> None:
    pull = world.pull()
    at = f"{world.at}/pulls/{pull['number']}"
    comment = {"body": "Why?", "path": "a.py", "line": 2, "commit_id": pull["head"]["sha"]}
    assert world.ann.post(f"{at}/comments", json=comment).status_code == 201
    other = world.commit("other", "c.py")
    ref = f"{world.at}/git/refs/heads/change"
    assert status_of(world.bob.patch(ref, json={"sha": other})) == (422, "Update is not a fast forward")
    assert world.bob.patch(ref, json={"sha": other, "force": True}).status_code == 200
    assert world.bob.get(at).json()["head"]["sha"] == other
    (moved,) = world.bob.get(f"{at}/comments").json()
    assert (moved["line"], moved["original_line"]) == (None, 2)


def test_an_approval_survives_a_push_unless_the_rule_dismisses_it(world: World) -> None:
    number = world.pull()["number"]
    reviews = f"{world.at}/pulls/{number}/reviews"
    judged = approve(world.ann, world, number)["commit_id"]
    head = world.commit("change", "b.py")
    (kept,) = world.bob.get(reviews).json()
    assert (kept["state"], kept["commit_id"]) == ("APPROVED", judged) != ("APPROVED", head)
    protect(world, required_pull_request_reviews={"dismiss_stale_reviews": True})
    world.commit("change", "c.py")
    assert [review["state"] for review in world.bob.get(reviews).json()] == ["DISMISSED"]


def test_base_rules_are_405_at_the_merge(world: World) -> None:
    protect(
        world,
        enforce_admins=True,
        required_status_checks={"strict": True, "contexts": ["gates"]},
        required_pull_request_reviews={"required_approving_review_count": 1},
        required_conversation_resolution=True,
    )
    pull = world.pull()
    at, sha = f"{world.at}/pulls/{pull['number']}", pull["head"]["sha"]
    merge = f"{at}/merge"
    wanted = "At least 1 approving review is required by reviewers with write access."
    assert status_of(world.octo.put(merge, json={})) == (405, wanted)
    assert world.eve.post(f"{at}/reviews", json={"event": "APPROVE"}).status_code == 200
    assert status_of(world.octo.put(merge, json={})) == (405, wanted)
    approve(world.ann, world, pull["number"])
    assert status_of(world.octo.put(merge, json={})) == (405, 'Required status check "gates" is expected.')
    status = {"state": "success", "context": "gates", "description": "all passed"}
    assert world.bob.post(f"{world.at}/statuses/{sha}", json=status).status_code == 201
    comment = {"body": "Why?", "path": "a.py", "line": 1, "commit_id": sha}
    assert world.ann.post(f"{at}/comments", json=comment).status_code == 201
    assert status_of(world.octo.put(merge, json={})) == (405, "All comments must be resolved.")
    found = graphql(world.bob, THREADS, name=world.name, number=pull["number"])
    (thread,) = found["data"]["repository"]["pullRequest"]["reviewThreads"]["nodes"]
    assert (thread["isResolved"], thread["path"], thread["line"]) == (False, "a.py", 1)
    assert "errors" in graphql(world.eve, RESOLVE, id=thread["id"])
    assert "errors" not in graphql(world.bob, RESOLVE, id=thread["id"])
    assert world.bob.get(at).json()["mergeable_state"] in ("unknown", "clean")
    assert world.octo.put(merge, json={"sha": sha, "merge_method": "squash"}).json()["merged"] is True


def test_changes_requested_block_until_the_same_person_approves(world: World) -> None:
    protect(world, required_pull_request_reviews={"required_approving_review_count": 0})
    number = world.pull()["number"]
    at = f"{world.at}/pulls/{number}"
    blank = world.ann.post(f"{at}/reviews", json={"event": "REQUEST_CHANGES"})
    assert blank.status_code == 422
    refused = {"event": "REQUEST_CHANGES", "body": "Not so", "comments": [{"path": "a.py", "line": 1, "body": "here"}]}
    assert world.ann.post(f"{at}/reviews", json=refused).json()["state"] == "CHANGES_REQUESTED"
    assert world.bob.put(f"{at}/merge", json={}).status_code == 405
    approve(world.ann, world, number)
    assert world.bob.put(f"{at}/merge", json={}).status_code == 200


def test_a_protected_branch_takes_no_push_and_no_ref(fake: FakeGitHub, world: World, tmp_path: Path) -> None:
    protect(world, required_pull_request_reviews={})
    sha = world.commit("change")
    assert world.bob.patch(f"{world.at}/git/refs/heads/main", json={"sha": sha}).status_code == 422
    address = f"{fake.url}/{world.full}.git".replace("://", f"://x:{fake.token('bob')}@")
    subprocess.run(["git", "clone", "-q", "-b", "change", address, tmp_path], check=True)
    push = subprocess.run(["git", "push", "origin", "change:main"], cwd=tmp_path, capture_output=True, text=True)
    assert push.returncode and "GH006: Protected branch update failed for refs/heads/main" in push.stderr


def test_code_owners_are_asked_and_their_approval_is_required(world: World) -> None:
    world.commit("main", "CODEOWNERS", "* @octo\n*.py @ann\n")
    protect(world, required_pull_request_reviews={"require_code_owner_reviews": True})
    pull = world.pull()
    at = f"{world.at}/pulls/{pull['number']}"
    asked = world.bob.get(f"{at}/requested_reviewers").json()
    assert [user["login"] for user in asked["users"]] == ["ann"]
    approve(world.octo, world, pull["number"])
    assert status_of(world.bob.put(f"{at}/merge", json={})) == (405, "Waiting on code owner review from ann.")
    approve(world.ann, world, pull["number"])
    assert world.bob.get(f"{at}/requested_reviewers").json()["users"] == []
    assert world.bob.put(f"{at}/merge", json={}).status_code == 200


def test_who_may_not_see_gets_404_and_who_may_not_do_gets_403(fake: FakeGitHub, world: World) -> None:
    assert world.octo.patch(world.at, json={"private": True}).status_code == 200
    body = {"body": "hello"}
    number = world.pull()["number"]
    comments = f"{world.at}/issues/{number}/comments"
    assert world.eve.get(world.at).status_code == 404
    assert client(fake).get(world.at).status_code == 404
    fake.collaborator(world.full, "eve", "read")
    assert world.eve.post(comments, json=body).status_code == 201
    assert world.eve.put(f"{world.at}/pulls/{number}/merge", json={}).status_code == 403
    assert status_of(world.bob.get(f"{world.at}/hooks")) == (403, "Must have admin rights to Repository.")
    weak = world.client("ann", permissions={"issues": "read"}, repositories=[world.full])
    assert status_of(weak.post(comments, json=body)) == (403, "Resource not accessible by personal access token")
    elsewhere = world.client("ann", permissions={"issues": "write"}, repositories=[])
    assert elsewhere.post(comments, json=body).status_code == 404


def test_a_permission_is_four_words_and_a_role_is_five(fake: FakeGitHub, world: World) -> None:
    fake.collaborator(world.full, "mia", "maintain")
    at = f"{world.at}/collaborators"
    shown = {who: world.ann.get(f"{at}/{who}/permission").json() for who in ("octo", "ann", "mia", "eve")}
    words = {who: (answer["permission"], answer["role_name"]) for who, answer in shown.items()}
    assert words == {
        "octo": ("admin", "admin"),
        "ann": ("write", "write"),
        "mia": ("write", "maintain"),
        "eve": ("read", "read"),
    }
    assert world.eve.get(f"{at}/ann/permission").status_code == 403
    fake.collaborator(world.full, "ann", "none")
    assert world.bob.get(f"{at}/ann/permission").json()["permission"] == "read"


def test_a_token_that_expires_is_401(fake: FakeGitHub, world: World) -> None:
    token = fake.token("ann")
    assert client(fake, token).get("/user").json()["login"] == "ann"
    fake.expire(token)
    assert status_of(client(fake, token).get(world.at)) == (401, "Bad credentials")
    assert client(fake, "ghp_unknown").get(world.at).status_code == 401
    mayfly = world.client("ann", expires_in_s=-1)
    assert mayfly.get(world.at).status_code == 401


def test_an_answer_that_did_not_change_is_304_and_free(world: World) -> None:
    world.pull()
    first = world.ann.get(f"{world.at}/pulls")
    left = first.headers["x-ratelimit-remaining"]
    again = world.ann.get(f"{world.at}/pulls", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["x-ratelimit-remaining"]) == (304, b"", left)
    world.bob.patch(f"{world.at}/pulls/1", json={"title": "Another title"})
    changed = world.ann.get(f"{world.at}/pulls", headers={"If-None-Match": first.headers["etag"]})
    assert (changed.status_code, changed.json()[0]["title"]) == (200, "Another title")


def test_rate_limits_say_when_to_come_back(fake: FakeGitHub, world: World) -> None:
    fake.spend("eve", remaining=1, reset_s=120)
    assert world.eve.get(world.at).headers["x-ratelimit-remaining"] == "0"
    spent = world.eve.get(world.at)
    assert spent.status_code == 403 and "rate limit exceeded" in spent.json()["message"]
    assert int(spent.headers["x-ratelimit-reset"]) > time.time()
    fake.spend("eve", remaining=100)
    fake.limits(writes_a_minute=0)
    world.octo.get(world.at)
    try:
        many = world.bob.post(f"{world.at}/issues", json={"title": "One of many"})
    finally:
        fake.limits(writes_a_minute=10_000)
    assert many.status_code == 403 and "secondary rate limit" in many.json()["message"]
    assert int(many.headers["retry-after"]) > 0


def test_lists_are_paged_by_links(fake: FakeGitHub, world: World) -> None:
    last = fake.issues(world.full, "eve", 5)
    address: str | None = f"{world.at}/issues?per_page=2"
    numbers = []
    while address:
        page = world.ann.get(address)
        numbers += [issue["number"] for issue in page.json()]
        address = page.links.get("next", {}).get("url")
    assert numbers == list(range(last, 0, -1))


def test_labels_of_who_may_not_label_are_left_out(world: World) -> None:
    asked = {"title": "Do it", "labels": ["agent"], "assignees": ["ann"]}
    outsider = world.eve.post(f"{world.at}/issues", json=asked).json()
    assert (outsider["labels"], outsider["assignees"]) == ([], [])
    insider = world.bob.post(f"{world.at}/issues", json=asked).json()
    assert [label["name"] for label in insider["labels"]] == ["agent"]
    assert (
        world.eve.post(f"{world.at}/issues/{outsider['number']}/labels", json={"labels": ["agent"]}).status_code == 403
    )
    found = world.ann.get(f"{world.at}/issues", params={"labels": "agent"}).json()
    assert [issue["number"] for issue in found] == [insider["number"]]
    closed = world.bob.patch(f"{world.at}/issues/{insider['number']}", json={"state": "closed"}).json()
    assert (closed["state"], closed["state_reason"]) == ("closed", "completed")


def test_an_issues_events_tell_who_labelled_and_renamed_it_and_graphql_when_its_text_was_edited(world: World) -> None:
    made = world.bob.post(f"{world.at}/issues", json={"title": "Do it", "body": "so", "labels": ["agent"]}).json()
    at = f"{world.at}/issues/{made['number']}"
    query = """query($owner: String!, $name: String!, $number: Int!) { repository(owner: $owner, name: $name) {
      issue(number: $number) { title body state lastEditedAt editor { login } } } }"""

    def text() -> Any:
        given = {"owner": "octo", "name": world.name, "number": made["number"]}
        return world.ann.post("/graphql", json={"query": query, "variables": given}).json()["data"]["repository"]

    assert text()["issue"] == {
        "title": "Do it", "body": "so", "state": "OPEN", "lastEditedAt": None, "editor": None
    }  # fmt: skip
    world.ann.patch(at, json={"title": "Do that"})
    world.ann.patch(at, json={"body": "else"})
    world.bob.delete(f"{at}/labels/agent")
    world.bob.patch(at, json={"state": "closed"})
    events = world.ann.get(f"{at}/events").json()
    told = [(one["event"], one["actor"]["login"]) for one in events]
    assert told == [("labeled", "bob"), ("renamed", "ann"), ("unlabeled", "bob"), ("closed", "bob")]
    assert (events[0]["label"]["name"], events[1]["rename"]) == ("agent", {"from": "Do it", "to": "Do that"})
    assert sorted(one["id"] for one in events) == [one["id"] for one in events]
    edited = text()["issue"]
    assert (edited["body"], edited["editor"]["login"], bool(edited["lastEditedAt"])) == ("else", "ann", True)
    given = {"owner": "octo", "name": world.name, "number": world.pull()["number"]}
    missing = world.ann.post("/graphql", json={"query": query, "variables": given}).json()["errors"]
    assert missing[0]["type"] == "NOT_FOUND"


def test_comments_of_a_whole_repository_are_listed_by_their_last_change(fake: FakeGitHub, world: World) -> None:
    numbers = [world.bob.post(f"{world.at}/issues", json={"title": title}).json()["number"] for title in "ab"]
    first, _ = (world.bob.post(f"{world.at}/issues/{n}/comments", json={"body": "hi"}).json() for n in numbers)
    fake.skew(60)
    world.bob.patch(first["url"], json={"body": "hi again"})
    asked = {"sort": "updated", "direction": "asc"}
    found = world.ann.get(f"{world.at}/issues/comments", params=asked)
    assert [one["body"] for one in found.json()] == ["hi", "hi again"]
    assert [one["issue_url"].rpartition("/")[2] for one in found.json()] == [str(number) for number in numbers[::-1]]
    since = {"since": found.json()[1]["updated_at"]}
    assert len(world.ann.get(f"{world.at}/issues/comments", params=since).json()) == 1
    assert [one["body"] for one in world.ann.get(f"{world.at}/issues/comments").json()] == ["hi again", "hi"]
    fake.skew(0)


def test_a_comment_is_edited_by_its_author_and_has_an_end(world: World) -> None:
    number = world.pull()["number"]
    comments = f"{world.at}/issues/{number}/comments"
    mine = world.bob.post(comments, json={"body": "<!-- marker --> one"}).json()
    assert world.bob.patch(mine["url"], json={"body": "two"}).json()["body"] == "two"
    assert world.eve.patch(mine["url"], json={"body": "three"}).status_code == 403
    assert [comment["body"] for comment in world.ann.get(comments).json()] == ["two"]
    assert world.bob.post(comments, json={"body": "x" * 65_537}).status_code == 422
    assert world.bob.delete(mine["url"]).status_code == 204


def test_check_runs_are_for_apps_and_take_fifty_annotations(fake: FakeGitHub, world: World) -> None:
    sha = world.pull()["head"]["sha"]
    at, body = f"{world.at}/check-runs", {"name": "gates", "head_sha": sha}
    assert status_of(world.bob.post(at, json=body)) == (403, "You must authenticate via a GitHub App.")
    app = app_client(fake, world)
    run = app.post(at, json=body).json()
    assert (run["status"], run["conclusion"]) == ("queued", None)
    note = {"path": "a.py", "start_line": 1, "end_line": 1, "annotation_level": "failure", "message": "no"}
    output = {"title": "Gates", "summary": "one finding", "annotations": [note] * 51}
    assert app.patch(f"{at}/{run['id']}", json={"output": output}).status_code == 422
    done = {"status": "completed", "conclusion": "failure", "output": {**output, "annotations": [note]}}
    assert app.patch(f"{at}/{run['id']}", json=done).json()["output"]["annotations_count"] == 1
    found = world.ann.get(f"{world.at}/commits/{sha}/check-runs").json()
    assert [run["conclusion"] for run in found["check_runs"]] == ["failure"]
    assert app.get(f"{at}/{run['id']}/annotations").json()[0]["message"] == "no"


def test_statuses_combine_to_the_worst(world: World) -> None:
    sha = world.pull()["head"]["sha"]
    at = f"{world.at}/statuses/{sha}"
    assert world.ann.get(f"{world.at}/commits/change/status").json()["state"] == "pending"
    for context, state, combined in (
        ("a", "success", "success"),
        ("b", "pending", "pending"),
        ("b", "error", "failure"),
    ):
        assert world.bob.post(at, json={"context": context, "state": state}).status_code == 201
        assert world.ann.get(f"{world.at}/commits/{sha}/status").json()["state"] == combined
    assert len(world.ann.get(f"{world.at}/commits/{sha}/statuses").json()) == 3
    assert world.bob.post(at, json={"state": "success", "description": "x" * 141}).status_code == 422
    assert world.eve.post(at, json={"state": "success"}).status_code == 403


def test_deployments_have_statuses_and_retire_the_earlier(world: World) -> None:
    sha = world.pull()["head"]["sha"]
    at = f"{world.at}/deployments"
    asked = {"ref": sha, "environment": "production", "required_contexts": [], "auto_merge": False}
    first, second = (world.bob.post(at, json=asked).json() for _ in range(2))
    for deployment in (first, second):
        for state in ("in_progress", "success"):
            body = {"state": state, "environment_url": "https://shop.example.org"}
            assert world.bob.post(f"{at}/{deployment['id']}/statuses", json=body).status_code == 201
    states = [status["state"] for status in world.ann.get(f"{at}/{first['id']}/statuses").json()]
    assert states == ["inactive", "success", "in_progress"]
    world.bob.post(f"{world.at}/statuses/{sha}", json={"state": "failure", "context": "gates"})
    conflict = world.bob.post(at, json={"ref": sha, "auto_merge": False})
    assert (conflict.status_code, world.ann.get(at).json()[0]["id"]) == (409, second["id"])


def test_a_deleted_branch_closes_its_pull_request(world: World) -> None:
    number = world.pull()["number"]
    assert world.bob.delete(f"{world.at}/git/refs/heads/change").status_code == 204
    shown = world.bob.get(f"{world.at}/pulls/{number}").json()
    assert (shown["state"], shown["merged"]) == ("closed", False)
    assert world.bob.patch(f"{world.at}/pulls/{number}", json={"state": "open"}).status_code == 422


def test_what_is_pushed_to_the_base_by_hand_is_merged(world: World) -> None:
    pull = world.pull()
    sha = pull["head"]["sha"]
    assert world.bob.patch(f"{world.at}/git/refs/heads/main", json={"sha": sha}).status_code == 200
    shown = world.bob.get(f"{world.at}/pulls/{pull['number']}").json()
    assert (shown["merged"], shown["state"]) == (True, "closed")


def test_a_renamed_repository_redirects_and_an_archived_one_is_read_only(fake: FakeGitHub, world: World) -> None:
    assert world.octo.patch(world.at, json={"name": f"{world.name}-new"}).status_code == 200
    moved = world.ann.get(world.at)
    assert moved.status_code == 301
    assert world.ann.get(moved.headers["location"]).json()["full_name"] == f"{world.full}-new"
    world.octo.patch(f"{world.at}-new", json={"archived": True})
    assert world.bob.post(f"{world.at}-new/issues", json={"title": "Late"}).status_code == 403
    assert world.octo.patch(f"{world.at}-new", json={"name": world.name}).status_code == 403
    assert world.octo.patch(f"{world.at}-new", json={"archived": False}).status_code == 200
    assert world.bob.post(f"{world.at}-new/issues", json={"title": "Back"}).status_code == 201


class Receiver(HTTPServer):
    """Keeps what is delivered to it; answers `status`."""

    def __init__(self) -> None:
        self.deliveries: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        self.came = threading.Condition()
        super().__init__(("127.0.0.1", 0), self._Handler)

    class _Handler(BaseHTTPRequestHandler):
        server: "Receiver"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with self.server.came:
                self.server.deliveries.append((dict(self.headers), body))
                self.server.came.notify_all()
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Silence."""

    def wait(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        with self.came:
            assert self.came.wait_for(lambda: len(self.deliveries) >= count, timeout=60)
        return self.deliveries


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        thread = threading.Thread(target=receiver.serve_forever, daemon=True)
        thread.start()
        yield receiver
        receiver.shutdown()
        thread.join()


def test_webhooks_are_signed_and_sent_again_when_asked(world: World, receiver: Receiver) -> None:
    config = {"url": f"http://127.0.0.1:{receiver.server_port}/", "content_type": "json", "secret": "s3cret"}
    hook = world.octo.post(f"{world.at}/hooks", json={"config": config, "events": ["issues"]}).json()
    assert hook["config"]["secret"] == "********"
    assert receiver.wait(1)[0][0]["X-GitHub-Event"] == "ping"
    receiver.status = 500
    world.bob.post(f"{world.at}/issues", json={"title": "Told"})
    headers, body = receiver.wait(2)[1]
    signature = "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert (headers["X-Hub-Signature-256"], headers["X-GitHub-Event"]) == (signature, "issues")
    assert (json.loads(body)["action"], json.loads(body)["issue"]["title"]) == ("opened", "Told")
    at = f"{world.at}/hooks/{hook['id']}/deliveries"
    failed: list[dict[str, Any]] = []
    while not failed:
        failed = [one for one in world.octo.get(at).json() if one["status_code"] == 500]
    assert world.octo.get(f"{at}/{failed[0]['id']}").json()["request"]["payload"] == json.loads(body)
    assert world.octo.post(f"{at}/{failed[0]['id']}/attempts").status_code == 202
    again, same = receiver.wait(3)[2]
    assert (again["X-GitHub-Delivery"], same) == (headers["X-GitHub-Delivery"], body)
    elsewhere = {"config": {**config, "url": "http://192.0.2.1/"}, "events": ["push"]}
    assert world.octo.post(f"{world.at}/hooks", json=elsewhere).status_code == 422


def test_an_app_gets_webhooks_of_what_it_is_installed_on(fake: FakeGitHub, world: World, receiver: Receiver) -> None:
    url = f"http://127.0.0.1:{receiver.server_port}/"
    more = {"hook_url": url, "hook_secret": "s", "events": ["issue_comment"], "repositories": [world.full]}
    app = app_client(fake, world, **more)
    number = world.pull()["number"]
    comment = app.post(f"{world.at}/issues/{number}/comments", json={"body": "Done"}).json()
    assert comment["user"]["type"] == "Bot" and comment["performed_via_github_app"]["slug"]
    headers, body = receiver.wait(1)[0]
    assert json.loads(body)["installation"]["id"] and headers["X-GitHub-Event"] == "issue_comment"
    listed = app.get("/installation/repositories").json()["repositories"]
    assert [repo["full_name"] for repo in listed] == [world.full]


def test_faults_come_when_they_are_asked_for(fake: FakeGitHub, world: World) -> None:
    asked = {"title": "Once"}
    issues = f"{world.at}/issues"
    fake.fault("status", path=f"{issues}$", times=2)
    assert [world.bob.post(issues, json=asked).status_code for _ in range(3)] == [502, 502, 201]
    fake.fault("cut_after_write", method="POST", path=f"{issues}$")
    with pytest.raises(httpx.TransportError):
        world.bob.post(issues, json=asked)
    assert len(world.bob.get(issues).json()) == 2
    for kind in ("cut_before", "half_answer"):
        fake.fault(kind, method="GET", path=f"{issues}$")
        with pytest.raises(httpx.TransportError):
            world.bob.get(issues)
    key = {"Authorization": f"Bearer {fake.admin_key}"}
    fault = {"kind": "secondary_limit", "path": issues, "seconds": 7}
    assert httpx.post(f"{fake.url}/_fake/fault", json=fault).status_code == 401
    assert httpx.post(f"{fake.url}/_fake/fault", json=fault, headers=key).status_code == 200
    assert world.bob.get(issues).headers["retry-after"] == "7"


def test_people_see_a_page_of_a_pull_request(world: World) -> None:
    number = world.pull(body="<script>alert(1)</script>")["number"]
    page = world.ann.get(f"/{world.full}/pull/{number}", headers={"Accept": "text/html"})
    assert page.status_code == 200 and "A change" in page.text and "&lt;script&gt;" in page.text
    assert "<script>" not in page.text and "default-src 'none'" in page.headers["content-security-policy"]


def test_what_it_remembers_outlives_it(tmp_path: Path) -> None:
    with FakeGitHub(tmp_path) as fake:
        fake.repository("octo/kept", files={"a": "1\n"})
        token = fake.token("octo")
        client(fake, token).post("/repos/octo/kept/issues", json={"title": "Kept"})
    with FakeGitHub(tmp_path) as fake:
        assert client(fake, token).get("/repos/octo/kept/issues/1").json()["title"] == "Kept"
    assert token.encode() not in (tmp_path / "forge.db").read_bytes()


def test_it_is_started_by_a_command_and_outlives_a_kill(tmp_path: Path) -> None:
    """Killed in the middle of a merge, too: the branch had moved, the record had not."""
    program, words = Path(sys.executable).parent / "lockgate", ("--directory", str(tmp_path / "forge"))

    def start() -> tuple[subprocess.Popen[str], dict[str, str]]:
        process = subprocess.Popen([program, "fake-forge", *words], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        said = "".join(process.stdout.readline() for _ in range(3))
        found = re.search(r"at (?P<url>\S+) .*demo: (?P<token>\S+).*/_fake/: (?P<key>\S+)", said, re.S)
        assert found, said
        return process, found.groupdict()

    process, said = start()
    try:
        key = {"Authorization": f"Bearer {said['key']}"}
        asked = {"name": "demo/shop", "files": {"a": "1\n"}}
        assert httpx.post(f"{said['url']}/_fake/repository", json=asked, headers=key).status_code == 200
        headers = {"Authorization": f"Bearer {said['token']}"}
        at = f"{said['url']}/repos/demo/shop"
        body = {"message": "b", "content": "Mg==", "branch": "main"}
        with httpx.Client(headers=headers) as demo:
            sha = demo.get(f"{at}/git/ref/heads/main").json()["object"]["sha"]
            assert demo.post(f"{at}/git/refs", json={"ref": "refs/heads/b", "sha": sha}).status_code == 201
            assert demo.put(f"{at}/contents/b", json={**body, "branch": "b"}).status_code == 201
            pull = demo.post(f"{at}/pulls", json={"title": "B", "head": "b", "base": "main"}).json()
            assert demo.post(f"{at}/issues", json=[1]).status_code == 422
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()
    (git,) = (tmp_path / "forge" / "git").glob("*.git")
    subprocess.run(["git", "-C", git, "update-ref", "refs/heads/main", pull["head"]["sha"]], check=True)
    process, again = start()
    try:
        shown = httpx.get(f"{again['url']}/repos/demo/shop/pulls/1", headers=headers).json()
        assert (shown["merged"], shown["state"]) == (True, "closed")
    finally:
        process.kill()
        process.wait()
        assert process.stdout
        process.stdout.close()


def test_every_endpoint_is_one_of_github_and_of_its_enterprise_server() -> None:
    templates = {f"{route.method} {route.template}" for route in ROUTES}
    assert set(described("api.github.com")["operations"]) == templates
    assert set(described("ghes-3.19")["operations"]) == templates


def test_githubkit_does_a_whole_round(fake: FakeGitHub, world: World) -> None:
    with GitHub(fake.token("bob"), base_url=fake.url) as bob, GitHub(fake.token("ann"), base_url=fake.url) as ann:
        issue = bob.rest.issues.create("octo", world.name, title="Wanted").parsed_data
        world.commit("kit")
        text = f"Closes #{issue.number}"
        pull = bob.rest.pulls.create("octo", world.name, title="Kit", head="kit", base="main", body=text).parsed_data
        bob.rest.repos.create_commit_status("octo", world.name, pull.head.sha, state="success", context="gates")
        review = ann.rest.pulls.create_review("octo", world.name, pull.number, event="APPROVE").parsed_data
        assert (review.state, review.commit_id) == ("APPROVED", pull.head.sha)
        merged = bob.rest.pulls.merge("octo", world.name, pull.number, sha=pull.head.sha).parsed_data
        assert merged.merged and bob.rest.pulls.get("octo", world.name, pull.number).parsed_data.merged
        assert bob.rest.issues.get("octo", world.name, issue.number).parsed_data.state == "closed"


def test_gh_does_a_whole_round_over_tls(tmp_path: Path) -> None:
    """GitHub's own client against the Enterprise paths, which are held against the Enterprise description."""
    with FakeGitHub(tls_dir=tmp_path, enterprise=True) as fake:
        watch = DescriptionWatch(fake)
        fake.repository("octo/shop", files={"README.md": "hello\n"})
        tokens = {who: fake.token(who) for who in ("ann", "bob")}
        for who in tokens:
            fake.collaborator("octo/shop", who, "write")

        def gh(who: str, *arguments: str) -> Any:
            variables = {
                "PATH": os.environ["PATH"],
                "HOME": str(tmp_path),
                "SSL_CERT_FILE": str(fake.ca),
                "GH_HOST": fake.url.removeprefix("https://"),
                "GH_ENTERPRISE_TOKEN": tokens[who],
                "GH_NO_UPDATE_NOTIFIER": "1",
            }
            program = Path(sys.executable).parent / "gh"
            done = subprocess.run([program, "api", *arguments], env=variables, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr + done.stdout
            return json.loads(done.stdout or "null")

        at = "repos/octo/shop"
        issue = gh("bob", f"{at}/issues", "-f", "title=Wanted")
        main = gh("bob", f"{at}/git/ref/heads/main")["object"]["sha"]
        gh("bob", f"{at}/git/refs", "-f", "ref=refs/heads/gh", "-f", f"sha={main}")
        content = base64.b64encode(b"x = 1\n").decode()
        gh("bob", "-X", "PUT", f"{at}/contents/a.py", "-f", "message=a", "-f", "branch=gh", "-f", f"content={content}")
        pull = gh(
            "bob",
            f"{at}/pulls",
            "-f",
            "title=By gh",
            "-f",
            "head=gh",
            "-f",
            "base=main",
            "-f",
            f"body=Fixes #{issue['number']}",
        )
        review = gh("ann", f"{at}/pulls/{pull['number']}/reviews", "-f", "event=APPROVE")
        assert review["state"] == "APPROVED"
        merged = gh("bob", "-X", "PUT", f"{at}/pulls/{pull['number']}/merge", "-f", f"sha={pull['head']['sha']}")
        assert merged["merged"] and gh("ann", f"{at}/issues/{issue['number']}")["state"] == "closed"
        assert watch.problems == []


def test_every_row_of_the_table_has_a_test_and_a_source() -> None:
    rows = re.findall(
        r"^\| (.+?) \| \[(.+?)\]\((https://\S+?)\) \| `(test_\w+)` \|$",
        (PROJECT / "docs/fake-forge.md").read_text().partition("## A Forgejo")[0],
        re.M,
    )
    tests = {name for name in globals() if name.startswith("test_")}
    assert len(rows) >= 25 and {name for *_, name in rows} <= tests
