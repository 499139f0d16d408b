"""What agents learned in a repository: one page of Markdown for each repository and agent. The team can edit it."""

import hashlib
import re
from collections.abc import Callable
from typing import ClassVar
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, ValidationError

from blocks.base import LockgateBlock
from domain.errors import AgentError, InputError
from domain.policy.change_text import SMUGGLES

MAX_BYTES = 8_000


class Memory(LockgateBlock):
    """One agent's memory of one repository. In the UI under Blocks it can be read, mended and emptied."""

    _block_type_name: ClassVar[str] = "Lockgate memory"
    _block_type_slug: ClassVar[str] = "lockgate-memory"
    _description: ClassVar[str] = "What an agent learned in a repository. It reads this before each task."

    repository: str = Field(description="The repository, as briefs name it, without credentials")
    agent: str = Field(description="The agent, as kind/name")
    text: str = Field("", description="Markdown, at most 8 kB. Never secrets")

    @classmethod
    def read(cls, repository: str, agent: str) -> str:
        """The page; empty if there is none. Raises InputError if a person made it larger than the bound."""
        text = _text(repository, agent)
        if problem := _too_large(text):
            name = block_name(repository, agent)
            raise InputError(f"the memory block {name} {problem}: shorten it in the UI under Blocks")
        return text

    @classmethod
    def propose(
        cls,
        repository: str,
        agent: str,
        text: str,
        find_secret: Callable[[str], str | None],
        *,
        seen: str | None = None,
    ) -> None:
        """Keep what an agent wrote as its page from now on. Safe to repeat.

        `find_secret` says what secret a text holds, or why it cannot tell; None: there is none. `seen`: what the agent
        was given; where somebody changed the page since, theirs stays. An empty text is no proposal. Raises AgentError,
        and keeps nothing, for a text over the bound, with characters that are not shown, or with a secret.
        """
        wanted = text.replace("\r\n", "\n").strip()
        now = _text(repository, agent)
        if not wanted or wanted == now.strip():
            return
        if problem := _too_large(wanted) or _hides(wanted):
            raise AgentError(f"the proposed memory {problem}")
        if seen is not None and now != seen:
            raise AgentError("the memory was changed while the agent worked, so its proposal is dropped")
        if secret := find_secret(wanted):
            raise AgentError(f"the proposed memory was not kept: {secret}")
        cls(repository=_public(repository), agent=agent, text=wanted).keep(block_name(repository, agent))


def block_name(repository: str, agent: str) -> str:
    """Readable, and unlike that of any other pair: `shop-command-default-1f2e3d4c5b6a`."""
    public = _public(repository)
    digest = hashlib.sha256(f"{public}\0{agent}".encode()).hexdigest()[:12]
    place = public.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
    return f"{_slug(place)}-{_slug(agent)}-{digest}"


def _text(repository: str, agent: str) -> str:
    name = block_name(repository, agent)
    try:
        return Memory.saved(name).text
    except ValidationError as err:
        raise InputError(f"the memory block {name} cannot be read: {err}; mend it in the UI under Blocks") from err
    except ValueError:
        return ""


def _too_large(text: str) -> str | None:
    size = len(text.encode("utf-8", "replace"))
    return f"has {size} bytes, more than {MAX_BYTES}" if size > MAX_BYTES else None


def _hides(text: str) -> str | None:
    smuggled = SMUGGLES.search(text)
    hidden = smuggled[0] if smuggled else next((c for c in text if not c.isprintable() and c not in "\n\t"), None)
    return f"has a character that is not shown (U+{ord(hidden[0]):04X})" if hidden else None


def _public(repository: str) -> str:
    """Without user and password: the name is read by everybody."""
    parts = urlsplit(repository)
    if parts.scheme and parts.netloc:
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
    return repository


def _slug(text: str) -> str:
    """Lower-case letters, digits and single dashes, as Prefect wants names of blocks."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "x"
