"""A platform, spoken to by its commands: one at a time changes something, and each is told who asks and for what."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from blocks.host.files import write_atomically
from blocks.targets.command.calls import CommandAnswer, CommandRun, mark_of, run, wait_for_older
from blocks.targets.command.words import LOOKS, PLACEHOLDERS, Commands
from blocks.targets.releases import ReleaseDirectory
from blocks.targets.timeline import Say
from domain.errors import TargetError
from domain.health import Clean

NO_CURRENT = (
    "there is no `current` command, and without one nobody sees which release serves: nothing is released here "
    'automatically. Give one that prints {"ok": true, "revision": "…"}'
)

_KEPT_VARIABLES = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "SSH_AUTH_SOCK")
"""Of the worker's own environment. Its credentials are not among them."""


@dataclass(frozen=True, repr=False)  # it holds secrets
class Platform:
    """`settings`: variables of the commands, secret ones among them; `clean` takes those out of all that is said."""

    name: str
    folder: Path
    commands: Commands
    settings: Mapping[str, str]
    token: int | None
    timeout_s: float
    look_timeout_s: float
    say: Say
    clean: Clean

    def has(self, verb: str) -> bool:
        return bool(self.commands.of(verb))

    def ask(self, verb: str, place: ReleaseDirectory | None = None, **more: str) -> CommandAnswer:
        """What a command that only looks answers. Raises TargetError if that is nothing, or a problem."""
        if not self.has(verb):
            raise TargetError(f"{self.name}: {NO_CURRENT}" if verb == "current" else f"there is no `{verb}` command")
        return self._good(verb, self._run(verb, place, **more).answer(self.clean))

    def text(self, verb: str, place: ReleaseDirectory) -> str:
        """What a command prints as plain text; empty if it fails."""
        ran = self._run(verb, place)
        return self.clean(ran.out if ran.exit_code == 0 else "")

    def do(self, verb: str, place: ReleaseDirectory | None, **more: str) -> CommandAnswer:
        """Run a command that changes something; without one it is done. Raises TargetError if nobody knows whether
        it did. The caller has the target locked.
        """
        if not self.has(verb):
            return CommandAnswer(ok=True)
        if wait_for_older(mark_of(self.folder), self.timeout_s):
            self.say("waited for a command whose worker was killed")
        ran = self._run(verb, place, **more)
        ended = f"{'a time-out' if ran.exit_code is None else f'exit code {ran.exit_code}'} after {ran.seconds:.1f} s"
        self.say(f"`{verb}` ended with {ended}")
        if place:
            self._note(place, f"== {verb}: {ended}\n{ran.err}{ran.out}")
        return ran.answer(self.clean)

    def must(self, verb: str, place: ReleaseDirectory | None, **more: str) -> CommandAnswer:
        """The same, and it was done. Raises TargetError if it was not."""
        return self._good(verb, self.do(verb, place, **more))

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        return {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", **kept, **self.settings}

    def _good(self, verb: str, answer: CommandAnswer) -> CommandAnswer:
        if answer.problem:
            raise TargetError(f"`{verb}`: {answer.problem}")
        return answer

    def _run(self, verb: str, place: ReleaseDirectory | None, **more: str) -> CommandRun:
        deployment = place.load() if place else None
        revision = place.revision if place else ""
        values = {
            **dict.fromkeys(PLACEHOLDERS, ""),
            "environment": self.name,
            "verb": verb,
            "revision": revision,
            "previous": (deployment and deployment.previous) or "",
            "artifact": (called(place) if place else None) or (deployment.artifact if deployment else ""),
            "tree": str(place.tree) if place else "",
            "token": "" if self.token is None else str(self.token),
            "key": "-".join(filter(None, (self.name, verb, revision, more.get("share")))),
            **more,
        }
        variables = {f"LOCKGATE_{name.upper()}": value for name, value in values.items()}
        mark, timeout_s = mark_of(self.folder), self.timeout_s
        if verb in LOOKS:
            mark, timeout_s = "lockgate-look", self.look_timeout_s
        here = self.folder / "empty"  # not in the release's tree: a tool would read its settings from there
        here.mkdir(parents=True, exist_ok=True)
        return run(self.commands.filled(verb, values), {**self.environment, **variables}, here, timeout_s, mark)

    def _note(self, place: ReleaseDirectory, text: str) -> None:
        place.folder.mkdir(parents=True, exist_ok=True)
        with open(os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "a") as log:
            log.write(self.clean(text).rstrip() + "\n")


def called(place: ReleaseDirectory) -> str | None:
    """What the platform calls a release's artifact."""
    with contextlib.suppress(FileNotFoundError):
        return (place.folder / "artifact").read_text()
    return None


def call(place: ReleaseDirectory, artifact: str | None) -> None:
    if artifact is None:
        (place.folder / "artifact").unlink(missing_ok=True)
    else:
        write_atomically(place.folder / "artifact", artifact.encode())
