"""An OpenID provider on loopback: discovery, authorization with PKCE, tokens signed by RS256, published keys.

It is as strict as a real one, and signs in at once whoever `person` is. `twist` makes it say what a provider must not.
"""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey
from joserfc.jws import JWSRegistry

CLIENT, SECRET = "lockgate", "a client's secret: +/&"
Claims = dict[str, Any]


def new_key(name: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": name, "use": "sig"}, private=True)


class Provider(ThreadingHTTPServer):
    """Listens at `issuer`."""

    daemon_threads = True

    def __init__(self, key: RSAKey) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.issuer = f"http://127.0.0.1:{self.server_port}/realm"
        self.returns_to = ""
        """The one redirect address that is registered."""
        self.key = key
        self.reset()

    def reset(self) -> None:
        self.person: Claims = {"sub": "248289761001", "preferred_username": "ann"}
        self.described: Claims = {}
        """What it says of itself in place of the truth."""
        self.published = [self.key.as_dict(private=False)]
        self.sign: Callable[[Claims], str] = self.signed
        self.answers: Callable[[Claims], Claims] = lambda told: told
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []

    def signed(self, claims: Claims, key: RSAKey | None = None, alg: str = "RS256", **header: Any) -> str:
        by = key or self.key
        registry = JWSRegistry(algorithms=[alg], strict_check_header=False)
        return jwt.encode({"alg": alg, "kid": by.kid, **header}, claims, by, registry=registry)

    def discovery(self) -> Claims:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?policy=strict",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            **self.described,
        }

    def authorize(self, asked: dict[str, str]) -> str:
        """Where the browser is sent on."""
        assert asked["client_id"] == CLIENT and asked["redirect_uri"] == self.returns_to, asked
        assert asked["response_type"] == "code" and "openid" in asked["scope"].split(), asked
        assert asked["code_challenge_method"] == "S256" and len(asked["code_challenge"]) == 43, asked
        assert asked["policy"] == "strict" and len(asked["nonce"]) >= 32 and len(asked["state"]) >= 32, asked
        code = secrets.token_urlsafe(16)
        self.codes[code] = asked
        return f"{self.returns_to}?{urlencode({'code': code, 'state': asked['state'], 'iss': self.issuer})}"

    def token(self, asked: dict[str, str], authorization: str) -> tuple[int, Claims]:
        """A code is good once, for its client, its address and its browser."""
        name, _, secret = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
        if (unquote(name), unquote(secret)) != (CLIENT, SECRET):
            return 401, {"error": "invalid_client"}
        was = self.codes.pop(asked.get("code", ""), None)
        digest = hashlib.sha256(asked.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if was is None or asked["redirect_uri"] != was["redirect_uri"] or challenge != was["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "iat": now, "exp": now + 300, "nonce": was["nonce"], **self.person
        }  # fmt: skip
        return 200, self.answers({"access_token": "x", "token_type": "Bearer", "id_token": self.sign(claims)})


class _Answers(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        self.server.asked.append(path)
        match path.removeprefix("/realm"):
            case "/.well-known/openid-configuration":
                self._tell(200, self.server.discovery())
            case "/keys":
                self._tell(200, {"keys": self.server.published})
            case "/authorize":
                self.send_response(302)
                self.send_header("location", self.server.authorize(dict(parse_qsl(query))))
                self.end_headers()
            case _:
                self._tell(404, {})

    def do_POST(self) -> None:
        self.server.asked.append(self.path)
        sent = self.rfile.read(int(self.headers["content-length"])).decode()
        self._tell(*self.server.token(dict(parse_qsl(sent)), self.headers.get("authorization", "")))

    def _tell(self, status: int, told: Claims) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def provider() -> Iterator[Provider]:
    with Provider(new_key("first")) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made
        made.shutdown()


def sent_on(made: Provider, address: str) -> str:
    """Where a browser that signs in there is led back to."""
    parts = urlsplit(address)
    assert address.startswith(f"{made.issuer}/authorize?"), address
    return made.authorize({name: values[0] for name, values in parse_qs(parts.query).items()})
