"""Deployments, their statuses, and environments."""

from kits.fake_forge.answers import ForgeAnswer, Refusal, invalid, not_found
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.endpoints.pulls import results
from kits.fake_forge.store import Doc

STATES = ("error", "failure", "inactive", "in_progress", "queued", "pending", "success")


@route("GET", "/repos/{owner}/{repo}/deployments", grant="deployments:read")
def list_deployments(ask: ForgeRequest) -> ForgeAnswer:
    """The newest first; by sha, ref, task and environment."""
    found = [
        deployment
        for deployment in ask.store.find("deployment", repo=ask.repo["id"])[::-1]
        if all(
            ask.query.get(name, deployment[name]) == deployment[name] for name in ("sha", "ref", "task", "environment")
        )
    ]
    return ForgeAnswer(200, ask.page(found, lambda deployment: ask.views.deployment(ask.repo, deployment)))


@route("POST", "/repos/{owner}/{repo}/deployments", role="write", grant="deployments:write")
def create_deployment(ask: ForgeRequest) -> ForgeAnswer:
    """409 if the commit's statuses are not all a success, unless `required_contexts` says which count."""
    ref = ask.text("ref", "Deployment")
    sha = ask.git.resolve(ref)
    if sha is None:
        raise Refusal(422, f"No ref found for: {ref}")
    known = results(ask, sha)
    wanted = ask.body.get("required_contexts")
    wanted = list(known) if wanted is None else wanted
    failing = [name for name in wanted if known.get(name) not in ("success", "neutral", "skipped")]
    if failing:
        errors = [
            {
                "contexts": [{"context": n, "state": known.get(n, "missing")} for n in failing],
                "resource": "Deployment",
                "field": "required_contexts",
                "code": "invalid",
            }
        ]
        raise Refusal(409, f"Conflict: Commit status checks failed for {ref}.", errors)
    tip = ask.git.branch(ask.repo["default_branch"])
    if ask.body.get("auto_merge", True) and ask.git.branch(ref) and tip and not ask.git.is_ancestor(tip, sha):
        raise Refusal(409, f"Conflict merging {ask.repo['default_branch']} into {ref}.")
    environment = ask.body.get("environment", "production")
    now = ask.forge.stamp()
    deployment = ask.store.add(
        "deployment",
        repo=ask.repo["id"],
        sha=sha,
        ref=ref,
        task=ask.body.get("task", "deploy"),
        payload=ask.body.get("payload", {}),
        environment=environment,
        original_environment=environment,
        description=ask.body.get("description"),
        transient_environment=bool(ask.body.get("transient_environment", False)),
        production_environment=bool(ask.body.get("production_environment", environment == "production")),
        user=ask.login,
        app=ask.actor.app["id"] if ask.actor.app else None,
        created_at=now,
        updated_at=now,
    )
    if ask.store.one("environment", repo=ask.repo["id"], key=environment) is None:
        ask.store.add("environment", repo=ask.repo["id"], key=environment, created_at=now)
    shown = ask.views.deployment(ask.repo, deployment)
    ask.forge.emit(ask.repo, "deployment", ask.actor, "created", deployment=shown, workflow=None, workflow_run=None)
    return ForgeAnswer(201, shown, {"Location": shown["url"]})


@route("GET", "/repos/{owner}/{repo}/deployments/{deployment_id}", grant="deployments:read")
def show_deployment(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.deployment(ask.repo, _deployment(ask)))


@route("GET", "/repos/{owner}/{repo}/deployments/{deployment_id}/statuses", grant="deployments:read")
def list_statuses(ask: ForgeRequest) -> ForgeAnswer:
    """The newest first."""
    found = ask.store.find("deployment_status", repo=ask.repo["id"], deployment=_deployment(ask)["id"])[::-1]
    return ForgeAnswer(200, ask.page(found, lambda status: ask.views.deployment_status(ask.repo, status)))


@route("POST", "/repos/{owner}/{repo}/deployments/{deployment_id}/statuses", role="write", grant="deployments:write")
def create_status(ask: ForgeRequest) -> ForgeAnswer:
    """A success makes the environment's earlier ones inactive, unless `auto_inactive` is false."""
    deployment = _deployment(ask)
    state = ask.body.get("state")
    if state not in STATES:
        raise invalid("DeploymentStatus", field="state", code="custom", message="state is not included in the list")
    if len(ask.body.get("description") or "") > 140:
        message = "description is too long (maximum is 140 characters)"
        raise invalid("DeploymentStatus", field="description", code="custom", message=message)
    status = _add_status(ask, deployment, state, ask.body)
    quiet = deployment["transient_environment"] or deployment["production_environment"]
    if state == "success" and ask.body.get("auto_inactive", True):
        for other in ask.store.find("deployment", repo=ask.repo["id"], environment=deployment["environment"]):
            if (
                other["id"] < deployment["id"]
                and _state(ask, other) == "success"
                and not (quiet and other["transient_environment"])
            ):
                _add_status(ask, other, "inactive", {})
    shown = ask.views.deployment_status(ask.repo, status)
    ask.forge.emit(
        ask.repo,
        "deployment_status",
        ask.actor,
        "created",
        deployment_status=shown,
        deployment=ask.views.deployment(ask.repo, deployment),
    )
    return ForgeAnswer(201, shown, {"Location": shown["url"]})


@route("GET", "/repos/{owner}/{repo}/deployments/{deployment_id}/statuses/{status_id}", grant="deployments:read")
def show_status(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.get("deployment_status", ask.number("status_id"))
    if found is None or found["deployment"] != _deployment(ask)["id"]:
        raise not_found()
    return ForgeAnswer(200, ask.views.deployment_status(ask.repo, found))


@route("GET", "/repos/{owner}/{repo}/environments", grant="actions:read|deployments:read")
def list_environments(ask: ForgeRequest) -> ForgeAnswer:
    found = ask.store.find("environment", repo=ask.repo["id"])
    from kits.fake_forge.views import node_id

    def show(environment: Doc) -> Doc:
        name = environment["key"]
        return {
            "id": environment["id"],
            "node_id": node_id(environment),
            "name": name,
            "url": f"{ask.views.at(ask.repo)}/environments/{name}",
            "html_url": f"{ask.views.html(ask.repo)}/deployments/activity_log?environments_filter={name}",
            "created_at": environment["created_at"],
            "updated_at": environment["created_at"],
            "protection_rules": [],
            "deployment_branch_policy": None,
        }

    return ForgeAnswer(200, {"total_count": len(found), "environments": ask.page(found, show)})


def _deployment(ask: ForgeRequest) -> Doc:
    found: Doc | None = ask.store.get("deployment", ask.number("deployment_id"))
    if found is None or found["repo"] != ask.repo["id"]:
        raise not_found()
    return found


def _state(ask: ForgeRequest, deployment: Doc) -> str | None:
    statuses = ask.store.find("deployment_status", repo=ask.repo["id"], deployment=deployment["id"])
    return statuses[-1]["state"] if statuses else None


def _add_status(ask: ForgeRequest, deployment: Doc, state: str, body: Doc) -> Doc:
    deployment["updated_at"] = ask.forge.stamp()
    ask.store.save(deployment)
    status: Doc = ask.store.add(
        "deployment_status",
        repo=ask.repo["id"],
        deployment=deployment["id"],
        state=state,
        description=body.get("description") or "",
        environment=body.get("environment") or deployment["environment"],
        log_url=body.get("log_url") or body.get("target_url") or "",
        environment_url=body.get("environment_url") or "",
        user=ask.login,
        app=ask.actor.app["id"] if ask.actor.app else None,
        created_at=ask.forge.stamp(),
    )
    return status
