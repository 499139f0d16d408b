"""The forge itself, without HTTP: its clock, repositories, people, and what a push does."""

import datetime
import secrets
import shutil
import threading
from pathlib import Path
from typing import Any

from kits.fake_forge import access
from kits.fake_forge.git import ZERO, Git
from kits.fake_forge.limits import RateLimits
from kits.fake_forge.store import Doc, DocumentStore
from kits.fake_forge.views import Views

MERGE_METHODS = {"merge": "Merge commits", "squash": "Squash merges", "rebase": "Rebase merges"}


class ForgeState:
    """State and rules. Every method that writes is called inside a transaction, or makes one."""

    def __init__(self, directory: Path, *, enterprise: bool = False) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.store = DocumentStore(directory / "forge.db")
        self.enterprise = enterprise
        self.site = ""
        """Its own address, once it listens."""
        self.skew_s = 0.0
        """How far its clock is from the machine's."""
        self.zone_h = 0
        """Its administrators' time zone, in hours."""
        self.news = threading.Event()
        """Set when a webhook is to be sent."""
        self.is_precise = False
        """Whether its times are told to the millisecond."""
        self.pull_ref = "refs/pull/{}/head"
        """What git has a pull request's head under."""
        self.limits = RateLimits()
        self.committer = ("GitHub", "noreply@github.com")
        """Who commits what the forge makes itself."""
        self.refused = "error: GH006: Protected branch update failed for refs/heads/{branch}."
        """How it says that a branch takes no push."""

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=self.skew_s)

    def stamp(self) -> str:
        if self.is_precise:
            return self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return access.stamp(self.now())

    def git(self, repo: Doc) -> Git:
        return Git(self.directory / "git" / f"{repo['id']}.git")

    def who(self, login: str) -> dict[str, str]:
        """How the forge signs commits that it makes for somebody."""
        user = self.store.one("user", key=login)
        name, email = (user.get("name") or login, user["email"]) if user else (login, f"{login}@users.noreply")
        return {
            "GIT_AUTHOR_NAME": name,
            "GIT_AUTHOR_EMAIL": email,
            "GIT_COMMITTER_NAME": self.committer[0],
            "GIT_COMMITTER_EMAIL": self.committer[1],
        }

    # people and places

    def add_user(self, login: str, kind: str = "User") -> Doc:
        with self.store.transaction():
            known = self.store.one("user", key=login)
            if known:
                return known
            user = self.store.add("user", key=login, login=login, type=kind, name=None, created_at=self.stamp())
            user["email"] = f"{user['id']}+{login}@users.noreply.github.com"
            return self.store.save(user)

    def add_repository(
        self, owner: str, name: str, *, private: bool = False, branch: str = "main", fork_of: Doc | None = None
    ) -> Doc:
        """An empty repository, or a fork with all that the other one has."""
        with self.store.transaction():
            self.add_user(owner)
            now = self.stamp()
            repo = self.store.add(
                "repository",
                key=f"{owner}/{name}".lower(),
                owner=owner,
                name=name,
                private=private,
                archived=False,
                default_branch=branch,
                parent=fork_of["id"] if fork_of else None,
                numbers=0,
                created_at=now,
                updated_at=now,
                pushed_at=now,
                allow_merge_commit=True,
                allow_squash_merge=True,
                allow_rebase_merge=True,
                delete_branch_on_merge=False,
                description=None,
            )
            git = self.git(repo)
            git.create(branch)
            if fork_of:
                git.run(
                    "fetch", "-q", str(self.git(fork_of).place), "refs/heads/*:refs/heads/*", "refs/tags/*:refs/tags/*"
                )
            return repo

    def find_repository(self, owner: str, name: str) -> Doc | None:
        """By its name, whatever its case."""
        return self.store.one("repository", key=f"{owner}/{name}".lower())

    def add_app(self, slug: str, owner: str, permissions: dict[str, str], events: list[str]) -> tuple[Doc, str]:
        """A GitHub App and its private key, which the forge does not keep."""
        private, public = access.new_key()
        with self.store.transaction():
            self.add_user(owner)
            app = self.store.add(
                "app",
                key=slug,
                slug=slug,
                name=slug,
                owner=owner,
                client_id="Iv1." + secrets.token_hex(8),
                permissions=permissions,
                events=events,
                public_key=public,
                hook_url=None,
                hook_secret=None,
                created_at=self.stamp(),
            )
            self.add_user(f"{slug}[bot]", "Bot")
            return app, private

    def install(self, app: Doc, account: str, repositories: list[int] | None) -> Doc:
        return self.store.add(
            "installation",
            key=account,
            app=app["id"],
            account=account,
            repositories=repositories,
            permissions=app["permissions"],
            created_at=self.stamp(),
            suspended_at=None,
        )

    def next_number(self, repo: Doc) -> int:
        fresh = self.store.get("repository", repo["id"])
        assert fresh
        fresh["numbers"] += 1
        self.store.save(fresh)
        repo["numbers"] = fresh["numbers"]
        return int(fresh["numbers"])

    def catch_up(self) -> None:
        """After a kill between a move of a ref and its record: pull requests are told where their branches stand."""
        with self.store.transaction():
            for pull in self.store.find("pull", merged_at=None):
                issue = self.store.one("issue", repo=pull["repo"], number=pull["number"])
                head, base = self.store.get("repository", pull["head_repo"]), self.store.get("repository", pull["repo"])
                if issue is None or issue["state"] != "open" or head is None or base is None:
                    continue
                actor = access.Actor(base["owner"], "classic")
                tip = self.git(base).branch(pull["base_ref"]) or ZERO
                if tip != pull["base_sha"]:
                    self._move_bases(base, pull["base_ref"], tip, actor)
                tip = self.git(head).branch(pull["head_ref"]) or ZERO
                if tip != pull["head_sha"]:
                    self._move_heads(head, pull["head_ref"], pull["head_sha"], tip, actor)

    # webhooks

    def views(self, actor: access.Actor) -> Views:
        return Views(self.store, self.git, self.site, "/api/v3" if self.enterprise else "", actor)

    def emit(self, repo: Doc, event: str, actor: access.Actor, action: str | None = None, **payload: Any) -> None:
        """Queue a webhook for whoever asked for this event."""
        views = self.views(actor)
        body: Doc = {"action": action} if action else {}
        body |= {**payload, "repository": views.repo(repo), "sender": views.user(actor.login)}
        owner = self.store.one("user", key=repo["owner"])
        if owner and owner["type"] == "Organization":
            body["organization"] = organization(views, owner)
        for hook in self.store.find("hook", repo=repo["id"], active=True):
            if event in hook["events"] or "*" in hook["events"] or event == "ping":
                self.queue(body, event, action, hook=hook)
        for installation in self.store.find("installation", key=repo["owner"]):
            app = self.store.get("app", installation["app"])
            allowed = installation["repositories"] is None or repo["id"] in installation["repositories"]
            if app and app["hook_url"] and allowed and event in app["events"]:
                named = {**body, "installation": {"id": installation["id"], "node_id": "fake"}}
                self.queue(named, event, action, app=app, repo=repo["id"], installation=installation["id"])

    def queue(
        self,
        payload: Doc,
        event: str,
        action: str | None,
        *,
        hook: Doc | None = None,
        app: Doc | None = None,
        repo: int | None = None,
        installation: int | None = None,
        guid: str | None = None,
    ) -> Doc:
        """One delivery, sent as soon as this transaction is through."""
        target = hook or app
        assert target
        self.news.set()
        return self.store.add(
            "delivery",
            repo=hook["repo"] if hook else repo,
            hook=hook["id"] if hook else None,
            app=app["id"] if app else None,
            key=f"{'hook' if hook else 'app'} {target['id']}",
            guid=guid or _guid(),
            redelivery=guid is not None,
            event=event,
            action=action,
            installation=installation,
            url=hook["url"] if hook else target["hook_url"],
            request={"headers": None, "payload": payload},
            response={"headers": None, "payload": None},
            delivered_at=self.stamp(),
            duration=0.0,
            status="queued",
            status_code=0,
        )

    # what a push does

    def after_push(self, repo: Doc, before: dict[str, str], after: dict[str, str], actor: access.Actor) -> None:
        """Tell everything that hangs on a branch that it moved: pull requests, reviews, protection, webhooks."""
        moved = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        if not moved:
            return
        repo = self.store.get("repository", repo["id"]) or repo
        repo["pushed_at"] = self.stamp()
        self.store.save(repo)
        for name in sorted(moved):
            old, new = before.get(name, ZERO), after.get(name, ZERO)
            self._tell_push(repo, name, old, new, actor)
            if name.startswith("refs/heads/"):
                self._move_heads(repo, name.removeprefix("refs/heads/"), old, new, actor)
                self._move_bases(repo, name.removeprefix("refs/heads/"), new, actor)

    def write_protection(self, repo: Doc, actor: access.Actor) -> None:
        """Tell git's hook what a push by this actor may not do."""
        place = self.git(repo).place / "protected"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for found in self.store.find("protection", repo=repo["id"]):
            rule = found["rule"]
            if not rule.get("enforce_admins") and access.role_of(self.store, actor.login, repo) == "admin":
                continue
            always = rule.get("required_pull_request_reviews") is not None or bool(rule.get("required_status_checks"))
            if not always and rule.get("allow_force_pushes"):
                continue
            reason = "Changes must be made through a pull request." if always else "Cannot force-push to this branch"
            name = f"refs/heads/{found['key']}".replace("/", ",")
            said = f"{self.refused.format(branch=found['key'])}\nerror: {reason}\n"
            (place / name).write_text(f"{'always' if always else 'forced'}\n{said}")

    def _tell_push(self, repo: Doc, name: str, old: str, new: str, actor: access.Actor) -> None:
        git, views = self.git(repo), self.views(actor)
        forced = ZERO not in (old, new) and not git.is_ancestor(old, new)
        commits = [] if new == ZERO else git.commits("-20", new, *([f"^{old}"] if old != ZERO else []))
        shown = [hook_commit(views, repo, git, commit.sha) for commit in reversed(commits)]
        head = hook_commit(views, repo, git, new) if new != ZERO else None
        user = self.store.one("user", key=actor.login) or {"email": None}
        self.emit(
            repo,
            "push",
            actor,
            ref=name,
            before=old,
            after=new,
            base_ref=None,
            forced=forced,
            created=old == ZERO,
            deleted=new == ZERO,
            compare=f"{views.html(repo)}/compare/{old[:12]}...{new[:12]}",
            commits=shown,
            head_commit=head,
            pusher={"name": actor.login, "email": user["email"]},
        )

    def _move_heads(self, repo: Doc, branch: str, old: str, new: str, actor: access.Actor) -> None:
        for pull in self.store.find("pull", head_repo=repo["id"], head_ref=branch):
            base = self.store.get("repository", pull["repo"])
            issue = self.store.one("issue", repo=pull["repo"], number=pull["number"])
            if base is None or issue is None or issue["state"] != "open":
                continue
            if new == ZERO:
                issue["closed_by"] = actor.login
                self.close(base, issue, actor)
                continue
            if base["id"] != repo["id"]:
                self.git(base).run("fetch", "-q", str(self.git(repo).place), new)
            self.git(base).set(self.pull_ref.format(pull["number"]), new)
            pull["head_sha"], pull["looked"], pull["mergeable"] = new, False, None
            self.store.save(pull)
            self.add_version(base, pull)
            issue["updated_at"] = self.stamp()
            self.store.save(issue)
            self._outdate(base, pull)
            rule = self.protection(base, pull["base_ref"])
            reviews = rule.get("required_pull_request_reviews") if rule else None
            if reviews and reviews.get("dismiss_stale_reviews"):
                self._dismiss(base, pull, actor)
            shown = self.views(actor).pull(base, pull, None, "unknown")
            self.emit(
                base,
                "pull_request",
                actor,
                "synchronize",
                number=pull["number"],
                before=old,
                after=new,
                pull_request=shown,
            )

    def add_version(self, repo: Doc, pull: Doc) -> None:
        """What a pull request holds from this moment on."""
        at = self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.store.add("version", repo=repo["id"], number=pull["number"], head=pull["head_sha"], created_at=at)

    def _move_bases(self, repo: Doc, branch: str, new: str, actor: access.Actor) -> None:
        """Pull requests to this branch: their mergeability is unknown again; what the branch now holds is merged."""
        for pull in self.store.find("pull", repo=repo["id"], base_ref=branch):
            issue = self.store.one("issue", repo=repo["id"], number=pull["number"])
            if issue is None or issue["state"] != "open" or new == ZERO:
                continue
            if self.git(repo).is_ancestor(pull["head_sha"], new):
                pull["merged_at"], pull["merged_by"], pull["merge_sha"] = self.stamp(), actor.login, pull["head_sha"]
                self.store.save(pull)
                self.close(repo, issue, actor)
                continue
            pull["base_sha"], pull["looked"], pull["mergeable"] = new, False, None
            self.store.save(pull)

    def _outdate(self, repo: Doc, pull: Doc) -> None:
        """A comment whose line the newest diff has no more is outdated; the others move with the head."""
        git = self.git(repo)
        base = git.merge_base(pull["base_sha"], pull["head_sha"]) or pull["base_sha"]
        patches = {change.path: change.patch for change in git.changes(base, pull["head_sha"])}
        for comment in self.store.find("review_comment", repo=repo["id"], number=pull["number"]):
            if comment["hunk"] and comment["hunk"].rsplit("\n", 1)[-1] not in patches.get(comment["path"], "").split(
                "\n"
            ):
                comment["line"] = comment["position"] = None
            else:
                comment["commit"] = pull["head_sha"]
            self.store.save(comment)

    def _dismiss(self, repo: Doc, pull: Doc, actor: access.Actor) -> None:
        for review in self.store.find("review", repo=repo["id"], number=pull["number"], state="APPROVED"):
            review["state"] = "DISMISSED"
            self.store.save(review)
            views = self.views(actor)
            self.emit(
                repo,
                "pull_request_review",
                actor,
                "dismissed",
                review=hook_review(views, repo, review),
                pull_request=views.pull_simple(repo, pull),
            )

    # rules

    def protection(self, repo: Doc, branch: str) -> Doc | None:
        """A branch's own rule, as it was written."""
        found = self.store.one("protection", repo=repo["id"], key=branch)
        return found["rule"] if found else None

    def close(self, repo: Doc, issue: Doc, actor: access.Actor, reason: str | None = "completed") -> None:
        """Close an issue or a pull request, and say so."""
        issue["state"], issue["closed_at"], issue["updated_at"] = "closed", self.stamp(), self.stamp()
        issue["state_reason"] = None if issue["pull"] else reason
        self.store.save(issue)
        self.note(repo, issue, actor, "closed", state_reason=issue["state_reason"])
        views = self.views(actor)
        if issue["pull"]:
            pull = self.store.one("pull", repo=repo["id"], number=issue["number"])
            assert pull
            shown = views.pull(repo, pull, None, "unknown")
            self.emit(repo, "pull_request", actor, "closed", number=issue["number"], pull_request=shown)
        else:
            self.emit(repo, "issues", actor, "closed", issue=views.issue(repo, issue))

    def note(self, repo: Doc, issue: Doc, actor: access.Actor, event: str, **more: Any) -> None:
        """What its list of events tells of an issue or a pull request."""
        app = actor.app["id"] if actor.app else None
        number, at = issue["number"], self.stamp()
        made = {"repo": repo["id"], "number": number, "user": actor.login, "app": app, "created_at": at}
        self.store.add("event", **made, event=event, more=more)


def organization(views: Views, owner: Doc) -> Doc:
    """organization-simple, as webhooks carry it."""
    at = f"{views.api}/orgs/{owner['login']}"
    shown = {"login": owner["login"], "id": owner["id"], "node_id": "fake", "url": at, "description": None}
    shown |= {f"{name}_url": f"{at}/{name}" for name in ("repos", "events", "hooks", "issues")}
    shown |= {"members_url": at + "/members{/member}", "public_members_url": at + "/public_members{/member}"}
    return {**shown, "avatar_url": f"{views.site}/avatars/u/{owner['id']}"}


def hook_commit(views: Views, repo: Doc, git: Git, sha: str) -> Doc:
    """A commit as the push event carries it."""
    commit = git.commit(sha)
    changes = git.changes(commit.parents[0], sha) if commit.parents else []
    return {
        "id": sha,
        "tree_id": commit.tree,
        "distinct": True,
        "message": commit.message,
        "timestamp": commit.committed,
        "url": f"{views.html(repo)}/commit/{sha}",
        "author": {"name": commit.author, "email": commit.author_email},
        "committer": {"name": commit.committer, "email": commit.committer_email},
        "added": [change.path for change in changes if change.status == "added"],
        "removed": [change.path for change in changes if change.status == "removed"],
        "modified": [change.path for change in changes if change.status in ("modified", "renamed")],
    }


def hook_review(views: Views, repo: Doc, review: Doc) -> Doc:
    """A review as webhooks carry it: its state in small letters."""
    return {**views.review(repo, review), "state": review["state"].lower()}


def _guid() -> str:
    text = secrets.token_hex(16)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
