"""Who asks, and what they may."""

import base64
import datetime
import hashlib
import json
import secrets
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from kits.fake_forge.answers import ForgeRoute, Refusal, not_found
from kits.fake_forge.store import Doc, DocumentStore

ROLES = ("none", "read", "triage", "write", "maintain", "admin")
PREFIX = {"classic": "ghp_", "fine": "github_pat_", "installation": "ghs_"}


@dataclass(frozen=True)
class Actor:
    """Who a token stands for; without one, nobody."""

    login: str = ""
    kind: str = "anonymous"
    """anonymous, classic, fine, installation, or app (its own JWT)."""
    token: Doc = field(default_factory=dict)
    app: Doc | None = None
    installation: Doc | None = None

    @property
    def limited_as(self) -> str:
        """Whose rate limit counts."""
        return f"installation {self.installation['id']}" if self.installation else self.login or "anonymous"


def issue_token(store: DocumentStore, login: str, kind: str, expires: str | None, **fields: object) -> tuple[str, Doc]:
    """A new token and its record, which holds the token's digest alone."""
    value = PREFIX[kind] + secrets.token_hex(20)
    return value, store.add("token", key=digest(value), login=login, issued_as=kind, expires_at=expires, **fields)


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def read_token(header: str) -> str:
    """The credential of an Authorization header: token, bearer, or the password of basic."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(value).decode().partition(":")
        except ValueError:
            return ""
        return password if password and password != "x-oauth-basic" else user  # noqa: S105
    return value.strip() if scheme.lower() in ("token", "bearer") else ""


def authenticate(store: DocumentStore, header: str | None, now: datetime.datetime) -> Actor:
    """401 "Bad credentials" for what is unknown, taken back or expired."""
    if not header:
        return Actor()
    token = read_token(header)
    if token.count(".") == 2:
        return _app(store, token, now)
    doc = store.one("token", key=digest(token)) if token else None
    if doc is None or (doc["expires_at"] and doc["expires_at"] <= stamp(now)):
        raise Refusal(401, "Bad credentials")
    if doc["issued_as"] == "installation":
        installation = store.get("installation", doc["installation"])
        app = store.get("app", installation["app"]) if installation else None
        if installation is None or app is None:
            raise Refusal(401, "Bad credentials")
        if installation.get("suspended_at"):
            raise Refusal(403, "This installation has been suspended")
        return Actor(doc["login"], "installation", doc, app, installation)
    return Actor(doc["login"], doc["issued_as"], doc)


def new_key() -> tuple[str, str]:
    """(private, public) in PEM: what signs an app's JWTs, and what knows them."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return private.decode(), public.decode()


def _app(store: DocumentStore, token: str, now: datetime.datetime) -> Actor:
    """RS256, issued by the app's id or client id, at most ten minutes long.

    https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-json-web-token-jwt-for-a-github-app
    """
    head, body, signature = token.split(".")
    try:
        claims = json.loads(_decode(body))
        algorithm = json.loads(_decode(head))["alg"]
        issuer, issued, expires = str(claims["iss"]), int(claims.get("iat", 0)), int(claims["exp"])
    except (ValueError, KeyError, TypeError):
        raise Refusal(401, "A JSON web token could not be decoded") from None
    apps = [app for app in store.find("app") if issuer in (str(app["id"]), app["client_id"])]
    if not apps or algorithm != "RS256":
        raise Refusal(401, "A JSON web token could not be decoded")
    public = serialization.load_pem_public_key(apps[0]["public_key"].encode())
    assert isinstance(public, rsa.RSAPublicKey)
    try:
        public.verify(_decode(signature), f"{head}.{body}".encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise Refusal(401, "A JSON web token could not be decoded") from None
    if issued > now.timestamp() + 60:
        raise Refusal(
            401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
        )
    if expires > now.timestamp() + 660:
        raise Refusal(401, "'Expiration time' claim ('exp') is too far in the future")
    if expires <= now.timestamp():
        raise Refusal(
            401,
            "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the "
            "assertion expires",
        )
    return Actor(apps[0]["slug"] + "[bot]", "app", {}, apps[0])


def role_of(store: DocumentStore, login: str, repo: Doc) -> str:
    """What somebody is in a repository: owner, collaborator, by a team, or anybody at all where it is public."""
    roles = ["none" if repo["private"] else "read"]
    if login and login == repo["owner"]:
        roles.append("admin")
    member = store.one("collaborator", repo=repo["id"], key=login)
    if member:
        roles.append(member["role"])
    organization = store.one("membership", org=repo["owner"], key=login)
    if organization:
        roles.append("admin" if organization["role"] == "admin" else "read")
    for team in store.find("team_member", key=login):
        roles += [grant["role"] for grant in store.find("team_repository", repo=repo["id"], key=team["team"])]
    return max(roles, key=ROLES.index)


def has_role(role: str, wanted: str) -> bool:
    return ROLES.index(role) >= ROLES.index(wanted)


def can_see(store: DocumentStore, actor: Actor, repo: Doc) -> bool:
    """Whether the actor knows at all that this repository exists."""
    if actor.kind == "installation":
        return bool(actor.installation) and (reaches(actor, repo) or not repo["private"])
    if actor.kind == "fine" and not reaches(actor, repo) and repo["private"]:
        return False
    if repo["private"] and actor.kind == "classic" and "repo" not in actor.token["scopes"]:
        return False
    return role_of(store, actor.login, repo) != "none"


def reaches(actor: Actor, repo: Doc) -> bool:
    """Whether a fine-grained token or an installation is given this repository."""
    chosen = actor.token.get("repositories")
    if actor.installation:
        if repo["owner"] != actor.installation["account"]:
            return False
        allowed = actor.installation["repositories"]
        if allowed is not None and repo["id"] not in allowed:
            return False
    return chosen is None or repo["id"] in chosen


def grants(actor: Actor, wanted: str | None) -> bool:
    """Whether a token's permissions hold one: "issues:write". "a:write|b:write": one of them is enough."""
    if wanted is None or wanted == "metadata:read":
        return True
    if "|" in wanted:
        return any(grants(actor, one) for one in wanted.split("|"))
    name, _, level = wanted.partition(":")
    levels = ("none", "read", "write", "admin")
    held = actor.token.get("permissions", {}).get(name, "none")
    return levels.index(held) >= levels.index(level)


def admit(store: DocumentStore, actor: Actor, route: ForgeRoute, repo: Doc | None) -> None:
    """Refuse who may not: 401 nobody, 404 what they may not know of, 403 what they may not do."""
    if route.kind == "app":
        if actor.kind != "app":
            raise Refusal(401, "A JSON web token could not be decoded")
        return
    if actor.kind == "app":
        raise Refusal(401, "Bad credentials") if route.kind != "anyone" else not_found()
    if route.kind == "installation" and actor.kind != "installation":
        raise Refusal(
            403,
            "You must authenticate with an installation access token in order to list repositories for an "
            "installation.",
        )
    if repo is None:
        if route.kind == "user" and actor.kind == "anonymous":
            raise Refusal(401, "Requires authentication")
        if route.method != "GET" and actor.kind in ("fine", "installation") and not grants(actor, route.grant):
            raise _inaccessible(actor)
        return
    if not can_see(store, actor, repo):
        raise not_found()
    if actor.kind == "anonymous":
        if route.method != "GET" or route.role != "read":
            raise Refusal(401, "Requires authentication")
        return
    public_read = not repo["private"] and route.method == "GET" and route.role == "read"
    if (
        actor.kind in ("fine", "installation")
        and not public_read
        and not (reaches(actor, repo) and grants(actor, route.grant))
    ):
        raise _inaccessible(actor)
    if actor.kind == "classic" and route.method != "GET" and not {"repo", "public_repo"} & set(actor.token["scopes"]):
        raise not_found()
    if actor.kind != "installation" and not has_role(role_of(store, actor.login, repo), route.role):
        if route.role == "admin":
            raise Refusal(403, "Must have admin rights to Repository.")
        raise Refusal(403, "Must have push access to repository")
    if repo["archived"] and route.method != "GET" and route.template != "/repos/{owner}/{repo}":
        raise Refusal(403, READ_ONLY)


READ_ONLY = "Repository was archived so is read-only."


def may(store: DocumentStore, actor: Actor, repo: Doc, role: str, grant: str) -> bool:
    """The same as a question, for what an endpoint decides itself."""
    if actor.kind == "installation":
        return reaches(actor, repo) and grants(actor, grant)
    if actor.kind == "fine" and not (reaches(actor, repo) and grants(actor, grant)):
        return False
    return bool(actor.login) and has_role(role_of(store, actor.login, repo), role)


def stamp(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _inaccessible(actor: Actor) -> Refusal:
    what = "integration" if actor.kind == "installation" else "personal access token"
    return Refusal(403, f"Resource not accessible by {what}")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
