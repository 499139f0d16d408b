"""`lockgate demo --forge`: the example where a team already works, a GitHub on loopback.

What a person would see there is printed, and one of them, `ann`, reviews there.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from blocks.home import home
from domain.brief import Brief
from domain.errors import InputError
from domain.records import ISSUE_MARK
from kits.fake_forge import FakeGitHub
from station import api, settings
from station.processes import log_of
from station.status import ledger_of, print_line

REPOSITORY, REVIEWER, BLOCK = "acme/shop", "ann", "demo"
LOOK_S, SETTLED_S, LONGEST_S = 0.5, 2.5, 180.0
PERMISSIONS = {
    "contents": "write",
    "pull_requests": "write",
    "issues": "write",
    "statuses": "write",
    "checks": "write",
    "deployments": "write",
    "metadata": "read",
}
"""What docs/forges.md asks for."""
RULES = {
    "enforce_admins": True,
    "required_pull_request_reviews": {"required_approving_review_count": 1},
    "required_status_checks": {"strict": False, "contexts": ["lockgate"]},
    "restrictions": None,
}
"""Of `main`: nothing comes there but by a pull request that somebody approved."""


@contextmanager
def hosted(files: Path) -> Iterator["AtForge"]:
    """The shop at the forge, and the forge named in the workshop `default` until the context ends."""
    from blocks.forges.github import GitHub
    from blocks.workshop import Workshop

    with FakeGitHub(home() / "demo" / "forge") as fake:
        made = AtForge(fake, files)
        host = GitHub(
            url=f"{fake.url}/acme",
            api_url=fake.url,
            app_id=str(made.app["id"]),
            private_key=SecretStr(made.app["private_key"]),
            desk_url=settings.desk_url().removesuffix("/desk/"),
        )
        host.keep(BLOCK)
        forge: Any = Workshop.saved("default").forge
        hosts = tuple(name for name in forge.hosts if name != BLOCK)
        forge.model_copy(update={"hosts": (*hosts, BLOCK)}).keep("default")
        _take_issues(made.address)
        try:
            yield made
        finally:
            _take_issues(None)
            forge.model_copy(update={"hosts": hosts}).keep("default")


def _take_issues(address: str | None) -> None:
    """Issues of the shop become runs of the recorded agent; None: of nothing any more."""
    from blocks.workshop import Workshop
    from domain.issues import IssueIntake

    shop = Workshop.saved("default")
    others = tuple(one for one in shop.issues if not one.repository.endswith(f"/{REPOSITORY}.git"))
    wanted = IssueIntake(repository=address, agent="replay/shop", environment="shop", closes=True) if address else None
    shop.issues = (*others, wanted) if wanted else others
    shop.keep("default")


class AtForge:
    """The repository and its people there. As a context it prints what becomes new, and `ann` reviews."""

    def __init__(self, fake: FakeGitHub, files: Path) -> None:
        self.url = fake.url
        fake.organization("acme", {"owner": "admin"})
        fake.repository(REPOSITORY, files=_texts(files))
        fake.user(REVIEWER, role="write", repository=REPOSITORY)
        self.app: Mapping[str, Any] = fake.app("lockgate", "acme", permissions=PERMISSIONS)
        self._token = fake.token(REVIEWER)
        self._call("PUT", "/branches/main/protection", RULES, token=fake.token("owner"))
        self.address = f"{fake.url}/{REPOSITORY}.git"
        self._issue = 0
        self._said: set[tuple[object, ...]] = set()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="reviewer", daemon=True)

    def __enter__(self) -> "AtForge":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._look()  # what came last

    def ask_for(self, brief: Brief) -> str:
        """`ann` files an issue that says what the brief says, and puts the label on; the run that comes of it."""
        place = f"issues/{self.url.partition('//')[2]}/"
        self._wait_for("its issues are looked at", lambda: _marked(place))
        time.sleep(SETTLED_S)  # what was asked for before that starts nothing
        (file,) = brief.acceptance.files
        parts = {
            "Goal": brief.goal,
            "Acceptance": f"```python\n# {file.path}\n{file.content}\n```",
            "Scope": "\n".join(f"- `{path}`" for path in brief.scope.paths),
            "Changed lines": str(brief.scope.max_changed_lines),
        }
        body = "\n\n".join(f"### {name}\n\n{text}" for name, text in parts.items())
        issue = self._call("POST", "/issues", {"title": brief.title, "body": body})
        self._issue = int(issue["number"])
        self._call("POST", f"/issues/{self._issue}/labels", {"labels": ["lockgate"]})
        print_line(
            f"GitHub   issue {self._issue} by {REVIEWER}, with the label lockgate: {brief.title}\n{issue['html_url']}"
        )
        return str(self._wait_for("it becomes a run", lambda: _run_of(self.address)))

    def _wait_for(self, what: str, look: Callable[[], object]) -> object:
        until = time.monotonic() + LONGEST_S
        while not (found := look()):
            if time.monotonic() > until:
                raise InputError(f"{self.url}: {LONGEST_S:.0f} s went by before {what}: see {log_of('supervisor')}")
            time.sleep(LOOK_S)
        return found

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            try:
                self._look()
            except (InputError, httpx.HTTPError) as err:
                print_line(f"GitHub   could not be looked at: {err}")

    def _look(self) -> None:
        if self._issue:
            self._tell_comments(f"issue {self._issue}", self._issue)
        for pull in reversed(self._call("GET", "/pulls?state=all&per_page=100")):
            self._look_at(pull)
        for deployment in reversed(self._call("GET", "/deployments?per_page=100")):
            for status in reversed(self._call("GET", f"/deployments/{deployment['id']}/statuses")):
                text = f"deployment of {deployment['sha'][:12]} to {deployment['environment']}: {status['state']}"
                self._say(text, status["description"], status["id"])

    def _look_at(self, pull: Mapping[str, Any]) -> None:
        number, head = pull["number"], pull["head"]["sha"]
        name = f"pull request {number}"
        self._say(f"{name} by {pull['user']['login']}: {pull['title']}", pull["html_url"], number)
        checks = self._call("GET", f"/commits/{head}/check-runs")["check_runs"]
        for check in reversed(checks):
            word = check["conclusion"] or check["status"]
            count = check["output"]["annotations_count"]
            at_lines = f" ({count} at lines of the change)" if count else ""
            self._say(f"{name}: check {check['name']}: {word}{at_lines}", check["output"]["title"], check["id"], word)
        self._tell_comments(name, number)
        if pull["merged_at"]:
            self._say(f"{name} is merged as {pull['merge_commit_sha'][:12]}", "", number, "merged")
        elif pull["state"] == "open" and not pull["draft"] and any(c["name"] == "lockgate" for c in checks):
            self._approve(number, head)

    def _tell_comments(self, name: str, number: int) -> None:
        for comment in self._call("GET", f"/issues/{number}/comments"):
            lines = [line for line in comment["body"].splitlines() if line and not line.startswith("<!--")]
            self._say(f"{name}: comment by {comment['user']['login']}", "\n".join(lines[:2]), comment["id"], *lines[:2])

    def _approve(self, number: int, head: str) -> None:
        """Once for each head. Whoever tries the demo can look at the page meanwhile."""
        if ("approved", head) in self._said:
            return
        self._said.add(("approved", head))
        self._call("POST", f"/pulls/{number}/reviews", {"event": "APPROVE", "commit_id": head})
        print_line(f"GitHub   pull request {number}: {REVIEWER}, whom this demo plays, approves {head[:12]}")

    def _say(self, what: str, more: str, *which: object) -> None:
        key = (what, *which)
        if key not in self._said:
            self._said.add(key)
            print_line(f"GitHub   {what}" + "".join(f"\n           {line}" for line in more.splitlines()[:6]))

    def _call(self, method: str, path: str, body: Any = None, token: str = "") -> Any:
        """As `ann`, or by the token that is given."""
        address = f"{self.url}/repos/{REPOSITORY}{path}"
        headers = {"Authorization": f"Bearer {token or self._token}"}
        answer = httpx.request(method, address, json=body, headers=headers, timeout=30, trust_env=False)
        if answer.status_code >= 300:
            raise InputError(f"{method} {path}: {answer.status_code}: {answer.text[:300]}")
        return answer.json() if answer.content else None


def _marked(place: str) -> bool:
    return any(one.run_id.startswith(place) for one in ledger_of(None).entries(None, (ISSUE_MARK.kind,)))


def _run_of(address: str) -> str | None:
    for run in api.runs({"tags": {"all_": ["lockgate"]}}, "EXPECTED_START_TIME_DESC", 20):
        brief = (run.get("parameters") or {}).get("brief")
        if isinstance(brief, Mapping) and brief.get("repository") == address:
            return str(run["id"])
    return None


def _texts(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    kept = (file for file in files if not {"__pycache__", ".ruff_cache", ".pytest_cache"} & set(file.parts))
    return {file.relative_to(folder).as_posix(): file.read_text() for file in kept}
