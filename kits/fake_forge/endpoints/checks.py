"""Commit statuses and check runs."""

from typing import Any

from kits.fake_forge.answers import ForgeAnswer, Refusal, invalid, not_found
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.endpoints.repositories import known_commit
from kits.fake_forge.store import Doc

STATES = ("error", "failure", "pending", "success")
CONCLUSIONS = ("action_required", "cancelled", "failure", "neutral", "success", "skipped", "stale", "timed_out")
MOST_ANNOTATIONS = 50


@route("POST", "/repos/{owner}/{repo}/statuses/{sha}", role="write", grant="statuses:write")
def create_status(ask: ForgeRequest) -> ForgeAnswer:
    sha = ask.values["sha"]
    if ask.git.resolve(sha) != sha:
        raise Refusal(422, f"No commit found for SHA: {sha}")
    if ask.body.get("state") not in STATES:
        raise invalid("Status", field="state", code="custom", message="state is not included in the list")
    if len(ask.body.get("description") or "") > 140:
        message = "description is too long (maximum is 140 characters)"
        raise invalid("Status", field="description", code="custom", message=message)
    context = ask.body.get("context", "default")
    if len(ask.store.find("status", repo=ask.repo["id"], sha=sha, context=context)) >= 1000:
        message = "This SHA and context has reached the maximum number of statuses."
        raise invalid("Status", code="custom", message=message)
    status = ask.store.add(
        "status",
        repo=ask.repo["id"],
        sha=sha,
        state=ask.body["state"],
        context=context,
        description=ask.body.get("description"),
        target_url=ask.body.get("target_url"),
        user=ask.login,
        created_at=ask.forge.stamp(),
    )
    _look_again(ask, sha)
    branches = [name for name, tip in ask.git.refs().items() if tip == sha and name.startswith("refs/heads/")]
    at = ask.views.at(ask.repo)
    ask.forge.emit(
        ask.repo,
        "status",
        ask.actor,
        id=status["id"],
        sha=sha,
        name=f"{ask.repo['owner']}/{ask.repo['name']}",
        target_url=status["target_url"],
        avatar_url=None,
        context=context,
        description=status["description"],
        state=status["state"],
        commit=_hook_commit(ask, sha),
        branches=[
            {
                "name": name.removeprefix("refs/heads/"),
                "commit": {"sha": sha, "url": f"{at}/commits/{sha}"},
                "protected": ask.forge.protection(ask.repo, name.removeprefix("refs/heads/")) is not None,
            }
            for name in branches
        ],
        created_at=status["created_at"],
        updated_at=status["created_at"],
    )
    return ForgeAnswer(201, ask.views.status(ask.repo, status), {"Location": f"{at}/statuses/{sha}"})


@route("GET", "/repos/{owner}/{repo}/commits/{ref*}/statuses", grant="statuses:read")
def list_statuses(ask: ForgeRequest) -> ForgeAnswer:
    """Every one, the newest first."""
    sha = known_commit(ask, ask.values["ref"])
    found = ask.store.find("status", repo=ask.repo["id"], sha=sha)[::-1]
    return ForgeAnswer(200, ask.page(found, lambda status: ask.views.status(ask.repo, status)))


@route("GET", "/repos/{owner}/{repo}/commits/{ref*}/status", grant="statuses:read")
def combine_statuses(ask: ForgeRequest) -> ForgeAnswer:
    """The latest of each context: failure if one is, pending while one is or where there is none."""
    sha = known_commit(ask, ask.values["ref"])
    latest = {status["context"]: status for status in ask.store.find("status", repo=ask.repo["id"], sha=sha)}
    states = {status["state"] for status in latest.values()}
    word = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
    at = ask.views.at(ask.repo)
    return ForgeAnswer(
        200,
        {
            "state": word,
            "sha": sha,
            "total_count": len(latest),
            "statuses": ask.page(list(latest.values()), lambda status: ask.views.status_small(ask.repo, status)),
            "repository": ask.views.repo_small(ask.repo),
            "commit_url": f"{at}/commits/{sha}",
            "url": f"{at}/commits/{sha}/status",
        },
    )


@route("POST", "/repos/{owner}/{repo}/check-runs", role="write", grant="checks:write")
def create_check_run(ask: ForgeRequest) -> ForgeAnswer:
    """Apps only."""
    app = _app(ask)
    name, sha = ask.text("name", "CheckRun"), ask.text("head_sha", "CheckRun")
    if ask.git.resolve(sha) != sha:
        raise Refusal(422, f"No commit found for SHA: {sha}")
    suite = ask.store.one("suite", repo=ask.repo["id"], key=f"{app} {sha}")
    suite = suite or ask.store.add("suite", repo=ask.repo["id"], key=f"{app} {sha}", app=app, sha=sha)
    run = ask.store.add(
        "check_run",
        repo=ask.repo["id"],
        sha=sha,
        app=app,
        suite=suite["id"],
        name=name,
        annotations=[],
        status="queued",
        started_at=ask.forge.stamp(),
    )
    _change(ask, run)
    _look_again(ask, sha)
    shown = ask.views.check_run(ask.repo, run)
    _tell(ask, run, "created")
    if run["status"] == "completed":
        _tell(ask, run, "completed")
    return ForgeAnswer(201, shown, {"Location": shown["url"]})


@route("PATCH", "/repos/{owner}/{repo}/check-runs/{check_run_id}", role="write", grant="checks:write")
def change_check_run(ask: ForgeRequest) -> ForgeAnswer:
    run = _run(ask)
    if run["app"] != _app(ask):
        raise Refusal(
            403,
            "Invalid app_id `"
            + str(_app(ask))
            + "` - check run can only be modified by the GitHub App that created it.",
        )
    was = run["status"]
    _change(ask, run)
    _look_again(ask, run["sha"])
    if run["status"] == "completed" != was:
        _tell(ask, run, "completed")
    return ForgeAnswer(200, ask.views.check_run(ask.repo, run))


@route("GET", "/repos/{owner}/{repo}/check-runs/{check_run_id}", grant="checks:read")
def show_check_run(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.check_run(ask.repo, _run(ask)))


@route("GET", "/repos/{owner}/{repo}/check-runs/{check_run_id}/annotations", grant="checks:read")
def list_annotations(ask: ForgeRequest) -> ForgeAnswer:
    run = _run(ask)
    names = ("path", "start_line", "end_line", "annotation_level", "message")
    maybe = ("start_column", "end_column", "title", "raw_details")

    def show(annotation: Doc) -> Doc:
        blob = f"{ask.views.html(ask.repo)}/blob/{run['sha']}/{annotation['path']}"
        return {**{n: annotation[n] for n in names}, **{n: annotation.get(n) for n in maybe}, "blob_href": blob}

    return ForgeAnswer(200, ask.page(run["annotations"], show))


@route("GET", "/repos/{owner}/{repo}/commits/{ref*}/check-runs", grant="checks:read")
def list_check_runs(ask: ForgeRequest) -> ForgeAnswer:
    """The latest of each name and app, unless `filter=all`."""
    sha = known_commit(ask, ask.values["ref"])
    found = ask.store.find("check_run", repo=ask.repo["id"], sha=sha)
    if ask.query.get("filter", "latest") == "latest":
        found = list({(run["app"], run["name"]): run for run in found}.values())
    found = [
        run
        for run in found
        if ask.query.get("check_name", run["name"]) == run["name"]
        and ask.query.get("status", run["status"]) == run["status"]
        and ask.query.get("app_id", str(run["app"])) == str(run["app"])
    ]
    shown = ask.page(found, lambda run: ask.views.check_run(ask.repo, run))
    return ForgeAnswer(200, {"total_count": len(found), "check_runs": shown})


@route("POST", "/repos/{owner}/{repo}/code-scanning/sarifs", role="write", grant="security_events:write")
def upload_sarif(ask: ForgeRequest) -> ForgeAnswer:
    """Taken and kept; no alerts come of it here."""
    for name in ("commit_sha", "ref", "sarif"):
        ask.text(name, "Sarif")
    upload = ask.store.add("sarif", repo=ask.repo["id"], sha=ask.body["commit_sha"], sarif=ask.body["sarif"])
    at = f"{ask.views.at(ask.repo)}/code-scanning/sarifs/{upload['id']}"
    return ForgeAnswer(202, {"id": str(upload["id"]), "url": at})


def _app(ask: ForgeRequest) -> int:
    if ask.actor.kind != "installation" or ask.actor.app is None:
        raise Refusal(403, "You must authenticate via a GitHub App.")
    return int(ask.actor.app["id"])


def _run(ask: ForgeRequest) -> Doc:
    found: Doc | None = ask.store.get("check_run", ask.number("check_run_id"))
    if found is None or found["repo"] != ask.repo["id"]:
        raise not_found()
    return found


def _change(ask: ForgeRequest, run: Doc) -> None:
    """A conclusion completes it; annotations are added, 50 a call at most."""
    body, output = ask.body, ask.body.get("output") or {}
    status, conclusion = body.get("status"), body.get("conclusion")
    if conclusion is not None and conclusion not in CONCLUSIONS:
        raise Refusal(422, f"Invalid request.\n\n{conclusion} is not a member of {list(CONCLUSIONS)}.")
    if status == "completed" and conclusion is None:
        raise Refusal(422, 'Invalid request.\n\nMissing required parameter "conclusion".')
    annotations: list[Any] = output.get("annotations") or []
    if len(annotations) > MOST_ANNOTATIONS:
        raise Refusal(
            422,
            f"Invalid request.\n\nNo more than {MOST_ANNOTATIONS} items are allowed; {len(annotations)} were supplied.",
        )
    for name in ("summary", "text"):
        if len(output.get(name) or "") > 65_535:
            raise Refusal(
                422, f"Invalid request.\n\nOnly 65535 characters are allowed; {len(output[name])} were supplied."
            )
    for name in ("name", "details_url", "external_id", "started_at"):
        if body.get(name) is not None:
            run[name] = body[name]
    if conclusion is not None:
        run |= {"status": "completed", "conclusion": conclusion}
        run["completed_at"] = body.get("completed_at") or ask.forge.stamp()
    elif status is not None:
        run |= {"status": status, "conclusion": None, "completed_at": None}
    if output:
        run["output"] = {
            **(run.get("output") or {}),
            **{n: output[n] for n in ("title", "summary", "text") if n in output},
        }
        run["annotations"] = run["annotations"] + annotations
    ask.store.save(run)


def _look_again(ask: ForgeRequest, sha: str) -> None:
    for pull in ask.store.find("pull", repo=ask.repo["id"], head_sha=sha):
        issue = ask.store.one("issue", repo=ask.repo["id"], number=pull["number"])
        issue["updated_at"] = ask.forge.stamp()
        ask.store.save(issue)


def _hook_commit(ask: ForgeRequest, sha: str) -> Doc:
    return ask.views.commit(ask.repo, ask.git.commit(sha))


def _tell(ask: ForgeRequest, run: Doc, action: str) -> None:
    shown = ask.views.check_run(ask.repo, run)
    at = f"{ask.views.at(ask.repo)}/check-suites/{run['suite']}"
    shown["check_suite"] = {
        "id": run["suite"],
        "node_id": "fake",
        "head_branch": None,
        "head_sha": run["sha"],
        "status": run["status"],
        "conclusion": run.get("conclusion"),
        "url": at,
        "before": None,
        "after": None,
        "pull_requests": shown["pull_requests"],
        "app": shown["app"],
        "created_at": run["started_at"],
        "updated_at": run["started_at"],
    }
    ask.forge.emit(ask.repo, "check_run", ask.actor, action, check_run=shown)
