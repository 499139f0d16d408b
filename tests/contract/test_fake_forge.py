"""What the fake forge promises to clients, and to the tests that use it."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from kits.fake_forge import FakeGitHub

SHOP = "/repos/octo/shop"


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeGitHub]:
    with FakeGitHub() as fake:
        fake.limits(writes_a_minute=10_000)
        yield fake


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
        import base64

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
