"""Any command-line program as an agent: it gets files, it leaves a changed working copy."""

import re
import shlex
from collections.abc import Mapping

from pydantic import Field, ValidationError, field_validator

from blocks.agents.agent import AgentBlock
from blocks.agents.structured import Answer
from domain.errors import AgentError
from domain.ports import Assignment, Completed, Sandbox, Toolchains, Worked, Workspace
from domain.proposal import Proposal
from domain.task import Opinion, Plan


class Command(AgentBlock):
    """A program that edits /work. It reads its task from /lockgate (`brief.md` has it all) and holds no secrets.

    It sees `LOCKGATE_PHASE` (propose, plan, edit or review) and `LOCKGATE_ATTEMPT`. In the plan phase it may write
    `/lockgate/plan.json` (steps, paths, dependencies, migrations, questions); without one, the goal is the plan. A
    reviewer writes `/lockgate/opinion.json` (summary, concerns), and who is asked for an acceptance test
    `/lockgate/proposal.json` (path, content, why). With a `model` it also sees `LOCKGATE_MODEL`
    (provider/model), `LOCKGATE_MODEL_URL` (base address, without a version path) and `LOCKGATE_TOKEN`, which stands for
    the provider's key.
    """

    _block_type_name = "Lockgate agent: command"
    _block_type_slug = "lockgate-command"
    _description = "Any command-line program as an agent, run in the sandbox."

    command: str = Field(description="The command line; {phase} and {attempt} are filled in. Not run by a shell.")
    plans: bool = Field(False, description="Run it for the plan phase too")
    mounts: dict[str, str] = Field({}, description="Host path → path in the sandbox, read-only, for the program itself")
    environment: dict[str, str] = Field({}, description="Variables for the program; never secrets")
    model: str | None = Field(None, pattern=r"^[^/\s]+/\S+$", description="provider/model, if it calls one")
    helper_models: tuple[str, ...] = Field((), description="provider/model that it may call beside")

    @field_validator("command")
    @classmethod
    def _is_words(cls, command: str) -> str:
        if not shlex.split(command):
            raise ValueError("the command line is empty")
        return command

    @property
    def name(self) -> str:
        return shlex.split(self.command)[0].rsplit("/", 1)[-1]

    @property
    def version(self) -> str:
        """Nobody knows: it is the user's own program."""
        return ""

    def install(self, toolchains: Toolchains, sandbox: Sandbox) -> Mapping[str, str]:
        """Its mounts: what is mounted is what was set."""
        return self.mounts

    def plan(self, desk: Assignment, workspace: Workspace) -> Plan:
        """The program's plan, else the goal itself. Raises AgentError for a malformed one."""
        default = Plan(steps=(desk.brief.goal,), paths=desk.brief.scope.paths)
        if not self.plans:
            return default
        return self._written(Plan, self._run("plan", desk, workspace), workspace) or default

    def propose(self, desk: Assignment, workspace: Workspace) -> Proposal:
        """What it wrote to /lockgate/proposal.json. Raises AgentError if that is no proposal."""
        proposal = self._written(Proposal, self._run("propose", desk, workspace), workspace)
        if proposal is None:
            raise AgentError('the agent wrote no /lockgate/proposal.json: {"path": …, "content": …, "why": …}')
        return proposal

    def edit(self, desk: Assignment, workspace: Workspace) -> Worked:
        """Run the program once in the working copy."""
        return Worked(self._run("edit", desk, workspace))

    def review(self, desk: Assignment, workspace: Workspace) -> Opinion:
        """What it wrote to /lockgate/opinion.json. Raises AgentError if that is not an opinion."""
        opinion = self._written(Opinion, self._run("review", desk, workspace), workspace)
        if opinion is None:
            raise AgentError('the agent wrote no /lockgate/opinion.json: {"summary": …, "concerns": […]}')
        return opinion

    def _written(self, kind: type[Answer], done: Completed, workspace: Workspace) -> Answer | None:
        name = kind.__name__.lower()
        if done.exit_code or done.problem:
            reason = done.problem or f"exit code {done.exit_code}"
            raise AgentError(f"the agent's {name} ended with {reason}: {done.output[-500:]}")
        written = workspace.read(f"/lockgate/{name}.json", max_bytes=200_000)
        if written is None:
            return None
        try:
            return kind.model_validate_json(written)
        except ValidationError as err:
            raise AgentError(f"the agent's {name}.json is not a {name}: {err}") from err

    def _run(self, phase: str, desk: Assignment, workspace: Workspace) -> Completed:
        fill = {"{phase}": phase, "{attempt}": str(desk.attempt)}
        argv = [_FILLED.sub(lambda found: fill[found[0]], word) for word in shlex.split(self.command)]
        env = {**self.environment, "LOCKGATE_PHASE": phase, "LOCKGATE_ATTEMPT": str(desk.attempt)}
        if desk.model:
            env |= {"LOCKGATE_MODEL": desk.model, "LOCKGATE_MODEL_URL": desk.model_url, "LOCKGATE_TOKEN": desk.token}
        return workspace.run(argv, timeout_s=desk.timeout_s, env=env, on_output=desk.on_output, stop=desk.stop)


_FILLED = re.compile(r"\{phase\}|\{attempt\}")
