"""Plays recorded attempts: for the demo, for tests, and for rehearsing a pipeline without a model's bill."""

import re
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from blocks.agents.agent import AgentBlock
from blocks.agents.structured import Answer
from domain.errors import AgentError
from domain.ports import Assignment, Sandbox, Toolchains, Worked, Workspace
from domain.proposal import Proposal
from domain.task import Opinion, Plan


class Replay(AgentBlock):
    """A recording: `plan.json`, and for each attempt N `attempt-N.patch` (against base) and `attempt-N.md`."""

    _block_type_name = "Lockgate agent: replay"
    _block_type_slug = "lockgate-replay"
    _description = "Plays recorded attempts. It says that it replays; no model is called."

    recording: Path = Field(description="Directory with plan.json and attempt-N.patch")

    @property
    def name(self) -> str:
        return f"replay of {self.recording.name}"

    @property
    def version(self) -> str:
        return ""

    @property
    def model(self) -> str | None:
        return None

    @property
    def helper_models(self) -> tuple[str, ...]:
        return ()

    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]:
        """Nothing: it plays from outside."""
        return {}

    def plan(self, desk: Assignment, workspace: Workspace) -> Plan:
        """The recorded plan. Raises AgentError if it is missing or malformed."""
        return self._recording(Plan)

    def propose(self, desk: Assignment, workspace: Workspace) -> Proposal:
        """The recorded acceptance test, `proposal.json`. Raises AgentError if it is missing or malformed."""
        return self._recording(Proposal)

    def review(self, desk: Assignment, workspace: Workspace) -> Opinion:
        """None is recorded: raises AgentError."""
        raise AgentError(f"{self.name} has no opinion: only plans and patches are recorded")

    def edit(self, desk: Assignment, workspace: Workspace) -> Worked:
        """Apply the attempt's patch inside the workspace. Past the last recording the last one is played again."""
        number = min(desk.attempt, self._recorded)
        patch = self.recording / f"attempt-{number}.patch"
        try:
            content = patch.read_bytes()
        except OSError as err:
            raise AgentError(f"the recording has no {patch.name} in {self.recording}") from err
        note = self.recording / f"attempt-{number}.md"
        if desk.on_output:
            desk.on_output(f"REPLAY of recorded attempt {number}; no model is called\n")
            if note.is_file():
                desk.on_output(note.read_text(errors="replace") + "\n")
        completed = workspace.run(
            ["git", "apply", "--whitespace=nowarn", "-"],
            timeout_s=desk.timeout_s,
            stdin=content,
            on_output=desk.on_output,
            stop=desk.stop,
        )
        return Worked(completed)

    def _recording(self, kind: type[Answer]) -> Answer:
        name = kind.__name__.lower()
        recorded = self.recording / f"{name}.json"
        try:
            return kind.model_validate_json(recorded.read_bytes())
        except (OSError, ValidationError) as err:
            raise AgentError(f"the recording has no usable {name} at {recorded}: {err}") from err

    @property
    def _recorded(self) -> int:
        numbers = [int(m[1]) for f in self.recording.glob("*") if (m := re.fullmatch(r"attempt-(\d+)\.patch", f.name))]
        return max(numbers, default=1)
