"""Webhooks of repositories and of apps: configuration, deliveries, redelivery."""

import ipaddress
from urllib.parse import urlsplit

from kits.fake_forge.answers import ForgeAnswer, Refusal, invalid, not_found
from kits.fake_forge.ask import ForgeRequest, route
from kits.fake_forge.store import Doc

READ, WRITE = "repository_hooks:read", "repository_hooks:write"


@route("GET", "/repos/{owner}/{repo}/hooks", role="admin", grant=READ)
def list_hooks(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.page(ask.store.find("hook", repo=ask.repo["id"]), ask.views.hook))


@route("POST", "/repos/{owner}/{repo}/hooks", role="admin", grant=WRITE)
def create_hook(ask: ForgeRequest) -> ForgeAnswer:
    """Addresses of this machine alone are taken. A ping is sent at once."""
    config = ask.body.get("config") or {}
    url = _checked_url(config)
    if any(hook["url"] == url for hook in ask.store.find("hook", repo=ask.repo["id"])):
        raise invalid("Hook", code="custom", message="Hook already exists on this repository")
    now = ask.forge.stamp()
    hook = ask.store.add(
        "hook",
        repo=ask.repo["id"],
        url=url,
        secret=config.get("secret") or "",
        active=bool(ask.body.get("active", True)),
        events=ask.body.get("events") or ["push"],
        created_at=now,
        updated_at=now,
        last_response={"code": None, "status": "unused", "message": None},
    )
    ping(ask, hook)
    shown = ask.views.hook(hook)
    return ForgeAnswer(201, shown, {"Location": shown["url"]})


@route("GET", "/repos/{owner}/{repo}/hooks/{hook_id}", role="admin", grant=READ)
def show_hook(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.hook(_hook(ask)))


@route("PATCH", "/repos/{owner}/{repo}/hooks/{hook_id}", role="admin", grant=WRITE)
def change_hook(ask: ForgeRequest) -> ForgeAnswer:
    hook = _hook(ask)
    config = ask.body.get("config")
    if config:
        hook |= {"url": _checked_url(config), "secret": config.get("secret") or ""}
    for name in ("active", "events"):
        if name in ask.body:
            hook[name] = ask.body[name]
    hook["updated_at"] = ask.forge.stamp()
    ask.store.save(hook)
    return ForgeAnswer(200, ask.views.hook(hook))


@route("DELETE", "/repos/{owner}/{repo}/hooks/{hook_id}", role="admin", grant=WRITE)
def delete_hook(ask: ForgeRequest) -> ForgeAnswer:
    ask.store.remove(_hook(ask))
    return ForgeAnswer(204)


@route("POST", "/repos/{owner}/{repo}/hooks/{hook_id}/pings", role="admin", grant=WRITE)
def ping_hook(ask: ForgeRequest) -> ForgeAnswer:
    ping(ask, _hook(ask))
    return ForgeAnswer(204)


@route("GET", "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries", role="admin", grant=READ)
def list_deliveries(ask: ForgeRequest) -> ForgeAnswer:
    return _list(ask, f"hook {_hook(ask)['id']}")


@route("GET", "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}", role="admin", grant=READ)
def show_delivery(ask: ForgeRequest) -> ForgeAnswer:
    return ForgeAnswer(200, ask.views.delivery(_delivery(ask, f"hook {_hook(ask)['id']}"), whole=True))


@route("POST", "/repos/{owner}/{repo}/hooks/{hook_id}/deliveries/{delivery_id}/attempts", role="admin", grant=WRITE)
def redeliver(ask: ForgeRequest) -> ForgeAnswer:
    hook = _hook(ask)
    old = _delivery(ask, f"hook {hook['id']}")
    ask.forge.queue(old["request"]["payload"], old["event"], old["action"], hook=hook, guid=old["guid"])
    return ForgeAnswer(202, {})


@route("GET", "/app/hook/config", kind="app")
def show_app_hook(ask: ForgeRequest) -> ForgeAnswer:
    assert ask.actor.app
    app = ask.actor.app
    return ForgeAnswer(200, ask.views.hook_config({"url": app["hook_url"] or "", "secret": app["hook_secret"]}))


@route("PATCH", "/app/hook/config", kind="app")
def change_app_hook(ask: ForgeRequest) -> ForgeAnswer:
    assert ask.actor.app
    app = ask.actor.app
    app |= {"hook_url": _checked_url(ask.body), "hook_secret": ask.body.get("secret") or app["hook_secret"]}
    ask.store.save(app)
    return ForgeAnswer(200, ask.views.hook_config({"url": app["hook_url"], "secret": app["hook_secret"]}))


@route("GET", "/app/hook/deliveries", kind="app")
def list_app_deliveries(ask: ForgeRequest) -> ForgeAnswer:
    assert ask.actor.app
    return _list(ask, f"app {ask.actor.app['id']}")


@route("GET", "/app/hook/deliveries/{delivery_id}", kind="app")
def show_app_delivery(ask: ForgeRequest) -> ForgeAnswer:
    assert ask.actor.app
    return ForgeAnswer(200, ask.views.delivery(_delivery(ask, f"app {ask.actor.app['id']}"), whole=True))


@route("POST", "/app/hook/deliveries/{delivery_id}/attempts", kind="app")
def redeliver_to_app(ask: ForgeRequest) -> ForgeAnswer:
    app = ask.actor.app
    assert app
    old = _delivery(ask, f"app {app['id']}")
    more = {"repo": old["repo"], "installation": old["installation"], "guid": old["guid"]}
    ask.forge.queue(old["request"]["payload"], old["event"], old["action"], app=app, **more)
    return ForgeAnswer(202, {})


def ping(ask: ForgeRequest, hook: Doc) -> None:
    views = ask.views
    payload = {"zen": "Keep it logically awesome.", "hook_id": hook["id"], "hook": views.hook(hook)}
    payload |= {"repository": views.repo(ask.repo), "sender": views.user(ask.login)}
    ask.forge.queue(payload, "ping", None, hook=hook)


def _list(ask: ForgeRequest, key: str) -> ForgeAnswer:
    """The newest first; by a cursor, as GitHub does."""
    sent = [delivery for delivery in ask.store.find("delivery", key=key)[::-1] if delivery["status"] != "queued"]
    size = max(1, min(100, int(ask.query.get("per_page", "30"))))
    before = int(ask.query["cursor"].removeprefix("v1_")) if "cursor" in ask.query else None
    rest = [delivery for delivery in sent if before is None or delivery["id"] < before]
    if len(rest) > size:
        ask.links["next"] = ask.views.again(ask.path, {**ask.query, "cursor": f"v1_{rest[size - 1]['id']}"})
    return ForgeAnswer(200, [ask.views.delivery(delivery, whole=False) for delivery in rest[:size]])


def _hook(ask: ForgeRequest) -> Doc:
    found: Doc | None = ask.store.get("hook", ask.number("hook_id"))
    if found is None or found["repo"] != ask.repo["id"]:
        raise not_found()
    return found


def _delivery(ask: ForgeRequest, key: str) -> Doc:
    found: Doc | None = ask.store.get("delivery", ask.number("delivery_id"))
    if found is None or found["key"] != key:
        raise not_found()
    return found


def _checked_url(config: Doc) -> str:
    url = config.get("url")
    if not isinstance(url, str) or not url:
        raise Refusal(422, 'Invalid request.\n\nNo subschema in "oneOf" matched: config.url is missing.')
    host = urlsplit(url).hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise invalid("Hook", field="url", code="custom", message="the fake forge delivers to this machine alone")
    return url
