"""Who else says at the desk who somebody is, if that is set: an OpenID provider, and a proxy that is trusted."""

import re
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from domain.access import Role
from domain.value import Value

HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{2,60}")
TAKEN = ("authorization", "cookie", "host", "origin", "referer", "user-agent", "content-type", "content-length")
"""Headers that say something else, and that any caller may send."""

OF_NEW_PEOPLE = (Role.SUBMIT, Role.ANSWER)
"""The roles that somebody may have whom no person has set up."""


class OpenId(Value):
    """The one provider whose word counts."""

    issuer: str = Field(description="As its discovery document and each of its tokens have it, letter by letter")
    client_id: str = Field(min_length=1, max_length=255, description="What Lockgate is called there")
    address: str = Field(description="Where browsers reach the door, such as https://lockgate.example.org")
    name_claim: str = Field(
        "preferred_username", description="What a new person's name begins with; `email` if it is verified"
    )
    new_people: tuple[Role, ...] = Field((), description="What who was never set up may; empty: they do not come in")

    @field_validator("issuer", "address")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        if why := why_not_safe(url):
            raise ValueError(why)
        return url

    @field_validator("address")
    @classmethod
    def _is_an_origin(cls, url: str) -> str:
        if urlsplit(url).path not in ("", "/"):
            raise ValueError(f"{url!r} has a path: the door is at the root of its address")
        parts = urlsplit(url)
        usual = {"https": ":443", "http": ":80"}[parts.scheme]
        return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual)}"  # as browsers say it in `Host`

    @field_validator("new_people")
    @classmethod
    def _is_bounded(cls, roles: tuple[Role, ...]) -> tuple[Role, ...]:
        if more := [role for role in roles if role not in OF_NEW_PEOPLE]:
            raise ValueError(
                f"whom no person has set up may {' and '.join(OF_NEW_PEOPLE)} at most, and not {', '.join(more)}: "
                "one person could judge under two names"
            )
        return roles

    def name_of_new(self, said: str) -> str:
        """What somebody is called here whom the provider calls so: it may let people choose that themselves, so it is
        no name that forges, CODEOWNERS or mail addresses have, nor one that is looked for there."""
        return f"{said}@@{urlsplit(self.issuer).hostname}"

    @property
    def returns_to(self) -> str:
        """Where the provider sends browsers back to: it has to be told this address."""
        return f"{self.address}/desk/sign-in/openid/back"


class TrustedProxy(Value):
    """A proxy before the door that has found out who somebody is."""

    header: str = Field(description="In which it gives the name, and which it takes out of what others send")
    addresses: tuple[str, ...] = Field(min_length=1, description="Its own, such as 10.0.0.7: nobody else is believed")

    @field_validator("header")
    @classmethod
    def _is_its_own(cls, header: str) -> str:
        if not HEADER.fullmatch(header) or header.lower() in TAKEN:
            raise ValueError(f"{header!r} is no header for a name, such as X-Forwarded-User")
        return header

    @field_validator("addresses")
    @classmethod
    def _are_few(cls, addresses: tuple[str, ...]) -> tuple[str, ...]:
        for each in addresses:
            if ip_network(each).num_addresses > 256:
                raise ValueError(f"{each} is too wide: name the proxy's own addresses, 256 at most")
        return addresses

    def is_at(self, address: str) -> bool:
        """Whether a connection comes from it."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped:
            found = found.ipv4_mapped
        return any(found in ip_network(each) for each in self.addresses)


class SignIn(Value):
    """What `sign-in.toml` says."""

    openid: OpenId | None = None
    proxy: TrustedProxy | None = None


def why_not_safe(url: str, *, may_ask: bool = False) -> str | None:
    """Why nothing secret may go to this address; None if it may: https, or this machine itself. `may_ask`: or one
    with a query."""
    try:
        parts = urlsplit(url)
        is_here = parts.hostname in ("127.0.0.1", "::1", "localhost")
        more = (not may_ask and parts.query) or parts.fragment or parts.username or parts.password
        is_whole = bool(parts.hostname) and not more
        _ = parts.port  # raises for one that is none
    except ValueError:
        return f"{url!r} is no address"
    if not is_whole or not (parts.scheme == "https" or (parts.scheme == "http" and is_here)):
        return f"{url!r} is no address that begins with https:// and has nothing behind its path"
    return None
