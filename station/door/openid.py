"""Asks an OpenID provider who somebody is: authorization code with PKCE, and an ID token that it has signed.

https://openid.net/specs/openid-connect-core-1_0.html#CodeFlowAuth. Only RS256 by a key that the provider publishes now
counts, of the one issuer that is set, for this client, in answer to this very browser's question.
"""

import asyncio
import contextlib
import json
import logging
import time
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
from authlib.common.errors import AuthlibBaseError
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import Key, KeySet, RSAKey
from joserfc.jws import JWSRegistry

from domain.sign_in import OpenId, why_not_safe
from station.door.reading import DoorDenied

log = logging.getLogger("lockgate")
TIMEOUT_S = 10.0
AT_ONCE = 8
"""So many questions to the provider at a time: whoever asks for many keeps the door busy with nothing else."""
FRESH_S, KEYS_FRESH_S, KEYS_AGAIN_S = 3600.0, 600.0, 30.0
"""How long is believed what the provider says of itself and of its keys, and how soon an unknown key is asked for."""
MOST_BYTES = 1_000_000
LEEWAY_S = 60
"""How much the provider's clock may be wrong."""
SIGNED = JWSRegistry(algorithms=["RS256"], strict_check_header=False)
"""One algorithm; what else a header says is not looked at, unless it says that it must be understood."""
SIGNED.max_header_length = 16_384  # some put a certificate there
AWAY = "the identity provider does not answer as one: sign in by password or token, or try again later"
NOT_RIGHT = "what the identity provider said is not right, so nobody is signed in"


class Who(NamedTuple):
    """Somebody whom the provider knows."""

    subject: str
    name: str
    """Of the claim that is set; empty: it has none, or nothing that it vouches for."""


class Provider:
    """One issuer. It learns the provider's addresses and keys as they are needed."""

    def __init__(self, openid: OpenId, secret: str) -> None:
        self.openid, self.secret = openid, secret
        self._described: tuple[float, dict[str, Any]] = (float("-inf"), {})
        self._keys: tuple[float, KeySet | None] = (float("-inf"), None)
        self._few = asyncio.Semaphore(AT_ONCE)

    async def address(self, state: str, nonce: str, verifier: str) -> str:
        """Where the browser goes to sign in there. Raises Denied if the provider cannot be asked."""
        described = await self.described()
        return str(
            prepare_grant_uri(
                described["authorization_endpoint"],
                self.openid.client_id,
                "code",
                self.openid.returns_to,
                "openid profile email",
                state,
                nonce=nonce,
                code_challenge=create_s256_code_challenge(verifier),
                code_challenge_method="S256",
            )
        )

    async def who(self, code: str, nonce: str, verifier: str) -> Who:
        """Who came back with this code. Raises Denied: 401 if the provider does not say so, 503 if it says nothing."""
        described = await self.described()
        given = await self._token(described, code, verifier)
        id_token = given.get("id_token")
        if not isinstance(id_token, str):
            raise DoorDenied(401, NOT_RIGHT)
        try:
            try:
                token = jwt.decode(id_token, await self.keys(described), registry=SIGNED)
            except InvalidKeyIdError:
                token = jwt.decode(id_token, await self.keys(described, again=True), registry=SIGNED)
            claims = CodeIDToken(
                token.claims,
                token.header,
                {
                    "iss": {"essential": True, "value": self.openid.issuer},
                    "aud": {"essential": True, "value": self.openid.client_id},
                },
                {"nonce": nonce, "client_id": self.openid.client_id, "access_token": given.get("access_token")},
            )
            claims.validate(leeway=LEEWAY_S)
        except (JoseError, AuthlibBaseError, ValueError, TypeError, KeyError, RecursionError) as err:
            raise DoorDenied(401, f"{NOT_RIGHT} ({type(err).__name__})") from err
        subject = claims["sub"]
        if not isinstance(subject, str) or not subject or len(subject) > 255:
            raise DoorDenied(401, NOT_RIGHT)
        return Who(subject, self._name(claims))

    def _name(self, claims: dict[str, Any]) -> str:
        claim = self.openid.name_claim
        if claim == "email" and claims.get("email_verified") is not True:
            return ""
        return str(claims.get(claim) or "")

    async def _token(self, described: dict[str, Any], code: str, verifier: str) -> dict[str, Any]:
        """What the provider gives for a code: https://www.rfc-editor.org/rfc/rfc6749#section-4.1.3"""
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self.openid.returns_to,
            "code_verifier": verifier, "client_id": self.openid.client_id,
        }  # fmt: skip
        methods = described.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        auth = None
        if self.secret and "client_secret_basic" in methods:
            del form["client_id"]
            auth = httpx.BasicAuth(quote(self.openid.client_id, safe=""), quote(self.secret, safe=""))
        elif self.secret:
            form["client_secret"] = self.secret
        status, given = await self._asked("POST", described["token_endpoint"], form, auth)
        if status >= 500:
            raise DoorDenied(503, AWAY)
        if status != 200:
            log.warning("%s gave nothing for a code: %d, %s", self.openid.issuer, status, given.get("error"))
            raise DoorDenied(401, f"{NOT_RIGHT}: begin again at the sign-in page")
        return given

    async def described(self) -> dict[str, Any]:
        """What it says of itself: https://openid.net/specs/openid-connect-discovery-1_0.html#ProviderConfig"""
        at, described = self._described
        if time.monotonic() < at + FRESH_S:
            return described
        found = await self._read(f"{self.openid.issuer.rstrip('/')}/.well-known/openid-configuration")
        ends = [found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        if found.get("issuer") != self.openid.issuer or not all(
            isinstance(end, str) and not why_not_safe(end, may_ask=True) for end in ends
        ):
            raise DoorDenied(503, AWAY)
        self._described = time.monotonic(), found
        return found

    async def keys(self, described: dict[str, Any], *, again: bool = False) -> KeySet:
        """Those that it signs with; `again`: there should be another one by now."""
        at, keys = self._keys
        if keys is None or time.monotonic() > at + (KEYS_AGAIN_S if again else KEYS_FRESH_S):
            keys = KeySet(_rsa_keys(await self._read(described["jwks_uri"])))
            self._keys = time.monotonic(), keys
        return keys

    async def _read(self, url: str) -> dict[str, Any]:
        status, told = await self._asked("GET", url)
        if status != 200:
            raise DoorDenied(503, AWAY)
        return told

    async def _asked(
        self, method: str, url: str, form: dict[str, str] | None = None, auth: httpx.BasicAuth | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object at an address of the provider's, which leads nowhere else."""
        told = bytearray()
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                self._few,
                httpx.AsyncClient(timeout=TIMEOUT_S, headers={"accept": "application/json"}) as client,
                client.stream(method, url, data=form, auth=auth) as answer,
            ):
                async for part in answer.aiter_bytes():
                    told += part
                    if len(told) > MOST_BYTES:
                        raise DoorDenied(503, AWAY)
            said = json.loads(told)
        except (httpx.HTTPError, ValueError, TimeoutError, RecursionError) as err:
            raise DoorDenied(503, AWAY) from err
        if not isinstance(said, dict):
            raise DoorDenied(503, AWAY)
        return answer.status_code, said


def _rsa_keys(published: dict[str, Any]) -> list[Key]:
    """What RS256 is verified with. Keys of other kinds are passed over: https://www.rfc-editor.org/rfc/rfc7517#section-5

    Raises Denied if there is none."""
    found: list[Key] = []
    keys = published.get("keys")
    for each in keys if isinstance(keys, list) else ():
        if isinstance(each, dict) and each.get("kty") == "RSA":
            with contextlib.suppress(JoseError, ValueError, KeyError, TypeError):
                found.append(RSAKey.import_key(each))
    if not found:
        raise DoorDenied(503, f"{AWAY} (it publishes no RSA key)")
    return found


def why_no_provider(openid: OpenId) -> str | None:
    """Why nobody can sign in there; None if it describes itself, and has published a key."""

    async def ask() -> None:
        provider = Provider(openid, "")
        await provider.keys(await provider.described())

    try:
        asyncio.run(ask())
    except (DoorDenied, JoseError, ValueError, KeyError, TypeError) as err:
        where = f"{openid.issuer.rstrip('/')}/.well-known/openid-configuration"
        return f"{openid.issuer} is no OpenID provider that can be asked ({where}): {err}"
    return None
