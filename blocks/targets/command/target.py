"""Any platform as a target, by its own commands: Kamal, Fly, kubectl, a shell script."""

import contextlib
import functools
import http.client
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from prefect.blocks.fields import SecretDict
from pydantic import Field, PrivateAttr

from blocks.base import LockgateBlock
from blocks.home import home
from blocks.host.files import locked, write_atomically
from blocks.targets.artifact import artifact_of, write_tree
from blocks.targets.asking import connection_to, settle_by
from blocks.targets.command.platform import NO_CURRENT, Platform, call, called
from blocks.targets.command.words import Commands
from blocks.targets.fencing import fenced
from blocks.targets.health_probe import probe_by, serving_by
from blocks.targets.releases import ReleaseDirectory, ReleaseRecord, Releases
from blocks.targets.secrets import ReleaseRedactor
from blocks.targets.timeline import Say, quietly
from domain.errors import TargetError
from domain.health import HealthCheck, HealthReading, HealthState, Sight
from domain.ports import ReleaseBuild
from domain.rollout import Look, Numbers, Rollout

_SEEN_BACK = 5
"""So many public answers in a row say that a release serves again."""


class CommandTarget(LockgateBlock):
    """One environment on a platform that has commands. They are the team's own, from here and never from a repository,
    and run on the worker's machine as the worker's user. Each must be safe to repeat: LOCKGATE_KEY is the same then.
    """

    _block_type_name = "Lockgate command target"
    _block_type_slug = "lockgate-command-target"
    _description = "Runs releases on any platform, by commands that print JSON."

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the environment")
    root: Path = Field(default_factory=lambda: home() / "targets", description="Directory where targets are kept")
    address: str = Field(pattern=r"^https?://[^\s/]+$", description="Public address, as https://shop.example.com")
    commands: Commands = Field(description="The platform's commands, one a verb")
    environment: dict[str, str] = Field({}, description="Variables for the commands")
    secrets: SecretDict = Field(
        default_factory=lambda: SecretDict({}), description="Secret variables for the commands; taken out of all output"
    )
    rollout: Rollout = Field(Rollout(), description="How fast a release gets the traffic, and what it may do to it")
    timeout_s: float = Field(600, gt=0, description="Seconds that a command may take which changes something")
    look_timeout_s: float = Field(20, gt=0, description="Seconds that `current`, `address`, `numbers`, `logs` may take")
    start_timeout_s: float = Field(60, gt=0, description="Seconds in which a release must be healthy, or seen serving")
    keep_releases: int = Field(3, ge=2, description="Releases that `cleanup` leaves for going back")

    _token: int | None = PrivateAttr(None)
    _say: Say = PrivateAttr(default_factory=lambda: quietly)

    @property
    def runs_images(self) -> bool:
        return False

    @property
    def migrates(self) -> bool:
        return self._platform.has("migrate")

    @property
    def splits(self) -> bool:
        return self._platform.has("shift")

    def under(self, token: int, say: Callable[[str], None]) -> Self:
        twin = self.model_copy()
        twin._token, redactor = token, self._redactor
        twin._say = lambda line: say(redactor(line))
        return twin

    def preflight(self) -> str | None:
        platform = self._platform
        if not platform.has("current"):
            return f"{self.name}: {NO_CURRENT}"
        for verb in filter(platform.has, Commands.model_fields):
            program = self.commands.of(verb)[0]
            if shutil.which(program, path=platform.environment["PATH"]) is None:
                return f"the program of `{verb}` is not found: {program}; name it by its whole path, or set PATH"
        try:
            self.pointed()
        except TargetError as err:
            return f"`current` does not work: {err}"
        return None

    def prepare(self, revision: str, build: ReleaseBuild) -> str:
        with self._turn() as releases:
            place = releases.place(revision)
            artifact, known = artifact_of(build), place.load()
            if known is None or not known.artifact == artifact == place.artifact(known):
                if known and self.pointed() == revision:
                    raise TargetError(f"{revision} serves now, and was built as another artifact: release another one")
                place.folder.mkdir(parents=True, exist_ok=True)
                write_tree(build.tree, place.tree)
            place.save(
                ReleaseRecord(
                    revision=revision,
                    artifact=artifact,
                    run=build.run,
                    health=build.health,
                    toolchain=build.toolchain,
                    environment=dict(build.environment),
                    migrate_up=build.migrate_up,
                    previous=build.previous if build.previous != revision else None,
                    order=known.order if known else 0,
                )
            )
            _cleaned(place).unlink(missing_ok=True)
            told = self._platform.must("prepare", place).artifact
            call(place, told)
            return told or artifact

    def migrate(self, revision: str) -> str | None:
        with self._turn() as releases:
            return self._platform.do("migrate", releases.place(revision)).problem

    def start(self, revision: str) -> str | None:
        with self._turn() as releases:
            place = releases.place(revision)
            problem = self._platform.do("start", place).problem
            if problem is None and self._platform.has("start") and self._platform.has("address"):
                within_s = self._starts_within_s(revision)
                said = settle_by(lambda: self.probe(revision), 1, within_s, self.rollout.interval_s)
                problem = said and f"not healthy within {within_s:g} s: {said}"
            if problem:
                self._clean(place)
            return problem

    def probe(self, revision: str) -> HealthReading:
        place = self._releases.place(revision)
        try:
            address = self._platform.ask("address", place).address
        except TargetError as err:
            return HealthReading(state=HealthState.SICK, reason=str(err))
        if address is None:
            return HealthReading(state=HealthState.SICK, reason="`address` printed no address")
        sight = Sight(is_it=True, how=f"from {address}, which `address` names")
        return probe_by(_to(address), address, place.get().health, revision, self._redactor, lambda _: sight)

    def shift(self, revision: str, share: int) -> None:
        with self._turn() as releases:
            self._platform.must("shift", releases.place(revision), share=str(share))

    def observe(self, revision: str) -> "CommandWatch":
        return CommandWatch(self, revision)

    def promote(self, revision: str) -> None:
        with self._turn() as releases:
            releases.number(revision)
            if self.pointed() == revision:
                self._say(f"{revision} has the traffic already")
                return
            self._platform.must("promote", releases.place(revision))
            self._see(revision, "promote")

    def rollback(self, revision: str | None, when_back: Callable[[], None] | None = None) -> None:
        with self._turn() as releases:
            left = self.pointed()
            self._stopped_file.unlink(missing_ok=True)
            if revision is None:
                self._serve_nothing(left)
            else:
                self._bring_back(releases.place(revision), left or "")
            for other in releases.after(revision):
                self._clean(releases.place(other))
        if when_back:
            when_back()

    def cleanup(self, keep: Collection[str]) -> None:
        with self._turn() as releases:
            revisions = [place.revision for place in releases.all()]
            others = [revision for revision in revisions if revision not in keep]
            for revision in others[max(0, self.keep_releases - (len(revisions) - len(others))) :]:
                self._clean(releases.place(revision))
                releases.place(revision).forget()

    def current(self) -> str | None:
        pointed = self.pointed()
        return serving_by(_to(self.address), self.health_of(pointed), lambda _: pointed) if pointed else None

    def pointed(self) -> str | None:
        return self._platform.ask("current").revision

    def url(self) -> str:
        return self.address

    def logs(self, revision: str) -> str:
        place = self._releases.place(revision)
        return self._platform.text("logs", place) if self._platform.has("logs") and place.load() else ""

    def evidence(self, revision: str) -> Mapping[str, Any]:
        facts: dict[str, Any] = {"public": self.address}
        try:
            facts |= {"pointed": self.pointed(), "artifact": self.artifact(revision)}
        except TargetError as err:
            facts |= {"pointed": None, "problem": str(err)}
        return {**facts, "commands": self._redactor(self._releases.place(revision).tail())}

    def artifact(self, revision: str) -> str | None:
        """What `current` prints for it where it serves, else what `prepare` printed, else the digest of its files."""
        place = self._releases.place(revision)
        if (deployment := place.load()) is None:
            return None
        said = self._platform.ask("current")
        serving = said.artifact if said.revision == revision else None
        return serving or called(place) or place.artifact(deployment)

    def ensure(self) -> tuple[str, ...]:
        """The platform keeps its releases running by itself; only what `stop` took away is brought back."""
        if (stopped := self._stopped) is None:
            return ()
        lines: list[str] = []
        again = self.model_copy()
        again._say = lines.append
        with again._turn() as releases:
            if again.pointed() is None:
                again._bring_back(releases.place(stopped), "")
            self._stopped_file.unlink(missing_ok=True)
        return tuple(map(self._redactor, lines))

    def stop(self) -> bool:
        """Only where there is a `stop` command: a platform goes on without us."""
        if not self._platform.has("stop") or not self._folder.is_dir():
            return False
        with self._turn():
            if pointed := self.pointed():
                write_atomically(self._stopped_file, pointed.encode())
                self._serve_nothing(pointed)
            return pointed is not None

    def public(self, revision: str, pointed: str | None) -> HealthReading:
        """What the public address says, asked for a release. Whose answer it is says `current`, where no other has a
        share of the traffic."""
        sight = Sight(is_it=True, how="while `current` named it") if pointed == revision else None
        check = self.health_of(revision)
        return probe_by(_to(self.address), self.address, check, revision, self._redactor, lambda _: sight)

    def numbers(self, revision: str, since: float) -> tuple[Numbers | None, Numbers | None]:
        """Of a release and the one before it, since a Unix time; None for what the platform does not tell."""
        if not self._platform.has("numbers"):
            return None, None
        answer = self._platform.ask("numbers", self._releases.place(revision), since=f"{since:.3f}")
        return (answer.new.numbers if answer.new else None), (answer.old.numbers if answer.old else None)

    def health_of(self, revision: str) -> HealthCheck:
        deployment = self._releases.place(revision).load()
        return deployment.health if deployment else HealthCheck()

    def _starts_within_s(self, revision: str) -> float:
        return self.health_of(revision).starts_within_s(self.start_timeout_s)

    def _bring_back(self, place: ReleaseDirectory, left: str) -> None:
        place.get()
        self._platform.must("rollback", place, previous=left)
        self._see(place.revision, "rollback")
        within_s, interval_s = self._starts_within_s(place.revision), self.rollout.interval_s

        def ask() -> HealthReading:
            return self.public(place.revision, self.pointed())

        if said := settle_by(ask, _SEEN_BACK, within_s, interval_s):
            raise TargetError(f"{place.revision} is not seen serving at {self.address}: {said}")
        self._say(f"{place.revision} seen serving in {_SEEN_BACK} public answers in a row")

    def _serve_nothing(self, left: str | None) -> None:
        if not self._platform.has("stop"):
            raise TargetError("there is no release to go back to, and no `stop` command for having none serve")
        self._platform.must("stop", self._releases.place(left) if left else None)
        self._see(None, "stop")

    @property
    def _stopped(self) -> str | None:
        """What `stop` took away; None once something serves again, or shall not."""
        with contextlib.suppress(FileNotFoundError):
            return self._stopped_file.read_text()
        return None

    @property
    def _stopped_file(self) -> Path:
        return self._folder / "stopped"

    def _see(self, revision: str | None, verb: str) -> None:
        """Words are cheap: `current` says so too, or it was not done."""
        deadline = time.monotonic() + self.start_timeout_s
        while (pointed := self.pointed()) != revision:
            if time.monotonic() > deadline:
                raise TargetError(
                    f"`{verb}` said ok, but `current` says {pointed or 'none'} and not {revision or 'none'}: "
                    "look at the platform"
                )
            time.sleep(self.rollout.interval_s)
        self._say(f"`current` says {revision or 'none'}")

    def _clean(self, place: ReleaseDirectory) -> None:
        if self._platform.has("cleanup") and place.load() and not _cleaned(place).exists():
            self._platform.must("cleanup", place)
            write_atomically(_cleaned(place), b"")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[Releases]:
        """The releases while nobody else acts, and no newer run has. Raises TargetError without a `current`."""
        if not self._platform.has("current"):
            raise TargetError(f"{self.name}: {NO_CURRENT}")
        with locked(self._folder):
            fenced(self._folder / "token", self._token, self.name)
            yield self._releases

    @property
    def _platform(self) -> Platform:
        return Platform(
            name=self.name,
            folder=self._folder,
            commands=self.commands,
            settings={**self.environment, **self._secrets},
            token=self._token,
            timeout_s=self.timeout_s,
            look_timeout_s=self.look_timeout_s,
            say=self._say,
            clean=self._redactor,
        )

    @property
    def _folder(self) -> Path:
        return self.root.expanduser().absolute() / self.name

    @property
    def _releases(self) -> Releases:
        return Releases(self._folder / "releases")

    @property
    def _secrets(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.secrets.get_secret_value().items()}

    @property
    def _redactor(self) -> ReleaseRedactor:
        return ReleaseRedactor(self._secrets)


class CommandWatch:
    """A release seen from outside, and in the numbers that its platform counts."""

    def __init__(self, target: CommandTarget, revision: str) -> None:
        self._target, self._revision = target, revision
        self._since, self._pointed = time.time(), target.pointed()

    def look(self) -> Look:
        target, revision = self._target, self._revision
        new = old = None
        with contextlib.suppress(TargetError):  # too little is known then, and the engine waits for more
            new, old = target.numbers(revision, self._since)
        problem, pointed = self._moved()
        return Look(
            public=target.public(revision, pointed),
            private=target.probe(revision) if target.commands.address else None,
            new=new,
            old=old,
            problem=problem,
        )

    def close(self) -> None:
        """Nothing is open."""

    def _moved(self) -> tuple[str | None, str | None]:
        """Somebody else deploys meanwhile, and what `current` says. One that fails once says nothing of the release."""
        with contextlib.suppress(TargetError):
            if (now := self._target.pointed()) == self._pointed:
                return None, now
            return f"the traffic went from {self._pointed or 'none'} to {now or 'none'}, and not by this release", now
        return None, None


def _to(address: str) -> Callable[[], http.client.HTTPConnection]:
    return functools.partial(connection_to, address)


def _cleaned(place: ReleaseDirectory) -> Path:
    """There once `cleanup` was done for a release."""
    return place.folder / "cleaned"
