"""How the forge shows what it remembers: the shapes of the REST description."""

import base64
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from kits.fake_forge import access
from kits.fake_forge.git import Changed, Commit, Git
from kits.fake_forge.store import Doc, DocumentStore

_USER_URLS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
_REPO_URLS = {
    "forks_url": "/forks",
    "keys_url": "/keys{/key_id}",
    "collaborators_url": "/collaborators{/collaborator}",
    "teams_url": "/teams",
    "hooks_url": "/hooks",
    "issue_events_url": "/issues/events{/number}",
    "events_url": "/events",
    "assignees_url": "/assignees{/user}",
    "branches_url": "/branches{/branch}",
    "tags_url": "/tags",
    "blobs_url": "/git/blobs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "trees_url": "/git/trees{/sha}",
    "statuses_url": "/statuses/{sha}",
    "languages_url": "/languages",
    "stargazers_url": "/stargazers",
    "contributors_url": "/contributors",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "commits_url": "/commits{/sha}",
    "git_commits_url": "/git/commits{/sha}",
    "comments_url": "/comments{/number}",
    "issue_comment_url": "/issues/comments{/number}",
    "contents_url": "/contents/{+path}",
    "compare_url": "/compare/{base}...{head}",
    "merges_url": "/merges",
    "archive_url": "/{archive_format}{/ref}",
    "downloads_url": "/downloads",
    "issues_url": "/issues{/number}",
    "pulls_url": "/pulls{/number}",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "labels_url": "/labels{/name}",
    "releases_url": "/releases{/id}",
    "deployments_url": "/deployments",
}
_REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")


def node(kind: str, identity: int) -> str:
    """The global node id: opaque for clients, and read back by the GraphQL of the fake."""
    return base64.b64encode(f"{kind}:{identity}".encode()).decode()


def node_id(doc: Doc) -> str:
    return node(doc["kind"], doc["id"])


class Views:
    """Shapes for one request: its base addresses, and who looks. `git`: record of a repository → its git."""

    def __init__(
        self, store: DocumentStore, git: Callable[[Doc], Git], site: str, prefix: str, actor: access.Actor
    ) -> None:
        self.store, self._git, self.site, self.actor = store, git, site, actor
        self.api = site + prefix

    def again(self, path: str, query: dict[str, str]) -> str:
        return f"{self.api}{path}?{urlencode(query)}"

    # people

    def user(self, login: str | None) -> Doc | None:
        """A simple-user; None for nobody."""
        user = self.store.one("user", key=login) if login else None
        if user is None:
            return None
        at, name = f"{self.api}/users/{quote(user['login'])}", user["login"]
        return {
            "login": name,
            "id": user["id"],
            "node_id": node_id(user),
            "avatar_url": f"{self.site}/avatars/u/{user['id']}",
            "gravatar_id": "",
            "url": at,
            "html_url": f"{self.site}/{name.removesuffix('[bot]')}",
            **{key: at + tail for key, tail in _USER_URLS.items()},
            "type": user["type"],
            "site_admin": user.get("site_admin", False),
        }

    def public_user(self, login: str) -> Doc:
        user = self.store.one("user", key=login)
        assert user
        repositories = len(self.store.find("repository", owner=login))
        return {
            **(self.user(login) or {}),
            "name": user.get("name"),
            "company": None,
            "blog": "",
            "location": None,
            "email": user.get("email"),
            "hireable": None,
            "bio": None,
            "public_repos": repositories,
            "public_gists": 0,
            "followers": 0,
            "following": 0,
            "created_at": user["created_at"],
            "updated_at": user["created_at"],
        }

    def private_user(self, login: str) -> Doc:
        counts = ("private_gists", "total_private_repos", "owned_private_repos", "disk_usage", "collaborators")
        return {**self.public_user(login), **dict.fromkeys(counts, 0), "two_factor_authentication": True}

    def team(self, team: Doc) -> Doc:
        at = f"{self.api}/organizations/{self._id(team['org'])}/team/{team['id']}"
        return {
            "id": team["id"],
            "node_id": node_id(team),
            "name": team["name"],
            "slug": team["slug"],
            "description": None,
            "privacy": "closed",
            "notification_setting": "notifications_enabled",
            "permission": "pull",
            "url": at,
            "html_url": f"{self.site}/orgs/{team['org']}/teams/{team['slug']}",
            "members_url": at + "/members{/member}",
            "repositories_url": at + "/repos",
            "parent": None,
            "type": "organization",
            "organization_id": self._id(team["org"]),
        }

    def team_simple(self, team: Doc) -> Doc:
        return {name: value for name, value in self.team(team).items() if name != "parent"}

    def app(self, app: Doc | None, *, short: bool = False) -> Doc | None:
        if app is None:
            return None
        shown = {
            "id": app["id"],
            "slug": app["slug"],
            "node_id": node_id(app),
            "client_id": app["client_id"],
            "owner": self.user(app["owner"]),
            "name": app["name"],
            "description": None,
            "external_url": f"{self.site}/apps/{app['slug']}",
            "html_url": f"{self.site}/apps/{app['slug']}",
            "created_at": app["created_at"],
            "updated_at": app["created_at"],
            "permissions": app["permissions"],
            "events": app["events"],
        }
        return shown if short else {**shown, "installations_count": len(self.store.find("installation", app=app["id"]))}

    def installation(self, installation: Doc) -> Doc:
        app = self.store.get("app", installation["app"])
        assert app
        account = self.user(installation["account"])
        assert account
        return {
            "id": installation["id"],
            "client_id": app["client_id"],
            "account": account,
            "repository_selection": "all" if installation["repositories"] is None else "selected",
            "access_tokens_url": f"{self.api}/app/installations/{installation['id']}/access_tokens",
            "repositories_url": f"{self.api}/installation/repositories",
            "html_url": f"{self.site}/settings/installations/{installation['id']}",
            "app_id": app["id"],
            "app_slug": app["slug"],
            "target_id": account["id"],
            "target_type": account["type"],
            "permissions": installation["permissions"],
            "events": app["events"],
            "created_at": installation["created_at"],
            "updated_at": installation["created_at"],
            "single_file_name": None,
            "has_multiple_single_files": False,
            "single_file_paths": [],
            "suspended_by": None,
            "suspended_at": installation.get("suspended_at"),
        }

    def association(self, login: str, repo: Doc) -> str:
        """What somebody is to a repository, as comments show it."""
        if login == repo["owner"]:
            return "OWNER"
        if self.store.one("membership", org=repo["owner"], key=login):
            return "MEMBER"
        if self.store.one("collaborator", repo=repo["id"], key=login):
            return "COLLABORATOR"
        merged = any(pull["merged_at"] for pull in self.store.find("pull", repo=repo["id"], user=login))
        return "CONTRIBUTOR" if merged else "NONE"

    # repositories

    def at(self, repo: Doc) -> str:
        return f"{self.api}/repos/{repo['owner']}/{repo['name']}"

    def html(self, repo: Doc) -> str:
        return f"{self.site}/{repo['owner']}/{repo['name']}"

    def repo_small(self, repo: Doc) -> Doc:
        """A minimal-repository."""
        at = self.at(repo)
        return {
            "id": repo["id"],
            "node_id": node_id(repo),
            "name": repo["name"],
            "full_name": f"{repo['owner']}/{repo['name']}",
            "owner": self.user(repo["owner"]),
            "private": repo["private"],
            "html_url": self.html(repo),
            "description": repo.get("description"),
            "fork": bool(repo.get("parent")),
            "url": at,
            **{key: at + tail for key, tail in _REPO_URLS.items()},
        }

    def repo(self, repo: Doc) -> Doc:
        """A repository, as pull requests carry it."""
        html = self.html(repo)
        issues = len(self.store.find("issue", repo=repo["id"], state="open"))
        role = access.role_of(self.store, self.actor.login, repo)
        return {
            **self.repo_small(repo),
            "git_url": f"git://{html.split('://')[1]}.git",
            "ssh_url": f"git@{self.site.split('://')[1].split(':')[0]}:{repo['owner']}/{repo['name']}.git",
            "clone_url": html + ".git",
            "svn_url": html,
            "mirror_url": None,
            "homepage": None,
            "language": None,
            "license": None,
            "default_branch": repo["default_branch"],
            "forks": 0,
            "forks_count": 0,
            "stargazers_count": 0,
            "watchers": 0,
            "watchers_count": 0,
            "size": 0,
            "open_issues": issues,
            "open_issues_count": issues,
            "has_issues": True,
            "has_projects": False,
            "has_wiki": False,
            "has_pages": False,
            "has_downloads": False,
            "has_discussions": False,
            "archived": repo["archived"],
            "disabled": False,
            "visibility": "private" if repo["private"] else "public",
            "is_template": False,
            "topics": [],
            "allow_forking": True,
            "web_commit_signoff_required": False,
            "pushed_at": repo["pushed_at"],
            "created_at": repo["created_at"],
            "updated_at": repo["updated_at"],
            "permissions": {
                "admin": role == "admin",
                "maintain": access.has_role(role, "maintain"),
                "push": access.has_role(role, "write"),
                "triage": access.has_role(role, "triage"),
                "pull": access.has_role(role, "read"),
            },
        }

    def repo_full(self, repo: Doc) -> Doc:
        shown = {**self.repo(repo), "network_count": 0, "subscribers_count": 0, "temp_clone_token": ""}
        shown |= {name: repo[name] for name in ("allow_merge_commit", "allow_squash_merge", "allow_rebase_merge")}
        shown |= {"delete_branch_on_merge": repo["delete_branch_on_merge"], "allow_auto_merge": False}
        owner = self.store.one("user", key=repo["owner"])
        if owner and owner["type"] == "Organization":
            shown["organization"] = self.user(repo["owner"])
        return shown

    def ref(self, repo: Doc, name: str, sha: str) -> Doc:
        return {
            "ref": name,
            "node_id": node("ref", repo["id"]),
            "url": f"{self.at(repo)}/git/{quote(name)}",
            "object": {"type": "commit", "sha": sha, "url": f"{self.at(repo)}/git/commits/{sha}"},
        }

    def git_commit(self, repo: Doc, commit: Commit) -> Doc:
        at = self.at(repo)
        return {
            "sha": commit.sha,
            "node_id": node("commit", repo["id"]),
            "url": f"{at}/git/commits/{commit.sha}",
            "html_url": f"{self.html(repo)}/commit/{commit.sha}",
            "author": {"date": commit.authored, "email": commit.author_email, "name": commit.author},
            "committer": {"date": commit.committed, "email": commit.committer_email, "name": commit.committer},
            "tree": {"sha": commit.tree, "url": f"{at}/git/trees/{commit.tree}"},
            "message": commit.message,
            "parents": [
                {
                    "sha": parent,
                    "url": f"{at}/git/commits/{parent}",
                    "html_url": f"{self.html(repo)}/commit/{parent}",
                }
                for parent in commit.parents
            ],
            "verification": _UNSIGNED,
        }

    def commit(self, repo: Doc, commit: Commit) -> Doc:
        at = self.at(repo)
        return {
            "sha": commit.sha,
            "node_id": node("commit", repo["id"]),
            "commit": {
                "author": {"name": commit.author, "email": commit.author_email, "date": commit.authored},
                "committer": {"name": commit.committer, "email": commit.committer_email, "date": commit.committed},
                "message": commit.message,
                "tree": {"sha": commit.tree, "url": f"{at}/git/trees/{commit.tree}"},
                "url": f"{at}/git/commits/{commit.sha}",
                "comment_count": 0,
                "verification": _UNSIGNED,
            },
            "url": f"{at}/commits/{commit.sha}",
            "html_url": f"{self.html(repo)}/commit/{commit.sha}",
            "comments_url": f"{at}/commits/{commit.sha}/comments",
            "author": self._by_email(commit.author_email),
            "committer": self._by_email(commit.committer_email),
            "parents": [
                {
                    "sha": parent,
                    "url": f"{at}/commits/{parent}",
                    "html_url": f"{self.html(repo)}/commit/{parent}",
                }
                for parent in commit.parents
            ],
        }

    def file(self, repo: Doc, sha: str, change: Changed) -> Doc:
        """A diff-entry."""
        path = quote(change.path)
        shown = {
            "sha": change.blob,
            "filename": change.path,
            "status": change.status,
            "additions": change.additions,
            "deletions": change.deletions,
            "changes": change.additions + change.deletions,
            "blob_url": f"{self.html(repo)}/blob/{sha}/{path}",
            "raw_url": f"{self.html(repo)}/raw/{sha}/{path}",
            "contents_url": f"{self.at(repo)}/contents/{path}?ref={sha}",
        }
        if change.patch:
            shown["patch"] = change.patch
        if change.before:
            shown["previous_filename"] = change.before
        return shown

    # issues and pull requests

    def label(self, repo: Doc, label: Doc) -> Doc:
        return {
            "id": label["id"],
            "node_id": node_id(label),
            "url": f"{self.at(repo)}/labels/{quote(label['name'])}",
            "name": label["name"],
            "color": label["color"],
            "default": False,
            "description": label.get("description"),
        }

    def labels(self, repo: Doc, issue: Doc) -> list[Doc]:
        known = {label["id"]: label for label in self.store.find("label", repo=repo["id"])}
        return [self.label(repo, known[identity]) for identity in issue["labels"] if identity in known]

    def issue(self, repo: Doc, issue: Doc) -> Doc:
        at, page = f"{self.at(repo)}/issues/{issue['number']}", "pull" if issue["pull"] else "issues"
        shown: Doc = {
            "url": at,
            "repository_url": self.at(repo),
            "labels_url": at + "/labels{/name}",
            "comments_url": at + "/comments",
            "events_url": at + "/events",
            "html_url": f"{self.html(repo)}/{page}/{issue['number']}",
            "id": issue["id"],
            "node_id": node_id(issue),
            "number": issue["number"],
            "title": issue["title"],
            "user": self.user(issue["user"]),
            "labels": self.labels(repo, issue),
            "state": issue["state"],
            "state_reason": issue.get("state_reason"),
            "locked": issue.get("locked", False),
            "active_lock_reason": None,
            "assignee": self.user(issue["assignees"][0]) if issue["assignees"] else None,
            "assignees": [self.user(login) for login in issue["assignees"]],
            "milestone": None,
            "comments": len(self.store.find("comment", repo=repo["id"], number=issue["number"])),
            "created_at": issue["created_at"],
            "updated_at": issue["updated_at"],
            "closed_at": issue.get("closed_at"),
            "author_association": self.association(issue["user"], repo),
            "body": issue["body"],
            "reactions": self.reactions(at, issue),
            "performed_via_github_app": self._via(issue),
        }
        if issue["pull"]:
            pull = self.store.one("pull", repo=repo["id"], number=issue["number"])
            assert pull
            html = f"{self.html(repo)}/pull/{issue['number']}"
            shown["draft"] = pull["draft"]
            shown["pull_request"] = {
                "url": f"{self.at(repo)}/pulls/{issue['number']}",
                "html_url": html,
                "diff_url": html + ".diff",
                "patch_url": html + ".patch",
                "merged_at": pull["merged_at"],
            }
        return shown

    def reactions(self, at: str, doc: Doc) -> Doc:
        counts = dict.fromkeys(_REACTIONS, 0)
        for reaction in self.store.find("reaction", key=str(doc["id"])):
            counts[reaction["content"]] += 1
        return {"url": at + "/reactions", "total_count": sum(counts.values()), **counts}

    def event(self, repo: Doc, event: Doc) -> Doc:
        return {
            "id": event["id"],
            "node_id": node_id(event),
            "url": f"{self.at(repo)}/issues/events/{event['id']}",
            "actor": self.user(event["user"]),
            "event": event["event"],
            "commit_id": None,
            "commit_url": None,
            "created_at": event["created_at"],
            "performed_via_github_app": self._via(event),
            **event["more"],
        }

    def comment(self, repo: Doc, comment: Doc) -> Doc:
        issue = self.store.one("issue", repo=repo["id"], number=comment["number"])
        assert issue
        at, page = f"{self.at(repo)}/issues/comments/{comment['id']}", "pull" if issue["pull"] else "issues"
        return {
            "url": at,
            "html_url": f"{self.html(repo)}/{page}/{comment['number']}#issuecomment-{comment['id']}",
            "issue_url": f"{self.at(repo)}/issues/{comment['number']}",
            "id": comment["id"],
            "node_id": node_id(comment),
            "user": self.user(comment["user"]),
            "created_at": comment["created_at"],
            "updated_at": comment["updated_at"],
            "body": comment["body"],
            "author_association": self.association(comment["user"], repo),
            "reactions": self.reactions(at, comment),
            "performed_via_github_app": self._via(comment),
        }

    def pull_simple(self, repo: Doc, pull: Doc) -> Doc:
        issue = self.store.one("issue", repo=repo["id"], number=pull["number"])
        assert issue
        at, html = f"{self.at(repo)}/pulls/{pull['number']}", f"{self.html(repo)}/pull/{pull['number']}"
        issue_at = f"{self.at(repo)}/issues/{pull['number']}"
        teams = [self.store.get("team", identity) for identity in pull["requested_teams"]]
        links = {
            "self": at,
            "html": html,
            "issue": issue_at,
            "comments": issue_at + "/comments",
            "review_comments": at + "/comments",
            "review_comment": f"{self.at(repo)}/pulls/comments{{/number}}",
            "commits": at + "/commits",
            "statuses": f"{self.at(repo)}/statuses/{pull['head_sha']}",
        }
        return {
            "url": at,
            "id": pull["id"],
            "node_id": node_id(pull),
            "html_url": html,
            "diff_url": html + ".diff",
            "patch_url": html + ".patch",
            "issue_url": issue_at,
            "commits_url": links["commits"],
            "review_comments_url": links["review_comments"],
            "review_comment_url": links["review_comment"],
            "comments_url": links["comments"],
            "statuses_url": links["statuses"],
            "number": pull["number"],
            "state": issue["state"],
            "locked": issue.get("locked", False),
            "title": issue["title"],
            "user": self.user(issue["user"]),
            "body": issue["body"],
            "created_at": issue["created_at"],
            "updated_at": issue["updated_at"],
            "closed_at": issue.get("closed_at"),
            "merged_at": pull["merged_at"],
            "merge_commit_sha": pull["merge_sha"],
            "assignee": self.user(issue["assignees"][0]) if issue["assignees"] else None,
            "assignees": [self.user(login) for login in issue["assignees"]],
            "requested_reviewers": [self.user(login) for login in pull["requested_reviewers"]],
            "requested_teams": [self.team(team) for team in teams if team],
            "labels": self.labels(repo, issue),
            "milestone": None,
            "draft": pull["draft"],
            "head": self._end(pull["head_repo"], pull["head_ref"], pull["head_sha"]),
            "base": self._end(repo["id"], pull["base_ref"], pull["base_sha"]),
            "_links": {name: {"href": href} for name, href in links.items()},
            "author_association": self.association(issue["user"], repo),
            "auto_merge": None,
            "active_lock_reason": None,
        }

    def pull(self, repo: Doc, pull: Doc, mergeable: bool | None, state: str) -> Doc:
        """A whole pull request; `mergeable` None: not known yet."""
        git = self._git(repo)
        base = git.merge_base(pull["base_sha"], pull["head_sha"]) or pull["base_sha"]
        changes = git.changes(base, pull["head_sha"])
        return {
            **self.pull_simple(repo, pull),
            "merged": bool(pull["merged_at"]),
            "mergeable": mergeable,
            "rebaseable": mergeable,
            "mergeable_state": state,
            "merged_by": self.user(pull.get("merged_by")),
            "comments": len(self.store.find("comment", repo=repo["id"], number=pull["number"])),
            "review_comments": len(self.store.find("review_comment", repo=repo["id"], number=pull["number"])),
            "maintainer_can_modify": False,
            "commits": len(git.commits(f"{base}..{pull['head_sha']}")),
            "additions": sum(change.additions for change in changes),
            "deletions": sum(change.deletions for change in changes),
            "changed_files": len(changes),
        }

    def review(self, repo: Doc, review: Doc) -> Doc:
        pull_at = f"{self.at(repo)}/pulls/{review['number']}"
        html = f"{self.html(repo)}/pull/{review['number']}#pullrequestreview-{review['id']}"
        shown = {
            "id": review["id"],
            "node_id": node_id(review),
            "user": self.user(review["user"]),
            "body": review["body"],
            "state": review["state"],
            "html_url": html,
            "pull_request_url": pull_at,
            "author_association": self.association(review["user"], repo),
            "_links": {"html": {"href": html}, "pull_request": {"href": pull_at}},
            "commit_id": review["commit"],
        }
        if review["submitted_at"]:
            shown["submitted_at"] = review["submitted_at"]
        return shown

    def review_comment(self, repo: Doc, comment: Doc) -> Doc:
        at = f"{self.at(repo)}/pulls/comments/{comment['id']}"
        pull_at = f"{self.at(repo)}/pulls/{comment['number']}"
        html = f"{self.html(repo)}/pull/{comment['number']}#discussion_r{comment['id']}"
        shown = {
            "url": at,
            "pull_request_review_id": comment["review"],
            "id": comment["id"],
            "node_id": node_id(comment),
            "diff_hunk": comment["hunk"],
            "path": comment["path"],
            "commit_id": comment["commit"],
            "original_commit_id": comment["original_commit"],
            "user": self.user(comment["user"]),
            "body": comment["body"],
            "created_at": comment["created_at"],
            "updated_at": comment["updated_at"],
            "html_url": html,
            "pull_request_url": pull_at,
            "author_association": self.association(comment["user"], repo),
            "_links": {"self": {"href": at}, "html": {"href": html}, "pull_request": {"href": pull_at}},
            "reactions": self.reactions(at, comment),
            "start_line": comment.get("start_line"),
            "original_start_line": comment.get("original_start_line"),
            "start_side": comment.get("start_side"),
            "line": comment["line"],
            "original_line": comment["original_line"],
            "side": comment["side"],
            "original_position": comment["original_position"],
            "position": comment["position"],
            "subject_type": comment["subject_type"],
        }
        if comment.get("reply_to"):
            shown["in_reply_to_id"] = comment["reply_to"]
        return shown

    # checks, statuses, deployments

    def status(self, repo: Doc, status: Doc) -> Doc:
        return {**self.status_small(repo, status), "creator": self.user(status["user"])}

    def status_small(self, repo: Doc, status: Doc) -> Doc:
        """As the combined status lists it."""
        user = self.user(status["user"])
        return {
            "url": f"{self.at(repo)}/statuses/{status['sha']}",
            "avatar_url": user["avatar_url"] if user else None,
            "id": status["id"],
            "node_id": node_id(status),
            "state": status["state"],
            "description": status.get("description"),
            "target_url": status.get("target_url"),
            "context": status["context"],
            "created_at": status["created_at"],
            "updated_at": status["created_at"],
        }

    def check_run(self, repo: Doc, run: Doc) -> Doc:
        at = f"{self.at(repo)}/check-runs/{run['id']}"
        output = run.get("output") or {}
        pulls = self.store.find("pull", repo=repo["id"], head_sha=run["sha"])
        return {
            "id": run["id"],
            "name": run["name"],
            "node_id": node_id(run),
            "head_sha": run["sha"],
            "external_id": run.get("external_id", ""),
            "url": at,
            "html_url": f"{self.html(repo)}/runs/{run['id']}",
            "details_url": run.get("details_url") or f"{self.html(repo)}/runs/{run['id']}",
            "status": run["status"],
            "conclusion": run.get("conclusion"),
            "started_at": run.get("started_at"),
            "completed_at": run.get("completed_at"),
            "output": {
                "title": output.get("title"),
                "summary": output.get("summary"),
                "text": output.get("text"),
                "annotations_count": len(run["annotations"]),
                "annotations_url": f"{at}/annotations",
            },
            "check_suite": {"id": run["suite"]},
            "app": self.app(self.store.get("app", run["app"]), short=True),
            "pull_requests": [self.pull_minimal(repo, pull) for pull in pulls],
        }

    def pull_minimal(self, repo: Doc, pull: Doc) -> Doc:
        """As check runs name their pull requests."""

        def end(repo_id: int, ref: str, sha: str) -> Doc:
            other = self.store.get("repository", repo_id) or repo
            return {"ref": ref, "sha": sha, "repo": {"id": other["id"], "url": self.at(other), "name": other["name"]}}

        return {
            "id": pull["id"],
            "number": pull["number"],
            "url": f"{self.at(repo)}/pulls/{pull['number']}",
            "head": end(pull["head_repo"], pull["head_ref"], pull["head_sha"]),
            "base": end(repo["id"], pull["base_ref"], pull["base_sha"]),
        }

    def deployment(self, repo: Doc, deployment: Doc) -> Doc:
        at = f"{self.at(repo)}/deployments/{deployment['id']}"
        names: tuple[str, ...] = (
            *("sha", "ref", "task", "payload", "environment", "original_environment", "description"),
            *("created_at", "updated_at", "transient_environment", "production_environment"),
        )
        return {
            "url": at,
            "id": deployment["id"],
            "node_id": node_id(deployment),
            **{name: deployment[name] for name in names},
            "creator": self.user(deployment["user"]),
            "statuses_url": at + "/statuses",
            "repository_url": self.at(repo),
            "performed_via_github_app": self._via(deployment),
        }

    def deployment_status(self, repo: Doc, status: Doc) -> Doc:
        at = f"{self.at(repo)}/deployments/{status['deployment']}"
        return {
            "url": f"{at}/statuses/{status['id']}",
            "id": status["id"],
            "node_id": node_id(status),
            "state": status["state"],
            "creator": self.user(status["user"]),
            "description": status["description"],
            "environment": status["environment"],
            "target_url": status["log_url"],
            "log_url": status["log_url"],
            "environment_url": status["environment_url"],
            "created_at": status["created_at"],
            "updated_at": status["created_at"],
            "deployment_url": at,
            "repository_url": self.at(repo),
            "performed_via_github_app": self._via(status),
        }

    # webhooks

    def hook(self, hook: Doc) -> Doc:
        repo = self.store.get("repository", hook["repo"])
        assert repo
        at = f"{self.at(repo)}/hooks/{hook['id']}"
        return {
            "type": "Repository",
            "id": hook["id"],
            "name": "web",
            "active": hook["active"],
            "events": hook["events"],
            "config": self.hook_config(hook),
            "updated_at": hook["updated_at"],
            "created_at": hook["created_at"],
            "url": at,
            "test_url": at + "/test",
            "ping_url": at + "/pings",
            "deliveries_url": at + "/deliveries",
            "last_response": hook["last_response"],
        }

    def hook_config(self, hook: Doc) -> Doc:
        """The secret is never shown again."""
        shown = {"content_type": "json", "insecure_ssl": "0", "url": hook["url"]}
        return {**shown, "secret": "********"} if hook["secret"] else shown

    def delivery(self, delivery: Doc, *, whole: bool) -> Doc:
        names = ("guid", "delivered_at", "redelivery", "duration", "status", "status_code", "event", "action")
        shown = {"id": delivery["id"], **{name: delivery[name] for name in names}}
        shown |= {"installation_id": delivery["installation"], "repository_id": delivery["repo"], "throttled_at": None}
        if whole:
            shown |= {"url": delivery["url"], "request": delivery["request"], "response": delivery["response"]}
        return shown

    def _id(self, login: str) -> int:
        user = self.store.one("user", key=login)
        return int(user["id"]) if user else 0

    def _by_email(self, email: str) -> Doc | None:
        user = self.store.one("user", email=email)
        return self.user(user["login"]) if user else None

    def _via(self, doc: Doc) -> Doc | None:
        return self.app(self.store.get("app", doc["app"]), short=True) if doc.get("app") else None

    def _end(self, repo_id: int, ref: str, sha: str) -> Any:
        repo = self.store.get("repository", repo_id)
        owner = repo["owner"] if repo else ""
        return {
            "label": f"{owner}:{ref}",
            "ref": ref,
            "sha": sha,
            "user": self.user(owner),
            "repo": self.repo(repo) if repo else None,
        }


_UNSIGNED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}
