"""Any command-line program as an agent: it gets files, it leaves a changed working copy."""

import shlex
from collections.abc import Callable, Sequence

from pydantic import Field, ValidationError, field_validator

from blocks.base import LockgateBlock
from domain.brief import Brief
from domain.errors import AgentError
from domain.ports import Completed, Workspace
from domain.task import Feedback, Plan


class Command(LockgateBlock):
    """A program that edits /work. It reads its task from /lockgate and has no network and no secrets.

    It sees `LOCKGATE_PHASE` (plan or edit) and `LOCKGATE_ATTEMPT`. In the plan phase it may write
    `/lockgate/plan.json` (steps, paths, dependencies, migrations, questions); without one, the goal is the plan.
    """

    _block_type_name = "Lockgate agent: command"
    _block_type_slug = "lockgate-command"
    _description = "Any command-line program as an agent, run in the sandbox."

    command: str = Field(description="The command line; {phase} and {attempt} are filled in. Not run by a shell.")
    plans: bool = Field(False, description="Run it for the plan phase too")
    mounts: dict[str, str] = Field({}, description="Host path → path in the sandbox, read-only, for the program itself")
    environment: dict[str, str] = Field({}, description="Variables for the program; never secrets")

    @field_validator("command")
    @classmethod
    def _is_words(cls, command: str) -> str:
        if not shlex.split(command):
            raise ValueError("the command line is empty")
        return command

    @property
    def name(self) -> str:
        return shlex.split(self.command)[0].rsplit("/", 1)[-1]

    def plan(self, brief: Brief, workspace: Workspace, feedback: Sequence[Feedback], timeout_s: float) -> Plan:
        """The program's plan, else the goal itself. Raises AgentError for a malformed one."""
        default = Plan(steps=(brief.goal,), paths=brief.scope.paths)
        if not self.plans:
            return default
        done = self._run("plan", 1, workspace, timeout_s, None)
        if done.exit_code or done.problem:
            raise AgentError(
                f"planning ended with {done.problem or f'exit code {done.exit_code}'}: {done.output[-500:]}"
            )
        written = workspace.read("/lockgate/plan.json", max_bytes=200_000)
        if written is None:
            return default
        try:
            return Plan.model_validate_json(written)
        except ValidationError as err:
            raise AgentError(f"the agent's plan.json is not a plan: {err}") from err

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
        """Run the program once in the working copy."""
        return self._run("edit", attempt, workspace, timeout_s, on_output)

    def _run(
        self, phase: str, attempt: int, workspace: Workspace, timeout_s: float, on_output: Callable[[str], None] | None
    ) -> Completed:
        argv = [word.replace("{phase}", phase).replace("{attempt}", str(attempt)) for word in shlex.split(self.command)]
        env = {**self.environment, "LOCKGATE_PHASE": phase, "LOCKGATE_ATTEMPT": str(attempt)}
        return workspace.run(argv, timeout_s=timeout_s, env=env, on_output=on_output)
