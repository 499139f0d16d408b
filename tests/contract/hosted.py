"""A hosted forge on loopback with a repository, and people who work there by its own API."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from blocks.forges import LocalForge
from blocks.forges.github import GitHub
from domain.trees import TreeEntry
from kits.fake_forge import FakeGitHub

LEAST = {
    "contents": "write",
    "pull_requests": "write",
    "issues": "write",
    "statuses": "write",
    "deployments": "write",
    "metadata": "read",
}
"""What docs/forges.md tells people to give, and no more."""
REPOSITORY = "acme/shop"
FILES = {"app.py": "def search(text):\n    return []\n", "README.md": "shop\n"}


class World:
    """`host` and `forge` are the platform's; `as_` speaks for a person."""

    def __init__(self, fake: FakeGitHub, folder: Path, host: GitHub) -> None:
        self.fake, self.folder, self.host = fake, folder, host
        self.address = f"{fake.url}/{REPOSITORY}.git"
        self.forge = LocalForge(root=folder / "mirrors", hosts=("gh",), git_timeout_s=60)
        self.base = self.forge.base(self.address, "main")
        self._tokens: dict[str, str] = {}

    def person(self, login: str, role: str = "write") -> str:
        self.fake.user(login, role=role, repository=REPOSITORY)
        return login

    def as_(self, login: str, method: str, path: str, body: Any = None) -> Any:
        """A call by a person, with a token of theirs; its JSON."""
        token = self._tokens.setdefault(login, self.fake.token(login))
        headers = {"Authorization": f"Bearer {token}"}
        address = path if "://" in path else f"{self.fake.url}/repos/{REPOSITORY}{path}"
        answer = httpx.request(method, address, json=body, headers=headers, timeout=30)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def review(self, login: str, number: int, event: str, body: str = "", **more: Any) -> Any:
        return self.as_(login, "POST", f"/pulls/{number}/reviews", {"event": event, "body": body, **more})

    def change(self, text: str, on: str | None = None) -> str:
        """A commit of the platform's on top of main."""
        base = on or self.forge.base(self.address, "main")
        tree = {**self.forge.tree(self.address, base), "app.py": TreeEntry(0o100644, text.encode())}
        return self.forge.commit(self.address, base, tree, "Search\n\nLockgate-Brief: abc", "lockgate/replay")[0]

    def pushed_by(self, login: str, branch: str, text: str) -> str:
        """Somebody forces a branch to a commit of their own."""
        copy = self.folder / f"copy-{login}-{branch.replace('/', '-')}-{len(text)}"
        token = self._tokens.setdefault(login, self.fake.token(login))
        address = self.address.replace("://", f"://{login}:{token}@")
        who = ("-c", f"user.name={login}", "-c", f"user.email={login}@example.org")
        run = subprocess.run
        run(["git", "clone", "-q", "-b", branch, address, str(copy)], check=True, capture_output=True)
        (copy / "app.py").write_text(text)
        run(["git", *who, "commit", "-qam", "mine"], cwd=copy, check=True)
        run(["git", "push", "-q", "-f", "origin", f"HEAD:{branch}"], cwd=copy, check=True, capture_output=True)
        return run(["git", "rev-parse", "HEAD"], cwd=copy, check=True, capture_output=True, text=True).stdout.strip()

    def calls(self, method: str, ends: str) -> int:
        """How many requests of this kind the forge has done."""
        return sum(m == method and path.endswith(ends) and code < 300 for m, path, code in self.fake.calls)


@contextmanager
def world(folder: Path, *, as_app: bool = False, checks: bool = False) -> Iterator[World]:
    """One repository at a fake GitHub, and the platform's block for it."""
    with FakeGitHub(folder / "fake") as fake:
        fake.limits(writes_a_minute=10_000)
        fake.organization("acme", {"owner": "admin"})
        fake.repository(REPOSITORY, private=True, files=FILES)
        given: dict[str, Any] = {}
        if as_app:
            app = fake.app("lockgate", "acme", permissions=LEAST | ({"checks": "write"} if checks else {}))
            given = {"app_id": str(app["id"]), "private_key": SecretStr(app["private_key"])}
        else:
            fake.user("robot", role="write", repository=REPOSITORY)
            token = fake.token("robot", permissions=LEAST, repositories=[REPOSITORY])
            given = {"token": SecretStr(token)}
        host = GitHub(url=f"{fake.url}/acme", api_url=fake.url, **given)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GitHub, "saved", classmethod(lambda cls, name: host))
            yield World(fake, folder, host)
