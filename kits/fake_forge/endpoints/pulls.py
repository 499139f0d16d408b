"""Pull requests: opening, changing, merging."""

import re
from typing import NamedTuple

import pathspec

from kits.fake_forge import access
from kits.fake_forge.answers import ForgeAnswer, Refusal, invalid, not_found
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.endpoints import issues
from kits.fake_forge.endpoints.repositories import move_branch
from kits.fake_forge.forge import MERGE_METHODS
from kits.fake_forge.store import Doc

READ, WRITE = "pull_requests:read", "pull_requests:write"
_COLLABORATORS = "Reviews may only be requested from collaborators. One or more of the"
_IS_NONE = "you specified is not a collaborator of the repository."


@route("GET", "/repos/{owner}/{repo}/pulls", grant=READ)
def list_pulls(ask: ForgeRequest) -> ForgeAnswer:
    """By state, base, and head as `owner:branch`; the newest first."""
    state = ask.query.get("state", "open")
    where = {name: ask.query[query] for name, query in (("base_ref", "base"),) if query in ask.query}
    owner, colon, branch = ask.query.get("head", "").partition(":")
    pulls = []
    for pull in ask.store.find("pull", repo=ask.repo["id"], **where):
        issue = ask.store.one("issue", repo=ask.repo["id"], number=pull["number"])
        head = ask.store.get("repository", pull["head_repo"])
        if state not in ("all", issue["state"]):
            continue
        # A head without an owner is no filter at all: it is how GitHub answers it.
        if colon and (pull["head_ref"] != branch or head is None or head["owner"] != owner):
            continue
        pulls.append(pull)
    newest = ask.query.get("direction", "desc" if ask.query.get("sort", "created") == "created" else "asc") == "desc"
    pulls.sort(key=lambda pull: pull["number"], reverse=newest)
    return ForgeAnswer(200, ask.page(pulls, lambda pull: ask.views.pull_simple(ask.repo, pull)))


@route("POST", "/repos/{owner}/{repo}/pulls", grant=WRITE)
def create_pull(ask: ForgeRequest) -> ForgeAnswer:
    title, base = ask.text("title", "PullRequest"), ask.text("base", "PullRequest")
    head_repo, branch = _head(ask)
    head = ask.forge.git(head_repo).branch(branch)
    if head is None:
        raise invalid("PullRequest", field="head", code="invalid")
    if not access.may(ask.store, ask.actor, head_repo, "write" if head_repo["private"] else "read", WRITE):
        raise Refusal(403, "Resource not accessible by personal access token")
    tip = ask.git.branch(base)
    if tip is None:
        raise invalid("PullRequest", field="base", code="invalid")
    for pull in ask.store.find("pull", repo=ask.repo["id"], head_repo=head_repo["id"], head_ref=branch, base_ref=base):
        issue = ask.store.one("issue", repo=ask.repo["id"], number=pull["number"])
        if issue["state"] == "open":
            message = f"A pull request already exists for {head_repo['owner']}:{branch}."
            raise invalid("PullRequest", code="custom", message=message)
    if head_repo["id"] != ask.repo["id"]:
        ask.git.run("fetch", "-q", str(ask.forge.git(head_repo).place), head)
    if ask.git.merge_base(tip, head) is None:
        message = f"The {branch} branch has no history in common with {base}"
        raise invalid("PullRequest", code="custom", message=message)
    if ask.git.is_ancestor(head, tip):
        raise invalid("PullRequest", code="custom", message=f"No commits between {base} and {branch}")
    issue = issues.add_issue(ask, title, ask.body.get("body"), pull=True)
    pull = ask.store.add(
        "pull",
        repo=ask.repo["id"],
        number=issue["number"],
        user=ask.login,
        head_repo=head_repo["id"],
        head_ref=branch,
        head_sha=head,
        base_ref=base,
        base_sha=tip,
        draft=bool(ask.body.get("draft", False)),
        merged_at=None,
        merged_by=None,
        merge_sha=None,
        mergeable=None,
        looked=False,
        requested_reviewers=[],
        requested_teams=[],
    )
    ask.git.set(f"refs/pull/{pull['number']}/head", head)
    tell(ask, pull, "opened")
    if not pull["draft"]:
        ask_code_owners(ask, pull)
    shown = ask.views.pull(ask.repo, pull, None, "unknown")
    return ForgeAnswer(201, shown, {"Location": shown["url"]})


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}", grant=READ)
def show_pull(ask: ForgeRequest) -> ForgeAnswer:
    """The first look after a change starts the test merge, and does not know its end yet."""
    pull = the_pull(ask)
    wanted = ask.headers.get("accept", "")
    if "diff" in wanted or "patch" in wanted:
        base = ask.git.merge_base(pull["base_sha"], pull["head_sha"]) or pull["base_sha"]
        return ForgeAnswer(
            200, ask.git.run("diff", "-M", "--no-ext-diff", "--no-textconv", base, pull["head_sha"], "--")
        )
    if not pull["looked"] and not pull["merged_at"]:
        state = mergeable_state(ask, pull)
        pull["looked"], pull["mergeable"] = True, state.mergeable
        ask.store.save(pull)
        return ForgeAnswer(200, ask.views.pull(ask.repo, pull, None, "unknown"))
    if pull["merged_at"]:
        return ForgeAnswer(200, ask.views.pull(ask.repo, pull, None, "unknown"))
    state = mergeable_state(ask, pull)
    return ForgeAnswer(200, ask.views.pull(ask.repo, pull, state.mergeable, state.word))


@route("PATCH", "/repos/{owner}/{repo}/pulls/{pull_number}", grant=WRITE)
def change_pull(ask: ForgeRequest) -> ForgeAnswer:
    pull = the_pull(ask)
    issue = ask.store.one("issue", repo=ask.repo["id"], number=pull["number"])
    trusted = access.may(ask.store, ask.actor, ask.repo, "write", WRITE)
    if not trusted and issue["user"] != ask.login:
        raise Refusal(403, "Must have push access to repository")
    issues.change_text(ask, issue)
    base = ask.given("base", pull["base_ref"])
    if base != pull["base_ref"]:
        tip = ask.git.branch(base)
        if tip is None:
            raise invalid("PullRequest", field="base", code="invalid")
        before = {"ref": {"from": pull["base_ref"]}, "sha": {"from": pull["base_sha"]}}
        pull |= {"base_ref": base, "base_sha": tip, "looked": False, "mergeable": None}
        ask.store.save(pull)
        tell(ask, pull, "edited", changes={"base": before})
    if ask.body.get("state") == "open" and issue["state"] == "closed":
        _refuse_reopening(ask, pull)
    issues.change_state(ask, issue, trusted=trusted or issue["user"] == ask.login)
    pull = the_pull(ask)
    return ForgeAnswer(200, ask.views.pull(ask.repo, pull, pull["mergeable"], "unknown"))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/files", grant=READ)
def list_files(ask: ForgeRequest) -> ForgeAnswer:
    pull = the_pull(ask)
    base = ask.git.merge_base(pull["base_sha"], pull["head_sha"]) or pull["base_sha"]
    changes = ask.git.changes(base, pull["head_sha"])
    return ForgeAnswer(200, ask.page(changes, lambda change: ask.views.file(ask.repo, pull["head_sha"], change)))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/commits", grant=READ)
def list_commits(ask: ForgeRequest) -> ForgeAnswer:
    pull = the_pull(ask)
    base = ask.git.merge_base(pull["base_sha"], pull["head_sha"]) or pull["base_sha"]
    commits = ask.git.commits("--reverse", f"{base}..{pull['head_sha']}")
    return ForgeAnswer(200, ask.page(commits, lambda commit: ask.views.commit(ask.repo, commit)))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", grant=READ)
def list_requested(ask: ForgeRequest) -> ForgeAnswer:
    pull = the_pull(ask)
    teams = [ask.store.get("team", identity) for identity in pull["requested_teams"]]
    users = [ask.views.user(login) for login in pull["requested_reviewers"]]
    return ForgeAnswer(200, {"users": users, "teams": [ask.views.team(team) for team in teams if team]})


@route("POST", "/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", role="triage", grant=WRITE)
def request_reviewers(ask: ForgeRequest) -> ForgeAnswer:
    pull = the_pull(ask)
    teams = []
    for login in ask.body.get("reviewers", []):
        if login == pull["user"]:
            raise Refusal(422, "Review cannot be requested from pull request author.")
        if not _is_member(ask, login):
            raise Refusal(422, f"{_COLLABORATORS} users or teams {_IS_NONE}")
    for slug in ask.body.get("team_reviewers", []):
        team = ask.store.one("team", org=ask.repo["owner"], key=slug)
        if team is None:
            raise Refusal(422, f"{_COLLABORATORS} teams {_IS_NONE}")
        teams.append(team)
    _request(ask, pull, ask.body.get("reviewers", []), teams)
    return ForgeAnswer(201, ask.views.pull_simple(ask.repo, pull))


@route("DELETE", "/repos/{owner}/{repo}/pulls/{pull_number}/requested_reviewers", role="triage", grant=WRITE)
def remove_requested(ask: ForgeRequest) -> ForgeAnswer:
    pull = the_pull(ask)
    gone = ask.body.get("reviewers", [])
    slugs = ask.body.get("team_reviewers", [])
    pull["requested_reviewers"] = [login for login in pull["requested_reviewers"] if login not in gone]
    teams = [ask.store.get("team", identity) for identity in pull["requested_teams"]]
    pull["requested_teams"] = [team["id"] for team in teams if team and team["slug"] not in slugs]
    ask.store.save(pull)
    return ForgeAnswer(200, ask.views.pull_simple(ask.repo, pull))


@route("GET", "/repos/{owner}/{repo}/pulls/{pull_number}/merge", grant=READ)
def is_merged(ask: ForgeRequest) -> ForgeAnswer:
    if not the_pull(ask)["merged_at"]:
        raise not_found()
    return ForgeAnswer(204)


@route("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/merge", role="write", grant="contents:write")
def merge_pull(ask: ForgeRequest) -> ForgeAnswer:
    """By an exact head if `sha` is given; what base rules forbid is 405, whoever asks."""
    pull = the_pull(ask)
    issue = ask.store.one("issue", repo=ask.repo["id"], number=pull["number"])
    method = ask.body.get("merge_method", "merge")
    if method not in MERGE_METHODS:
        raise Refusal(
            422, f"Invalid request.\n\n{method} is not a possible value. Must be one of merge, rebase, squash"
        )
    if pull["merged_at"] or issue["state"] != "open":
        raise Refusal(405, "Pull Request is not mergeable")
    if pull["draft"]:
        raise Refusal(405, "Pull Request is still a draft")
    if ask.body.get("sha", pull["head_sha"]) != pull["head_sha"]:
        raise Refusal(409, "Head branch was modified. Review and try the merge again.")
    if not ask.repo[f"allow_{'merge_commit' if method == 'merge' else method + '_merge'}"]:
        raise Refusal(405, f"{MERGE_METHODS[method]} are not allowed on this repository.")
    missing = unmet_rules(ask, pull)
    if missing and not _bypasses(ask, pull):
        raise Refusal(405, missing[0])
    merged = _merge(ask, pull, issue, method)
    if merged is None:
        raise Refusal(405, "Pull Request is not mergeable")
    pull |= {"merged_at": ask.forge.stamp(), "merged_by": ask.login, "merge_sha": merged}
    ask.store.save(pull)
    issue["closed_by"] = ask.login
    ask.forge.close(ask.repo, issue, ask.actor)
    move_branch(ask, pull["base_ref"], merged)
    _close_named_issues(ask, issue, pull)
    if ask.repo["delete_branch_on_merge"] and pull["head_repo"] == ask.repo["id"]:
        before = ask.git.refs()
        ask.git.delete(f"refs/heads/{pull['head_ref']}")
        ask.forge.after_push(ask.repo, before, ask.git.refs(), ask.actor)
    return ForgeAnswer(200, {"sha": merged, "merged": True, "message": "Pull Request successfully merged"})


@route("PUT", "/repos/{owner}/{repo}/pulls/{pull_number}/update-branch", role="write", grant=WRITE)
def update_branch(ask: ForgeRequest) -> ForgeAnswer:
    """Merge the base into the head. At once; GitHub does it in the background."""
    pull = the_pull(ask)
    if ask.body.get("expected_head_sha", pull["head_sha"]) != pull["head_sha"]:
        raise Refusal(422, "expected head sha didn't match current head ref.")
    if ask.git.is_ancestor(pull["base_sha"], pull["head_sha"]):
        raise Refusal(422, "There are no new commits on the base branch.")
    tree = ask.git.merge_trees(pull["head_sha"], pull["base_sha"])
    if tree is None:
        raise Refusal(422, "merge conflict between base and head")
    message = f"Merge branch '{pull['base_ref']}' into {pull['head_ref']}\n"
    parents = [pull["head_sha"], pull["base_sha"]]
    sha = ask.git.write_commit(tree, parents, message, ask.forge.who(ask.login))
    head = ask.store.get("repository", pull["head_repo"])
    if head["id"] != ask.repo["id"]:
        ask.forge.git(head).run("fetch", "-q", str(ask.git.place), sha)
    git = ask.forge.git(head)
    before = git.refs()
    git.set(f"refs/heads/{pull['head_ref']}", sha)
    ask.forge.after_push(head, before, git.refs(), ask.actor)
    return ForgeAnswer(
        202, {"message": "Updating pull request branch.", "url": ask.views.pull_simple(ask.repo, pull)["url"]}
    )


# rules


class Mergeable(NamedTuple):
    mergeable: bool
    word: str


def mergeable_state(ask: ForgeRequest, pull: Doc) -> Mergeable:
    """As a pull request shows it: dirty, draft, blocked, behind, unstable or clean."""
    if ask.git.merge_trees(pull["base_sha"], pull["head_sha"]) is None:
        return Mergeable(False, "dirty")
    if pull["draft"]:
        return Mergeable(True, "draft")
    missing = unmet_rules(ask, pull)
    if any("out-of-date" in sentence for sentence in missing):
        return Mergeable(True, "behind")
    if missing:
        return Mergeable(True, "blocked")
    states = results(ask, pull["head_sha"]).values()
    return Mergeable(True, "unstable" if set(states) - {"success", "neutral", "skipped"} else "clean")


def unmet_rules(ask: ForgeRequest, pull: Doc) -> list[str]:
    """What the base branch's rule still asks, in the forge's own words."""
    rule = ask.forge.protection(ask.repo, pull["base_ref"])
    if not rule:
        return []
    missing = []
    reviews = rule.get("required_pull_request_reviews")
    if reviews is not None:
        latest = latest_reviews(ask, pull)
        if "CHANGES_REQUESTED" in latest.values():
            missing.append("Changes have been requested on this pull request by a reviewer with write access.")
        wanted = reviews.get("required_approving_review_count", 1)
        if list(latest.values()).count("APPROVED") < wanted:
            noun = "review is" if wanted == 1 else "reviews are"
            missing.append(f"At least {wanted} approving {noun} required by reviewers with write access.")
        if reviews.get("require_code_owner_reviews"):
            people, teams = code_owners(ask, pull)
            owners = people | {m["key"] for t in teams for m in ask.store.find("team_member", team=t["id"])}
            if owners and not any(latest.get(login) == "APPROVED" for login in owners):
                missing.append("Waiting on code owner review from " + ", ".join(sorted(owners)) + ".")
    checks = rule.get("required_status_checks")
    if checks:
        known = results(ask, pull["head_sha"])
        for context in checks.get("contexts") or [check["context"] for check in checks.get("checks", [])]:
            state = known.get(context)
            if state is None:
                missing.append(f'Required status check "{context}" is expected.')
            elif state not in ("success", "neutral", "skipped"):
                word = "pending" if state == "pending" else "failing"
                missing.append(f'Required status check "{context}" is {word}.')
        if checks.get("strict") and not ask.git.is_ancestor(pull["base_sha"], pull["head_sha"]):
            missing.append("Head branch is out-of-date with the base branch.")
    if rule.get("required_conversation_resolution"):
        open_threads = [
            comment
            for comment in ask.store.find("review_comment", repo=ask.repo["id"], number=pull["number"])
            if not comment.get("reply_to") and not comment.get("resolved_by")
        ]
        if open_threads:
            missing.append("All comments must be resolved.")
    return missing


def results(ask: ForgeRequest, sha: str) -> dict[str, str]:
    """Context or check name → its latest state or conclusion; `pending` while it runs."""
    known = {status["context"]: status["state"] for status in ask.store.find("status", repo=ask.repo["id"], sha=sha)}
    for run in ask.store.find("check_run", repo=ask.repo["id"], sha=sha):
        known[run["name"]] = run.get("conclusion") or "pending"
    return known


def latest_reviews(ask: ForgeRequest, pull: Doc) -> dict[str, str]:
    """Reviewer with write access → their latest approval or refusal that was not dismissed."""
    latest: dict[str, str] = {}
    for review in ask.store.find("review", repo=ask.repo["id"], number=pull["number"]):
        role = access.role_of(ask.store, review["user"], ask.repo)
        if review["state"] in ("APPROVED", "CHANGES_REQUESTED") and access.has_role(role, "write"):
            latest[review["user"]] = review["state"]
        elif review["state"] == "DISMISSED":
            latest.pop(review["user"], None)
    return latest


def code_owners(ask: ForgeRequest, pull: Doc) -> tuple[set[str], list[Doc]]:
    """(people, teams) that the base's CODEOWNERS names for the changed files; the last line that fits a file counts.

    https://docs.github.com/repositories/managing-your-repositorys-settings-and-features/customizing-your-repository/about-code-owners
    """
    text = b""
    for place in (".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"):
        found = ask.git.read(pull["base_sha"], place)
        if found is not None:
            text = found
            break
    lines = []
    for line in text.decode(errors="replace").splitlines():
        pattern, *owners = line.split("#", 1)[0].split() or [""]
        if pattern and not pattern.startswith("!"):
            lines.append((pathspec.GitIgnoreSpec.from_lines([pattern]), owners))
    base = ask.git.merge_base(pull["base_sha"], pull["head_sha"]) or pull["base_sha"]
    named: set[str] = set()
    for change in ask.git.changes(base, pull["head_sha"]):
        fitting = [owners for spec, owners in lines if spec.match_file(change.path)]
        named |= set(fitting[-1]) if fitting else set()
    people, teams = set(), []
    for owner in named:
        organization, slash, slug = owner.removeprefix("@").partition("/")
        team = ask.store.one("team", org=organization, key=slug) if slash else None
        if team:
            teams.append(team)
        elif ask.store.one("user", key=organization):
            role = access.role_of(ask.store, organization, ask.repo)
            if access.has_role(role, "write"):
                people.add(organization)
    return people, teams


def ask_code_owners(ask: ForgeRequest, pull: Doc) -> None:
    """Ask those whose files are changed for a review, the author not."""
    people, teams = code_owners(ask, pull)
    _request(ask, pull, sorted(people - {pull["user"]}), teams)


def set_draft(ask: ForgeRequest, pull: Doc, draft: bool) -> None:
    """Only GraphQL does it: REST has no call for it."""
    if pull["draft"] == draft:
        return
    pull |= {"draft": draft, "looked": False}
    ask.store.save(pull)
    tell(ask, pull, "converted_to_draft" if draft else "ready_for_review")
    if not draft:
        ask_code_owners(ask, pull)


def the_pull(ask: ForgeRequest) -> Doc:
    """The pull request of the path."""
    found: Doc | None = ask.store.one("pull", repo=ask.repo["id"], number=ask.number("pull_number"))
    if found is None:
        raise not_found()
    return found


def tell(ask: ForgeRequest, pull: Doc, action: str, **more: object) -> None:
    shown = ask.views.pull(ask.repo, pull, pull["mergeable"], "unknown")
    ask.forge.emit(ask.repo, "pull_request", ask.actor, action, number=pull["number"], pull_request=shown, **more)


def _head(ask: ForgeRequest) -> tuple[Doc, str]:
    """`branch`, or `owner:branch` of a fork."""
    head = ask.text("head", "PullRequest")
    owner, colon, branch = head.partition(":")
    if not colon:
        return ask.repo, head
    if owner == ask.repo["owner"]:
        return ask.repo, branch
    for repo in ask.store.find("repository", owner=owner):
        if repo["parent"] == ask.repo["id"]:
            return repo, branch
    raise invalid("PullRequest", field="head", code="invalid")


def _is_member(ask: ForgeRequest, login: str) -> bool:
    """Whether somebody was given the repository: a public one can be read by all, who are no collaborators."""
    return access.role_of(ask.store, login, {**ask.repo, "private": True}) != "none"


def _request(ask: ForgeRequest, pull: Doc, logins: list[str], teams: list[Doc]) -> None:
    for login in logins:
        if login not in pull["requested_reviewers"]:
            pull["requested_reviewers"].append(login)
            ask.store.save(pull)
            tell(ask, pull, "review_requested", requested_reviewer=ask.views.user(login))
    for team in teams:
        if team["id"] not in pull["requested_teams"]:
            pull["requested_teams"].append(team["id"])
            ask.store.save(pull)
            tell(ask, pull, "review_requested", requested_team=ask.views.team(team))


def _bypasses(ask: ForgeRequest, pull: Doc) -> bool:
    """Administrators, where the rule does not hold for them."""
    rule = ask.forge.protection(ask.repo, pull["base_ref"]) or {}
    return not rule.get("enforce_admins") and access.role_of(ask.store, ask.login, ask.repo) == "admin"


def _merge(ask: ForgeRequest, pull: Doc, issue: Doc, method: str) -> str | None:
    """The commit that the base branch shall stand at; None if they conflict."""
    base, head, who = pull["base_sha"], pull["head_sha"], ask.forge.who(ask.login)
    if method == "rebase":
        return ask.git.rebase(base, head, who)
    tree = ask.git.merge_trees(base, head)
    if tree is None:
        return None
    owner = ask.store.get("repository", pull["head_repo"])["owner"]
    if method == "squash":
        title, text = f"{issue['title']} (#{pull['number']})", ""
    else:
        title, text = f"Merge pull request #{pull['number']} from {owner}/{pull['head_ref']}", issue["title"]
    title = ask.body.get("commit_title") or title
    text = ask.body["commit_message"] if ask.body.get("commit_message") is not None else text
    message = f"{title}\n\n{text}\n" if text else f"{title}\n"
    return ask.git.write_commit(tree, [base, head] if method == "merge" else [base], message, who)


def _close_named_issues(ask: ForgeRequest, issue: Doc, pull: Doc) -> None:
    """`Fixes #1` in the text of what was merged to the default branch closes issue 1."""

    if pull["base_ref"] != ask.repo["default_branch"]:
        return
    for number in re.findall(r"(?i)\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):? #(\d+)\b", issue["body"] or ""):
        named = ask.store.one("issue", repo=ask.repo["id"], number=int(number))
        if named and named["state"] == "open" and not named["pull"]:
            ask.forge.close(ask.repo, named, ask.actor)


def _refuse_reopening(ask: ForgeRequest, pull: Doc) -> None:
    head = ask.store.get("repository", pull["head_repo"])
    tip = ask.forge.git(head).branch(pull["head_ref"]) if head else None
    if pull["merged_at"] or tip is None:
        raise invalid(
            "PullRequest",
            field="state",
            code="invalid",
            message="state cannot be changed. The pull request cannot be reopened.",
        )
    if tip != pull["head_sha"]:
        message = f"state cannot be changed. The {pull['head_ref']} branch was force-pushed or recreated."
        if not ask.git.is_ancestor(pull["head_sha"], tip):
            raise invalid("PullRequest", field="state", code="invalid", message=message)
        pull |= {"head_sha": tip, "looked": False}
        ask.store.save(pull)
