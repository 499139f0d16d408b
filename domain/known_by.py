"""How somebody's name was established: what the ledger says beside each name."""

from enum import StrEnum


class Way(StrEnum):
    """How somebody showed at the door who they are."""

    TOKEN = "token"  # noqa: S105
    PASSWORD = "password"  # noqa: S105
    OPENID_CONNECT = "openid-connect"
    PROXY = "proxy"


WORDS = {
    Way.PASSWORD: " by password", Way.OPENID_CONNECT: " by OpenID Connect", Way.PROXY: " by a trusted proxy",
}  # fmt: skip
"""What is said of those that are no token."""


def known_as(is_signed_in: bool, way: str = "") -> str:
    """In words, for a sentence. A claim is always called one: a name may be any text, also "ann (signed in)"."""
    return f"signed in{WORDS.get(way, '')}" if is_signed_in else "a claim"  # type: ignore[call-overload]
