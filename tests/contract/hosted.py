"""Hosted forges on loopback, each with a repository, and people who work there by its own API."""

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import httpx
import pytest
from pydantic import SecretStr

from blocks.forges import LocalForge
from blocks.forges.forgejo import Forgejo
from blocks.forges.github import GitHub
from blocks.forges.gitlab import GitLab
from domain.trees import TreeEntry
from kits.fake_forge import FakeGitHub
from kits.fake_forge.description import DescriptionWatch
from kits.fake_forge.forgejo import FakeForgejo
from kits.fake_forge.gitlab import FakeGitLab

LEAST = {
    "contents": "write",
    "pull_requests": "write",
    "issues": "write",
    "statuses": "write",
    "deployments": "write",
    "metadata": "read",
}
LEAST_FORGEJO = {"repository": "write", "issue": "write", "user": "read"}
"""What docs/forges.md tells people to give, and no more."""
REPOSITORY = "acme/shop"
FILES = {"app.py": "def search(text):\n    return []\n", "README.md": "shop\n"}


class Seen(NamedTuple):
    """A pull request as a person sees it."""

    title: str
    body: str
    is_draft: bool
    branch: str
    head: str
    merged_by: str | None


class World(ABC):
    """`host` and `forge` are the platform's; every other verb is a person's. One class a forge."""

    MERGE: ClassVar[tuple[str, str]]
    """Method and path of the call that merges."""
    CUTS: ClassVar[tuple[tuple[str, str], ...]]
    """Of each call that writes."""
    PULLS: ClassVar[str]
    """All pull requests, on one page."""

    def __init__(self, fake: FakeGitHub, folder: Path, host: Any, block: str) -> None:
        self.fake, self.folder, self.host = fake, folder, host
        self.address = f"{fake.url}/{REPOSITORY}.git"
        self.forge = LocalForge(root=folder / "mirrors", hosts=(block,), git_timeout_s=60)
        self.base = self.forge.base(self.address, "main")
        self._tokens: dict[str, str] = {}

    def person(self, login: str, role: str = "write") -> str:
        self.fake.user(login, role=role, repository=REPOSITORY)
        return login

    def as_(self, login: str, method: str, path: str, body: Any = None) -> Any:
        """A call by a person, with a token of theirs; its JSON."""
        token = self._tokens.setdefault(login, self.fake.token(login))
        headers = {"Authorization": f"Bearer {token}"}
        address = path if "://" in path else f"{self.there}{path}"
        answer = httpx.request(method, address, json=body, headers=headers, timeout=30)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

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

    def close(self, login: str, number: int) -> Any:
        return self.as_(login, "PATCH", f"/pulls/{number}", {"state": "closed"})

    def reopen(self, login: str, number: int) -> Any:
        return self.as_(login, "PATCH", f"/pulls/{number}", {"state": "open"})

    def lead_to(self, login: str, number: int, branch: str) -> Any:
        return self.as_(login, "PATCH", f"/pulls/{number}", {"base": branch})

    def say(self, login: str, number: int, text: str) -> Any:
        return self.as_(login, "POST", f"/issues/{number}/comments", {"body": text})

    def said(self, number: int) -> list[str]:
        return [one["body"] for one in self.as_("owner", "GET", f"/issues/{number}/comments")]

    def fork(self, login: str) -> None:
        """Of theirs, under the same name."""
        self.as_(login, "POST", "/forks", {})

    def open_pull(self, login: str, branch: str, title: str, body: str, *, fork: bool) -> int:
        """By somebody, from a branch there or in their fork."""
        head = f"{login}:{branch}" if fork else branch
        asked = {"title": title, "head": head, "base": "main", "body": body}
        return int(self.as_(login, "POST", "/pulls", asked)["number"])

    # issues; `pull`: at a pull request, where both are counted apart

    ASKS: ClassVar[tuple[str, ...]]
    """Paths of what is asked for an issue that wants a run."""
    AUTHOR: ClassVar[str] = "carl"
    """Who writes issues: somebody who may not write to the repository, where the forge says when a text was edited."""
    SETTLES_S: ClassVar[int] = 0
    """How long after an edit a text is not read yet."""

    def open_issue(self, login: str, title: str, body: str) -> int:
        return int(self.as_(login, "POST", "/issues", {"title": title, "body": body})["number"])

    def delete_issue(self, number: int) -> Any:
        return self.as_("owner", "DELETE", f"/issues/{number}")

    def label(self, login: str, number: int, *names: str, pull: bool = False) -> Any:
        return self.as_(login, "POST", f"/issues/{number}/labels", {"labels": list(names)})

    def unlabel(self, login: str, number: int, name: str, pull: bool = False) -> Any:
        return self.as_(login, "DELETE", f"/issues/{number}/labels/{name}")

    def assign(self, login: str, number: int, *to: str) -> Any:
        """To these, and nobody else."""
        return self.as_(login, "PATCH", f"/issues/{number}", {"assignees": list(to)})

    def edit_issue(self, login: str, number: int, *, pull: bool = False, **fields: Any) -> Any:
        return self.as_(login, "PATCH", f"/issues/{number}", fields)

    def say_at(self, login: str, number: int, text: str, pull: bool = False) -> int:
        return int(self.as_(login, "POST", f"/issues/{number}/comments", {"body": text})["id"])

    def edit_said(self, login: str, number: int, comment: int, text: str) -> Any:
        return self.as_(login, "PATCH", f"/issues/comments/{comment}", {"body": text})

    def said_at(self, number: int, pull: bool = False) -> list[str]:
        return [one["body"] for one in self.as_("owner", "GET", f"/issues/{number}/comments?per_page=100")]

    def say_status(self, login: str, commit: str, state: str, context: str) -> Any:
        return self.as_(login, "POST", f"/statuses/{commit}", {"state": state, "context": context})

    def archive(self, is_archived: bool, name: str = "shop") -> Any:
        return self.as_("owner", "PATCH", f"{self.api}/repos/acme/{name}", {"archived": is_archived})

    def rename(self, old: str, new: str) -> Any:
        return self.as_("owner", "PATCH", f"{self.api}/repos/acme/{old}", {"name": new})

    @property
    @abstractmethod
    def api(self) -> str: ...

    @property
    def there(self) -> str:
        """Where the API has the repository."""
        return f"{self.api}/repos/{REPOSITORY}"

    @abstractmethod
    def review(self, login: str, number: int, event: str, body: str = "", at: Sequence[tuple[int, str]] = ()) -> Any:
        """APPROVE, REQUEST_CHANGES or COMMENT; `at`: (line of app.py, what is said there)."""

    @abstractmethod
    def dismiss(self, number: int) -> Any:
        """The newest review, by whoever may."""

    @abstractmethod
    def pull(self, number: int) -> Seen: ...

    @abstractmethod
    def make_draft(self, login: str, number: int, is_draft: bool) -> Any: ...

    @abstractmethod
    def merge_by_hand(self, login: str, number: int, how: str = "squash") -> Any: ...

    @abstractmethod
    def statuses(self, commit: str) -> dict[str, tuple[str, str]]:
        """Name → (state, sentence) of the newest of each."""

    @abstractmethod
    def make_branch(self, login: str, name: str) -> str:
        """At the tip of main, which is given."""

    @abstractmethod
    def delete_branch(self, login: str, name: str) -> Any: ...

    @abstractmethod
    def protect(self, approvals: int = 0, contexts: Sequence[str] = ()) -> Any:
        """main takes no push, and what is asked for before a merge."""

    @abstractmethod
    def unprotect(self) -> Any: ...

    @abstractmethod
    def released(self, commit: str) -> list[str]:
        """What was told of the release of a commit to production, the oldest first."""


class AtGitHub(World):
    MERGE, PULLS = ("PUT", "/merge$"), "/pulls?state=all&per_page=100"
    CUTS = (
        ("POST", r"/pulls$"),
        ("PATCH", r"/pulls/\d+$"),
        ("POST", r"/statuses/"),
        ("POST", r"/comments$"),
        ("PATCH", r"/comments/\d+$"),
        ("POST", r"/deployments$"),
        ("POST", r"/deployments/\d+/statuses$"),
        ("POST", r"/graphql$"),
        ("PUT", r"/merge$"),
    )
    ASKS = ("/events$", "/graphql$", "/permission$", "/issues$", "/comments$")
    host: GitHub

    @property
    def api(self) -> str:
        return self.fake.url

    def review(
        self, login: str, number: int, event: str, body: str = "", at: Sequence[tuple[int, str]] = (), **more: Any
    ) -> Any:
        comments = [{"path": "app.py", "line": line, "side": "RIGHT", "body": text} for line, text in at]
        asked = {"event": event, "body": body, **more} | ({"comments": comments} if comments else {})
        return self.as_(login, "POST", f"/pulls/{number}/reviews", asked)

    def dismiss(self, number: int) -> Any:
        review = self.as_("owner", "GET", f"/pulls/{number}/reviews")[-1]
        return self.as_("owner", "PUT", f"/pulls/{number}/reviews/{review['id']}/dismissals", {"message": "look"})

    def pull(self, number: int) -> Seen:
        one = self.as_("owner", "GET", f"/pulls/{number}")
        by = (one["merged_by"] or {}).get("login")
        return Seen(one["title"], one["body"], one["draft"], one["head"]["ref"], one["head"]["sha"], by)

    def make_draft(self, login: str, number: int, is_draft: bool) -> Any:
        name = "convertPullRequestToDraft" if is_draft else "markPullRequestReadyForReview"
        query = f"mutation($id: ID!) {{ {name}(input: {{pullRequestId: $id}}) {{ clientMutationId }} }}"
        node = self.as_("owner", "GET", f"/pulls/{number}")["node_id"]
        return self.as_(login, "POST", f"{self.fake.url}/graphql", {"query": query, "variables": {"id": node}})

    def merge_by_hand(self, login: str, number: int, how: str = "squash") -> Any:
        return self.as_(login, "PUT", f"/pulls/{number}/merge", {"merge_method": how})

    def statuses(self, commit: str) -> dict[str, tuple[str, str]]:
        told = self.as_("owner", "GET", f"/commits/{commit}/status")["statuses"]
        return {one["context"]: (one["state"], one["description"] or "") for one in told}

    def make_branch(self, login: str, name: str) -> str:
        tip = self.as_(login, "GET", "/git/ref/heads/main")["object"]["sha"]
        self.as_(login, "POST", "/git/refs", {"ref": f"refs/heads/{name}", "sha": tip})
        return str(tip)

    def delete_branch(self, login: str, name: str) -> Any:
        return self.as_(login, "DELETE", f"/git/refs/heads/{name}")

    def protect(self, approvals: int = 0, contexts: Sequence[str] = ()) -> Any:
        rule = {"required_approving_review_count": approvals} if approvals else None
        checks = {"strict": False, "contexts": list(contexts)} if contexts else None
        asked = {"enforce_admins": True, "required_pull_request_reviews": rule, "restrictions": None}
        return self.as_("owner", "PUT", "/branches/main/protection", {**asked, "required_status_checks": checks})

    def unprotect(self) -> Any:
        return self.as_("owner", "DELETE", "/branches/main/protection")

    def released(self, commit: str) -> list[str]:
        (deployment,) = self.as_("owner", "GET", f"/deployments?sha={commit}")
        told = self.as_("owner", "GET", f"/deployments/{deployment['id']}/statuses")
        return [one["state"] for one in reversed(told)]


class AtForgejo(World):
    MERGE, PULLS = ("POST", "/merge$"), "/pulls?state=all&limit=50"
    CUTS = (
        ("POST", r"/pulls$"),
        ("PATCH", r"/pulls/\d+$"),
        ("PATCH", r"/pulls/\d+$"),
        ("POST", r"/statuses/"),
        ("POST", r"/comments$"),
        ("PATCH", r"/comments/\d+$"),
        ("POST", r"/merge$"),
    )
    EVENTS: ClassVar[dict[str, str]] = {"APPROVE": "APPROVED"}
    AUTHOR = "bob"
    ASKS = ("/timeline$", "/permission$", "/issues$", r"/issues/\d+$", "/comments$")
    fake: FakeForgejo
    host: Forgejo

    @property
    def api(self) -> str:
        return self.fake.api_url

    def label(self, login: str, number: int, *names: str, pull: bool = False) -> Any:
        known = {one["name"] for one in self.as_("owner", "GET", "/labels?limit=50")}
        for name in set(names) - known:
            self.as_("owner", "POST", "/labels", {"name": name, "color": "#ededed"})
        return super().label(login, number, *names, pull=pull)

    def said_at(self, number: int, pull: bool = False) -> list[str]:
        return [one["body"] for one in self.as_("owner", "GET", f"/issues/{number}/comments")]

    def review(self, login: str, number: int, event: str, body: str = "", at: Sequence[tuple[int, str]] = ()) -> Any:
        comments = [{"path": "app.py", "new_position": line, "body": text} for line, text in at]
        asked = {"event": self.EVENTS.get(event, event), "body": body, "comments": comments}
        return self.as_(login, "POST", f"/pulls/{number}/reviews", asked)

    def dismiss(self, number: int) -> Any:
        review = self.as_("owner", "GET", f"/pulls/{number}/reviews")[-1]
        return self.as_("owner", "POST", f"/pulls/{number}/reviews/{review['id']}/dismissals", {"message": "look"})

    def pull(self, number: int) -> Seen:
        one = self.as_("owner", "GET", f"/pulls/{number}")
        by = (one["merged_by"] or {}).get("login")
        return Seen(one["title"], one["body"], one["draft"], one["head"]["label"], one["head"]["sha"], by)

    def make_draft(self, login: str, number: int, is_draft: bool) -> Any:
        title = self.pull(number).title
        words = f"[WIP] {title}" if is_draft else title.removeprefix("[WIP] ").removeprefix("WIP: ")
        return self.as_(login, "PATCH", f"/pulls/{number}", {"title": words})

    def merge_by_hand(self, login: str, number: int, how: str = "squash") -> Any:
        self.pull(number)  # the first look begins the check for conflicts
        return self.as_(login, "POST", f"/pulls/{number}/merge", {"Do": how})

    def statuses(self, commit: str) -> dict[str, tuple[str, str]]:
        told = self.as_("owner", "GET", f"/statuses/{commit}?limit=50")
        return {one["context"]: (one["status"], one["description"]) for one in reversed(told)}

    def make_branch(self, login: str, name: str) -> str:
        asked = {"new_branch_name": name, "old_ref_name": "main"}
        return str(self.as_(login, "POST", "/branches", asked)["commit"]["id"])

    def delete_branch(self, login: str, name: str) -> Any:
        return self.as_(login, "DELETE", f"/branches/{name}")

    def protect(self, approvals: int = 0, contexts: Sequence[str] = ()) -> Any:
        asked = {"rule_name": "main", "required_approvals": approvals, "enable_push": False}
        asked |= {"enable_status_check": bool(contexts), "status_check_contexts": list(contexts)}
        return self.as_("owner", "POST", "/branch_protections", asked)

    def unprotect(self) -> Any:
        return self.as_("owner", "DELETE", "/branch_protections/main")

    def released(self, commit: str) -> list[str]:
        told = self.as_("owner", "GET", f"/statuses/{commit}?limit=50")
        words = {"pending": "in_progress", "error": "inactive"}
        here = [one["status"] for one in reversed(told) if one["context"] == "lockgate/release/production"]
        return [words.get(one, one) for one in here]


class AtGitLab(World):
    MERGE, PULLS = ("PUT", "/merge$"), "/merge_requests?state=all&per_page=100"
    CUTS = (
        ("POST", r"/merge_requests$"),
        ("PUT", r"/merge_requests/\d+$"),
        ("PUT", r"/merge_requests/\d+$"),
        ("POST", r"/statuses/"),
        ("POST", r"/notes$"),
        ("PUT", r"/notes/\d+$"),
        ("POST", r"/deployments$"),
        ("PUT", r"/deployments/\d+$"),
        ("PUT", r"/merge$"),
    )
    ASKS = ("/resource_label_events$", "/notes$", r"/members/all/\d+$", "/issues$", r"/issues/\d+$", "/events$")
    SETTLES_S = 6
    fake: FakeGitLab
    host: GitLab

    def fork(self, login: str) -> None:
        self.as_(login, "POST", "/fork")

    def open_pull(self, login: str, branch: str, title: str, body: str, *, fork: bool) -> int:
        target = self.as_("owner", "GET", "")["id"]
        asked = {"title": title, "source_branch": branch, "target_branch": "main", "description": body}
        asked |= {"target_project_id": target}
        at = f"{self.api}/projects/{login}%2Fshop" if fork else ""
        return int(self.as_(login, "POST", f"{at}/merge_requests", asked)["iid"])

    def open_issue(self, login: str, title: str, body: str) -> int:
        return int(self.as_(login, "POST", "/issues", {"title": title, "description": body})["iid"])

    @staticmethod
    def _of(number: int, pull: bool = False) -> str:
        return f"/{'merge_requests' if pull else 'issues'}/{number}"

    def label(self, login: str, number: int, *names: str, pull: bool = False) -> Any:
        return self.as_(login, "PUT", self._of(number, pull), {"add_labels": ",".join(names)})

    def unlabel(self, login: str, number: int, name: str, pull: bool = False) -> Any:
        return self.as_(login, "PUT", self._of(number, pull), {"remove_labels": name})

    def assign(self, login: str, number: int, *to: str) -> Any:
        ids = [self.as_("owner", "GET", f"{self.api}/users?username={one}")[0]["id"] for one in to]
        return self.as_(login, "PUT", self._of(number), {"assignee_ids": ids})

    def edit_issue(self, login: str, number: int, *, pull: bool = False, **fields: Any) -> Any:
        words = {"body": "description", "state": "state_event"}
        states = {"closed": "close", "open": "reopen"}
        asked = {words.get(name, name): states.get(text, text) for name, text in fields.items()}
        return self.as_(login, "PUT", self._of(number, pull), asked)

    def say_at(self, login: str, number: int, text: str, pull: bool = False) -> int:
        return int(self.as_(login, "POST", f"{self._of(number, pull)}/notes", {"body": text})["id"])

    def edit_said(self, login: str, number: int, comment: int, text: str) -> Any:
        return self.as_(login, "PUT", f"{self._of(number)}/notes/{comment}", {"body": text})

    def said_at(self, number: int, pull: bool = False) -> list[str]:
        notes = self.as_("owner", "GET", f"{self._of(number, pull)}/notes?sort=asc&per_page=100")
        return [one["body"] for one in notes if not one["system"]]

    @property
    def api(self) -> str:
        return self.fake.api_url

    @property
    def there(self) -> str:
        return f"{self.api}/projects/acme%2Fshop"

    def close(self, login: str, number: int) -> Any:
        return self.as_(login, "PUT", f"/merge_requests/{number}", {"state_event": "close"})

    def reopen(self, login: str, number: int) -> Any:
        return self.as_(login, "PUT", f"/merge_requests/{number}", {"state_event": "reopen"})

    def lead_to(self, login: str, number: int, branch: str) -> Any:
        return self.as_(login, "PUT", f"/merge_requests/{number}", {"target_branch": branch})

    def say(self, login: str, number: int, text: str) -> Any:
        return self.as_(login, "POST", f"/merge_requests/{number}/notes", {"body": text})

    def said(self, number: int) -> list[str]:
        notes = self.as_("owner", "GET", f"/merge_requests/{number}/notes?sort=asc")
        return [one["body"] for one in notes if not one["system"]]

    def say_status(self, login: str, commit: str, state: str, context: str) -> Any:
        return self.as_(login, "POST", f"/statuses/{commit}", {"state": state, "name": context})

    def archive(self, is_archived: bool, name: str = "shop") -> Any:
        verb = "archive" if is_archived else "unarchive"
        return self.as_("owner", "POST", f"{self.api}/projects/acme%2F{name}/{verb}")

    def rename(self, old: str, new: str) -> Any:
        return self.as_("owner", "PUT", f"{self.api}/projects/acme%2F{old}", {"path": new})

    def review(self, login: str, number: int, event: str, body: str = "", at: Sequence[tuple[int, str]] = ()) -> Any:
        where = f"/merge_requests/{number}"
        refs = self.as_("owner", "GET", where)["diff_refs"]
        head = refs["head_sha"]
        for line, text in at:
            place = {"new_path": "app.py", "old_path": "app.py", "new_line": line, "position_type": "text", **refs}
            self.as_(login, "POST", f"{where}/discussions", {"body": text, "position": place})
        if event == "APPROVE":
            return self.as_(login, "POST", f"{where}/approve", {"sha": head})
        order = "\n/request_changes" if event == "REQUEST_CHANGES" else ""
        return self.say(login, number, body + order) if body or order else None

    def dismiss(self, number: int) -> Any:
        given = self.as_("owner", "GET", f"/merge_requests/{number}/approvals")["approved_by"]
        return self.as_(given[-1]["user"]["username"], "POST", f"/merge_requests/{number}/unapprove")

    def pull(self, number: int) -> Seen:
        one = self.as_("owner", "GET", f"/merge_requests/{number}")
        by = (one["merge_user"] or {}).get("username")
        return Seen(one["title"], one["description"], one["draft"], one["source_branch"], one["sha"], by)

    def make_draft(self, login: str, number: int, is_draft: bool) -> Any:
        title = self.pull(number).title
        words = f"[Draft] {title}" if is_draft else title.removeprefix("[Draft] ").removeprefix("Draft: ")
        return self.as_(login, "PUT", f"/merge_requests/{number}", {"title": words})

    def merge_by_hand(self, login: str, number: int, how: str = "squash") -> Any:
        self.pull(number)  # the first look begins the check
        return self.as_(login, "PUT", f"/merge_requests/{number}/merge", {"squash": how == "squash"})

    def statuses(self, commit: str) -> dict[str, tuple[str, str]]:
        told = self.as_("owner", "GET", f"/repository/commits/{commit}/statuses?per_page=100")
        return {one["name"]: (one["status"], one["description"] or "") for one in told}

    def make_branch(self, login: str, name: str) -> str:
        made = self.as_(login, "POST", "/repository/branches", {"branch": name, "ref": "main"})
        return str(made["commit"]["id"])

    def delete_branch(self, login: str, name: str) -> Any:
        return self.as_(login, "DELETE", f"/repository/branches/{name.replace('/', '%2F')}")

    def protect(self, approvals: int = 0, contexts: Sequence[str] = ()) -> Any:
        """Approvals are asked for by a rule; of checks, the whole pipeline is, which begins now."""
        self.as_("owner", "POST", "/protected_branches", {"name": "main", "push_access_level": 0})
        if approvals:
            asked = {"name": "all", "approvals_required": approvals}
            self._rules.append(self.as_("owner", "POST", "/approval_rules", asked)["id"])
        if contexts:
            self.as_("owner", "PUT", "", {"only_allow_merge_if_pipeline_succeeds": True})
            for one in self.as_("owner", "GET", "/merge_requests?state=opened"):
                for name in contexts:
                    self.say_status("ann", one["sha"], "pending", name)

    def unprotect(self) -> Any:
        self.as_("owner", "DELETE", "/protected_branches/main")
        self.as_("owner", "PUT", "", {"only_allow_merge_if_pipeline_succeeds": False})
        while self._rules:
            self.as_("owner", "DELETE", f"/approval_rules/{self._rules.pop()}")

    @property
    def _rules(self) -> list[int]:
        return self.__dict__.setdefault("_made_rules", [])  # type: ignore[no-any-return]

    def released(self, commit: str) -> list[str]:
        (deployment,) = [one for one in self.as_("owner", "GET", "/deployments") if one["sha"] == commit]
        gone = ["inactive"] if "lockgate/release/production" in self.statuses(commit) else []
        return ["in_progress", deployment["status"], *gone]


@contextmanager
def world(folder: Path, *, as_app: bool = False, checks: bool = False) -> Iterator[AtGitHub]:
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
            yield AtGitHub(fake, folder, host, "gh")


@contextmanager
def forgejo_world(folder: Path) -> Iterator[AtForgejo]:
    """The same at a fake Forgejo; all that is asked and answered is held against its swagger."""
    with FakeForgejo(folder / "fake") as fake:
        watch = DescriptionWatch(fake, "forgejo-14")
        fake.organization("acme", {"owner": "admin"})
        fake.repository(REPOSITORY, private=True, files=FILES)
        fake.user("robot", role="admin", repository=REPOSITORY)
        token = SecretStr(fake.token("robot", permissions=LEAST_FORGEJO))
        host = Forgejo(url=f"{fake.url}/acme", token=token)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Forgejo, "saved", classmethod(lambda cls, name: host))
            yield AtForgejo(fake, folder, host, "forgejo/codeberg")
        assert watch.problems == [], watch.problems


@contextmanager
def gitlab_world(folder: Path) -> Iterator[AtGitLab]:
    """The same at a fake GitLab."""
    with FakeGitLab(folder / "fake") as fake:
        fake.organization("acme", {"owner": "admin"})
        fake.repository(REPOSITORY, private=True, files=FILES)
        fake.user("robot", role="write", repository=REPOSITORY)
        token = SecretStr(fake.token("robot", permissions={"api": "write", "repository": "write"}))
        host = GitLab(url=f"{fake.url}/acme", token=token)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(GitLab, "saved", classmethod(lambda cls, name: host))
            yield AtGitLab(fake, folder, host, "gitlab/acme")


WORLDS: dict[str, Callable[[Path], AbstractContextManager[World]]] = {
    "github": world,
    "forgejo": forgejo_world,
    "gitlab": gitlab_world,
}
