"""What every agent that calls a model has in common: how its program is brought, run, watched, read and resumed."""

import platform
import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from blocks.agents.agent import AgentBlock
from blocks.agents.events import AgentEvent, AgentWatch, EventKind, all_of, shorten
from blocks.agents.structured import Answer, asked_in_words, value_of
from domain.errors import AgentError, InputError, SandboxError
from domain.ports import Assignment, Completed, Sandbox, Toolchains, Worked, Workspace
from domain.proposal import Proposal
from domain.task import Opinion, Plan
from domain.value import Value

STATE = "/lockgate/agent"
"""Where a program keeps its session. It goes from sandbox to sandbox as `Worked.session`, and is read by it alone."""
PROGRAMS = "/opt/agents"
_SESSION = f"{STATE}/session-id"
_SESSION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")


class AgentTurn(NamedTuple):
    """One run of the program: what an adapter makes its command line of."""

    provider: str
    model: str
    """The model's own name, without its provider."""
    url: str
    token: str
    prompt: str
    session: str | None
    """Id of the session to go on with; None: a new one."""
    answer: type[Value] | None
    """What it is asked for instead of an edit. It then changes nothing that is kept."""


class AgentRunEnd(NamedTuple):
    """One run that ended. `failure` is None if program and platform agree that it went well."""

    completed: Completed
    session: str | None
    began: bool
    """Whether its model did or said anything."""
    said: str
    value: Any
    failure: str | None


class Driver(AgentBlock):
    """A coding agent's command line program in a sandbox. An adapter says how it is installed, called and read.

    The prompt comes on its standard input, which then ends. Its word is not taken for success: it must exit with 0,
    tell a result, and tell no failure with it.
    """

    PROGRAM: ClassVar[str]
    """Name on the bill, and of its directory below /opt/agents."""
    VERSION: ClassVar[str]
    """The one that is pinned, for the record."""
    STRUCTURED: ClassVar[bool] = True
    """Whether the program itself holds its model to a JSON schema; otherwise the prompt asks for it."""
    LOST_SESSION: ClassVar[re.Pattern[str]]
    """What it says of a session that it cannot go on with."""

    model: str = Field(pattern=r"^[^/\s]+/\S+$", description="provider/model, such as anthropic/claude-sonnet-5")
    helper_models: tuple[str, ...] = Field((), description="provider/model that it may call beside, for small jobs")
    max_turns: int = Field(200, gt=0, description="Tool calls that it may make in one piece of work")
    idle_timeout_s: float = Field(900, gt=0, description="It is stopped when it says nothing for so long")
    environment: dict[str, str] = Field({}, description="Variables for the program; never secrets")

    @property
    def name(self) -> str:
        return self.PROGRAM

    @property
    def version(self) -> str:
        return self.VERSION

    @abstractmethod
    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]: ...

    @abstractmethod
    def argv(self, turn: AgentTurn) -> list[str]:
        """Its command line."""

    @abstractmethod
    def variables(self, turn: AgentTurn) -> dict[str, str]:
        """Its environment, beside that of the sandbox."""

    @abstractmethod
    def read(self, line: dict[str, Any]) -> Iterable[AgentEvent]:
        """What one JSON line of it tells. May raise KeyError and the like for lines it does not know."""

    def files(self, turn: AgentTurn) -> dict[str, bytes]:
        """Files it needs: absolute path under /lockgate → content."""
        return {}

    def stdin(self, turn: AgentTurn) -> bytes:
        """What it reads."""
        return turn.prompt.encode("utf-8", "replace")

    # --- the port

    def plan(self, desk: Assignment, workspace: Workspace) -> Plan:
        """Its plan. Raises AgentError if it failed or its answer is none."""
        return self._answer(Plan, desk, workspace)

    def propose(self, desk: Assignment, workspace: Workspace) -> Proposal:
        """Its acceptance test. Raises AgentError if it failed or its answer is none."""
        return self._answer(Proposal, desk, workspace)

    def review(self, desk: Assignment, workspace: Workspace) -> Opinion:
        """Its opinion. Raises AgentError if it failed or its answer is none."""
        return self._answer(Opinion, desk, workspace)

    def edit(self, desk: Assignment, workspace: Workspace) -> Worked:
        """One try, which goes on with the session of the last one where the program still can."""
        session = _restored(desk, workspace)
        told = self._run(self._turn(desk, session, None), desk, workspace)
        if session and told.failure and not told.began and self.LOST_SESSION.search(told.completed.output[-20_000:]):
            if desk.on_output:
                desk.on_output("the last session cannot be resumed: starting anew\n")
            told = self._run(self._turn(desk, None, None), desk, workspace)
        completed = told.completed
        if told.failure and not completed.problem:
            completed = completed.model_copy(
                update={
                    "exit_code": completed.exit_code or 1,
                    "output": f"{completed.output.rstrip()}\n{self.name} failed: {told.failure}\n",
                }
            )
        return Worked(completed, _saved(workspace, told.session), told.failure or shorten(told.said, 4_000))

    # --- how

    def _answer(self, kind: type[Answer], desk: Assignment, workspace: Workspace) -> Answer:
        told = self._run(self._turn(desk, None, kind), desk, workspace)
        if told.failure:
            raise AgentError(f"{self.name} gave no {kind.__name__.lower()}: {told.failure}")
        return value_of(kind, told.said if told.value is None else told.value)

    def _turn(self, desk: Assignment, session: str | None, answer: type[Value] | None) -> AgentTurn:
        if not desk.model_url:
            raise AgentError(f"{self.name} calls a model, and this sandbox has no way to one: set up its provider")
        provider, _, model = (desk.model or self.model).partition("/")
        prompt = desk.prompt + (asked_in_words(answer) if answer and not self.STRUCTURED else "")
        return AgentTurn(provider, model, desk.model_url.rstrip("/"), desk.token, prompt, session, answer)

    def _run(self, turn: AgentTurn, desk: Assignment, workspace: Workspace) -> AgentRunEnd:
        for path, content in {f"{STATE}/.keep": b"", **self.files(turn)}.items():
            workspace.write(path, content)
        watch = AgentWatch(self.read, show=desk.on_output, max_calls=self.max_turns, idle_s=self.idle_timeout_s)
        completed = workspace.run(
            self.argv(turn),
            timeout_s=desk.timeout_s,
            env={**self.environment, **self.variables(turn)},
            stdin=self.stdin(turn),
            on_output=watch.hear,
            stop=lambda: watch.stop() or (desk.stop() if desk.stop else None),
        )
        if watch.problem and not completed.problem:  # it ended by itself before anybody came to stop it
            completed = completed.model_copy(update={"problem": watch.problem})
        return self._told(completed, turn)

    def _told(self, completed: Completed, turn: AgentTurn) -> AgentRunEnd:
        """How it ended, from the whole transcript: the live lines may have been cut."""
        session, began, said, value, ended, errors = turn.session, False, "", None, False, list[str]()
        for event in all_of(completed.output, self.read):
            began = began or event.kind in (EventKind.MESSAGE, EventKind.CALL)
            match event.kind:
                case EventKind.SESSION if _SESSION_ID.fullmatch(event.text):
                    session = event.text
                case EventKind.MESSAGE:
                    said = event.text
                case EventKind.ERROR:
                    errors.append(shorten(event.text, 1_000))
                case EventKind.RESULT:
                    ended, errors = True, []
                    said, value = event.text or said, event.value
        return AgentRunEnd(completed, session, began, said, value, _failure(completed, ended, errors))


def _failure(completed: Completed, ended: bool, errors: list[str]) -> str | None:
    """Why it did not go well. An error that a result came after was got over."""
    if completed.problem:
        return completed.problem
    if errors:
        return errors[-1]
    if completed.exit_code:
        return f"exit code {completed.exit_code}: {shorten(completed.output.strip()[-800:], 800)}"
    return None if ended else "it ended without a result"


def _restored(desk: Assignment, workspace: Workspace) -> str | None:
    """Put the last session in place; its id, or None if there is none to go on with."""
    if desk.session is None:
        return None
    try:
        workspace.restore(STATE, desk.session)
        found = (workspace.read(_SESSION, 200) or b"").decode("ascii", "replace")
    except (AgentError, SandboxError):
        return None  # it is the agent's own doing: it starts anew
    return found if _SESSION_ID.fullmatch(found) else None


def _saved(workspace: Workspace, session: str | None) -> bytes | None:
    """The session, without what a killed program leaves that is no file (Codex: links to itself)."""
    if session is None:
        return None
    try:
        workspace.write(_SESSION, session.encode())
        workspace.run(["find", STATE, "!", "-type", "f", "!", "-type", "d", "-delete"], timeout_s=60)
        return workspace.save(STATE)
    except (AgentError, SandboxError):
        return None  # it costs the next attempt its memory, and not this one its change


def npm_program(toolchains: Toolchains, builds: Mapping[str, tuple[str, str]], inside: str) -> dict[str, str]:
    """Mounts for a program that is one npm package. `builds`: machine → (NAME@VERSION, sha512 integrity)."""
    machine = platform.machine()
    try:
        package, integrity = builds[machine]
    except KeyError:
        raise InputError(
            f"{package_of(builds)} has no build for {machine}: use a worker on x86_64 or aarch64"
        ) from None
    name = package.rpartition("@")[0]
    return {str(toolchains.packages({package: integrity}) / "node_modules" / name): inside}


def package_of(builds: Mapping[str, tuple[str, str]]) -> str:
    """A name for all the builds of one program."""
    return next(iter(builds.values()))[0]


def wheel_program(toolchains: Toolchains, sandbox: Sandbox, wheels: Iterable[str], inside: str) -> dict[str, str]:
    """Mounts for a program of exactly these wheels, run by `inside`/bin/python, and for the interpreter below it."""
    environment = toolchains.ensure(wheels, sandbox, dependencies=False)
    found = re.search(r"^home\s*=\s*(/.*?)\s*$", (environment / "pyvenv.cfg").read_text(), re.MULTILINE)
    if found is None:
        raise InputError(f"{environment} is no virtual environment: remove it, it is made again")
    prefixes = {Path(found[1]).parent, Path(found[1]).resolve().parent}
    return {str(environment): inside} | {str(path): str(path) for path in prefixes if not path.is_relative_to("/usr")}
