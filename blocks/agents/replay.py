"""Plays recorded attempts: for the demo, for tests, and for rehearsing a pipeline without a model's bill."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from blocks.base import LockgateBlock
from domain.brief import Brief
from domain.errors import AgentError
from domain.ports import Completed, Workspace
from domain.task import Feedback, Plan


class Replay(LockgateBlock):
    """A recording: `plan.json`, and for each attempt N `attempt-N.patch` (against base) and `attempt-N.md`."""

    _block_type_name = "Lockgate agent: replay"
    _block_type_slug = "lockgate-replay"
    _description = "Plays recorded attempts. It says that it replays; no model is called."

    recording: Path = Field(description="Directory with plan.json and attempt-N.patch")

    @property
    def name(self) -> str:
        return f"replay of {self.recording.name}"

    @property
    def mounts(self) -> dict[str, str]:
        return {}

    def plan(self, brief: Brief, workspace: Workspace, feedback: Sequence[Feedback], timeout_s: float) -> Plan:
        """The recorded plan. Raises AgentError where it is missing or malformed."""
        recorded = self.recording / "plan.json"
        try:
            return Plan.model_validate_json(recorded.read_bytes())
        except (OSError, ValidationError) as err:
            raise AgentError(f"the recording has no usable plan at {recorded}: {err}") from err

    def edit(
        self,
        brief: Brief,
        plan: Plan,
        attempt: int,
        workspace: Workspace,
        feedback: Sequence[Feedback],
        timeout_s: float,
        on_output: Callable[[str], None] | None = None,
    ) -> Completed:
        """Apply the attempt's patch inside the workspace. Past the last recording the last one is played again."""
        number = min(attempt, self._recorded)
        patch = self.recording / f"attempt-{number}.patch"
        try:
            content = patch.read_bytes()
        except OSError as err:
            raise AgentError(f"the recording has no {patch.name} in {self.recording}") from err
        note = self.recording / f"attempt-{number}.md"
        if on_output:
            on_output(f"REPLAY of recorded attempt {number}; no model is called\n")
            if note.is_file():
                on_output(note.read_text(errors="replace") + "\n")
        return workspace.run(
            ["git", "apply", "--whitespace=nowarn", "-"], timeout_s=timeout_s, stdin=content, on_output=on_output
        )

    @property
    def _recorded(self) -> int:
        numbers = [int(m[1]) for f in self.recording.glob("*") if (m := re.fullmatch(r"attempt-(\d+)\.patch", f.name))]
        return max(numbers, default=1)
