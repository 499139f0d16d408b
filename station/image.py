"""`lockgate image build`: the base image of docker sandboxes, from this machine's packages."""

from collections.abc import Callable

from blocks.host.docker import Engine
from blocks.sandboxes import image
from domain.errors import SandboxError


def build(say: Callable[[str], None] = print, socket: str | None = None) -> str:
    """Make the base image, saying each step; its name. `socket`: the engine's, default as docker sandboxes have it.

    Raises SandboxError if no engine answers, InputError where the system's packages do not suffice.
    """
    name = image.build(Engine.at(socket, SandboxError), say)
    say(f"docker sandboxes use {name}")
    return name
