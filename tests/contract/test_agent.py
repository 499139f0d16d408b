"""The contract of the Agent port, in real sandboxes: what an agent gets, what it may leave, and whose fault it is."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from blocks.agents.command import Command
from blocks.agents.replay import Replay
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.sandboxes.workspace import BubblewrapWorkspace
from domain.brief import Acceptance, Brief, Scope
from domain.errors import AgentError
from domain.ports import Agent, Assignment, Sandbox
from domain.task import Opinion, Plan
from domain.trees import Tree, TreeEntry

FILE = 0o100644
TREE: Tree = {"greeting.txt": TreeEntry(FILE, b"hello\n"), "README.md": TreeEntry(FILE, b"# Greeting\n")}
CHANGED: Tree = {**TREE, "greeting.txt": TreeEntry(FILE, b"hello, world\n"), "new/note.txt": TreeEntry(FILE, b"new\n")}
PATCH = """\
--- a/greeting.txt
+++ b/greeting.txt
@@ -1 +1 @@
-hello
+hello, world
diff --git a/new/note.txt b/new/note.txt
new file mode 100644
--- /dev/null
+++ b/new/note.txt
@@ -0,0 +1 @@
+new
"""
EDIT = "echo changing the greeting; echo 'hello, world' > greeting.txt; mkdir new; echo new > new/note.txt"
PLAN = Plan(steps=("Greet the world",), paths=("greeting.txt", "new/**"))
BRIEF = Brief(
    title="Greet the world",
    goal="The greeting names the world",
    repository="greeting.git",
    acceptance=Acceptance(command="grep world greeting.txt"),
    scope=Scope(paths=("greeting.txt", "new/**")),
)

Make = Callable[..., Agent]


@pytest.fixture
def sandbox(tmp_path: Path) -> Bubblewrap:
    return Bubblewrap(root=tmp_path / "sandboxes")


@pytest.fixture
def workspace(sandbox: Bubblewrap) -> Iterator[BubblewrapWorkspace]:
    workspace = sandbox.open(TREE, label="test")
    yield workspace
    workspace.close()


def program(folder: Path, script: str) -> Command:
    """A command agent that runs a shell script, in both phases."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "agent.sh").write_text(script)
    return Command(command="/bin/sh /agent/agent.sh", plans=True, mounts={str(folder): "/agent"})


def replay(tmp_path: Path, plan: bytes, patch: str | None, script: str) -> Replay:
    recording = tmp_path / "recording"
    recording.mkdir()
    (recording / "plan.json").write_bytes(plan)
    if patch is not None:
        (recording / "attempt-1.patch").write_text(patch)
    return Replay(recording=recording)


def command(tmp_path: Path, plan: bytes, patch: str | None, script: str) -> Command:
    made = program(
        tmp_path / "agent",
        f"if [ $LOCKGATE_PHASE = plan ]; then cp /agent/plan.json /lockgate/plan.json; else {script}; fi",
    )
    (tmp_path / "agent" / "plan.json").write_bytes(plan)
    return made


@pytest.fixture(params=[replay, command], ids=["replay", "command"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """An agent that plans `plan` and edits by `patch`, or by `script`, which does the same."""
    build = request.param

    def made(plan: bytes = PLAN.model_dump_json().encode(), patch: str | None = PATCH, script: str = EDIT) -> Agent:
        agent: Agent = build(tmp_path, plan, patch, script)
        return agent

    return made


class NoToolchains:
    """For agents that bring nothing."""

    def ensure(self, requirements: Iterable[str], sandbox: Sandbox, *, dependencies: bool = True) -> Path:
        raise AssertionError(f"nothing was to be installed: {requirements}")

    def packages(self, npm: Mapping[str, str]) -> Path:
        raise AssertionError(f"nothing was to be installed: {npm}")


def desk(attempt: int = 1, timeout_s: float = 30, on_output: Callable[[str], None] | None = None) -> Assignment:
    """A piece of work as the steps give it."""
    return Assignment(BRIEF, "Greet the world", attempt, PLAN, timeout_s=timeout_s, on_output=on_output)


def opened(sandbox: Bubblewrap, agent: Agent) -> BubblewrapWorkspace:
    """A workspace as the steps open it for an agent."""
    return sandbox.open(TREE, label="test", mounts=agent.install(NoToolchains(), sandbox))


def is_running(*argv: str) -> bool:
    """Whether a process of this machine has exactly this command line."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (process / "cmdline").read_bytes().split(b"\0")[:-1] == [word.encode() for word in argv]:
                return True
    return False


# --- every agent


def test_it_has_a_name_for_the_bill(make: Make) -> None:
    assert make().name.strip()


def test_it_plans(make: Make, sandbox: Bubblewrap) -> None:
    agent = make()
    workspace = opened(sandbox, agent)
    assert agent.plan(desk(), workspace) == PLAN
    workspace.close()


MALFORMED = {
    "not JSON": b"first I would look around",
    "not an object": b"[1, 2]",
    "no steps": b'{"paths": ["a"]}',
    "a field that plans do not have": b'{"steps": ["a"], "approved": true}',
    "steps of a wrong type": b'{"steps": [{"do": "it"}]}',
    "not UTF-8": b'{"steps": ["\xff\xfe"]}',
    "half a character": b'{"steps": ["\\ud800"]}',
    "nested without end": b'{"steps": ' + b"[" * 50_000,
    "empty": b"",
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_plan_that_is_none_is_the_agents_fault(make: Make, sandbox: Bubblewrap, name: str) -> None:
    agent = make(plan=MALFORMED[name])
    workspace = opened(sandbox, agent)
    with pytest.raises(AgentError, match=r"plan"):
        agent.plan(desk(), workspace)
    workspace.close()


def test_it_edits_the_working_copy_and_nothing_else(make: Make, sandbox: Bubblewrap) -> None:
    agent = make()
    for _ in range(2):  # a fresh workspace gives the same change again
        workspace = opened(sandbox, agent)
        done = agent.edit(desk(), workspace).completed
        assert (done.exit_code, done.problem) == (0, None), done.output
        assert workspace.collect() == CHANGED
        workspace.close()


def test_what_it_says_is_heard_while_it_works(make: Make, sandbox: Bubblewrap) -> None:
    agent, heard = make(), list[str]()
    workspace = opened(sandbox, agent)
    agent.edit(desk(on_output=heard.append), workspace)
    workspace.close()
    assert "".join(heard).strip()


def test_an_edit_that_fails_is_an_exit_code_and_no_exception(make: Make, sandbox: Bubblewrap) -> None:
    agent = make(patch=PATCH.replace("-hello", "-goodbye"), script="echo no such greeting; exit 1")
    workspace = opened(sandbox, agent)
    done = agent.edit(desk(), workspace).completed
    assert done.exit_code == 1
    assert "greeting" in done.output
    assert workspace.collect() == TREE
    workspace.close()


# --- replay


def recorded(folder: Path, *attempts: int) -> Replay:
    folder.mkdir()
    for number in attempts:
        patch = PATCH.replace("hello, world", f"hello, world {number}")
        (folder / f"attempt-{number}.patch").write_text(patch)
    return Replay(recording=folder)


@pytest.mark.parametrize(("attempt", "played"), [(1, 1), (2, 2), (3, 2), (9, 2)])
def test_past_the_last_recording_the_last_is_played_again(
    tmp_path: Path, workspace: BubblewrapWorkspace, attempt: int, played: int
) -> None:
    recorded(tmp_path / "two", 1, 2).edit(desk(attempt=attempt), workspace)
    assert workspace.read("/work/greeting.txt") == f"hello, world {played}\n".encode()


def test_a_replay_says_that_it_replays_and_shows_the_note(tmp_path: Path, workspace: BubblewrapWorkspace) -> None:
    agent, heard = recorded(tmp_path / "one", 1), list[str]()
    (tmp_path / "one" / "attempt-1.md").write_bytes(b"The first try \xff")
    agent.edit(desk(on_output=heard.append), workspace)
    assert heard[0] == "REPLAY of recorded attempt 1; no model is called\n"
    assert "The first try" in heard[1]
    assert agent.name == "replay of one"


def test_a_recording_that_is_not_there_is_named(tmp_path: Path, workspace: BubblewrapWorkspace) -> None:
    nowhere = Replay(recording=tmp_path / "nowhere")
    with pytest.raises(AgentError, match=r"nowhere/plan\.json"):
        nowhere.plan(desk(), workspace)
    with pytest.raises(AgentError, match=r"no attempt-1\.patch in .*nowhere"):
        nowhere.edit(desk(), workspace)
    with pytest.raises(AgentError, match=r"no attempt-2\.patch"):
        recorded(tmp_path / "gap", 1, 3).edit(desk(attempt=2), workspace)


@pytest.mark.parametrize("path", ["../outside.txt", "/tmp/outside.txt", ".git/config"])
def test_a_recorded_patch_cannot_write_outside_the_working_copy(
    tmp_path: Path, workspace: BubblewrapWorkspace, path: str
) -> None:
    (tmp_path / "hostile").mkdir()
    patch = f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x\n"
    (tmp_path / "hostile" / "attempt-1.patch").write_text(patch)
    done = Replay(recording=tmp_path / "hostile").edit(desk(), workspace).completed
    assert done.exit_code != 0
    assert workspace.collect() == TREE


# --- command


def test_a_program_that_does_not_plan_has_the_goal_for_a_plan(workspace: BubblewrapWorkspace) -> None:
    goal = Plan(steps=(BRIEF.goal,), paths=BRIEF.scope.paths)
    assert Command(command="/bin/false").plan(desk(), workspace) == goal, "it is not even run"
    assert Command(command="/bin/true", plans=True).plan(desk(), workspace) == goal


@pytest.mark.parametrize("script", ["ln -s /etc/passwd /lockgate/plan.json", "mkdir /lockgate/plan.json"])
def test_a_plan_that_is_no_file_is_not_followed(tmp_path: Path, sandbox: Bubblewrap, script: str) -> None:
    agent = program(tmp_path / "agent", script)
    workspace = opened(sandbox, agent)
    assert agent.plan(desk(), workspace).steps == (BRIEF.goal,)
    workspace.close()


PLANNING_FAILS = {
    "crashes": ("echo out of ideas; exit 3", 30.0, "exit code 3: out of ideas"),
    "is killed": ("kill -9 $$", 30.0, "exit code 137"),
    "hangs": ("echo thinking; sleep 60", 0.7, r"stopped after 0\.7 s: thinking"),
    "floods the plan": ("head -c 300000 /dev/zero > /lockgate/plan.json", 30.0, r"plan\.json.*over the limit"),
}


@pytest.mark.parametrize("name", PLANNING_FAILS)
def test_planning_that_fails_is_the_agents_fault_and_says_what_it_said(
    tmp_path: Path, sandbox: Bubblewrap, name: str
) -> None:
    script, timeout_s, told = PLANNING_FAILS[name]
    agent = program(tmp_path / "agent", script)
    workspace = opened(sandbox, agent)
    with pytest.raises(AgentError, match=told):
        agent.plan(desk(timeout_s=timeout_s), workspace)
    workspace.close()


@pytest.mark.parametrize(
    ("script", "exit_code"), [("exit 3", 3), ("kill -9 $$", 137), ("kill -SEGV $$", 139), ("no-such-program", 127)]
)
def test_a_program_that_crashes_leaves_its_exit_code(
    tmp_path: Path, sandbox: Bubblewrap, script: str, exit_code: int
) -> None:
    agent = program(tmp_path / "agent", script)
    workspace = opened(sandbox, agent)
    done = agent.edit(desk(), workspace).completed
    assert (done.exit_code, done.problem, done.timed_out) == (exit_code, None, False)
    workspace.close()


def test_a_program_that_is_not_there_fails_like_a_crash(workspace: BubblewrapWorkspace) -> None:
    done = Command(command="/agent/nowhere --fast").edit(desk(), workspace).completed
    assert done.exit_code == 127
    assert "/agent/nowhere" in done.output


def test_a_program_that_hangs_is_stopped_in_time_with_all_that_it_started(tmp_path: Path, sandbox: Bubblewrap) -> None:
    agent = program(tmp_path / "agent", "trap '' TERM; echo begun; sleep 4242.0987 & sleep 4242.0987; wait")
    workspace = opened(sandbox, agent)
    done = agent.edit(desk(timeout_s=0.7), workspace).completed
    assert done.timed_out
    assert done.problem == "stopped after 0.7 s"
    assert "begun" in done.output
    assert not is_running("sleep", "4242.0987")
    workspace.close()


def test_a_program_reads_its_task_and_knows_its_phase(tmp_path: Path, sandbox: Bubblewrap) -> None:
    agent = program(
        tmp_path / "agent",
        'cat /lockgate/brief.md; echo "$LOCKGATE_PHASE $LOCKGATE_ATTEMPT $PWD"; echo mine >> /lockgate/scratchpad.md\n'
        'test $LOCKGATE_PHASE = edit || echo \'{"steps": ["look"]}\' > /lockgate/plan.json',
    )
    workspace = opened(sandbox, agent)
    workspace.write("/lockgate/brief.md", b"Greet the world\n")
    assert agent.plan(desk(), workspace).steps == ("look",)
    done = agent.edit(desk(attempt=2), workspace).completed
    assert done.output == "Greet the world\nedit 2 /work\n"
    assert workspace.read("/lockgate/scratchpad.md") == b"mine\nmine\n"
    assert workspace.collect() == TREE, "what lies under /lockgate is no part of the change"
    workspace.close()


def test_phase_and_attempt_are_filled_into_the_command_line_and_no_shell_reads_it(
    workspace: BubblewrapWorkspace,
) -> None:
    agent = Command(command="""/bin/echo {phase} attempt-{attempt} '$HOME;id' "two words" `id` > x""")
    done = agent.edit(desk(attempt=3), workspace).completed
    assert done.output == "edit attempt-3 $HOME;id two words `id` > x\n"
    assert workspace.collect() == TREE


def test_a_program_never_sees_the_hosts_environment(
    workspace: BubblewrapWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_CANARY", "a-secret-of-the-worker")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "a-secret-of-the-worker")
    agent = Command(command="/usr/bin/env", environment={"MODEL": "small", "LOCKGATE_PHASE": "deploy"})
    done = agent.edit(desk(), workspace).completed
    seen = dict(line.split("=", 1) for line in done.output.splitlines())
    assert "a-secret-of-the-worker" not in done.output
    assert set(seen) <= {
        *("HOME", "TMPDIR", "PATH", "LANG", "PYTHONDONTWRITEBYTECODE", "PWD"),
        *("MODEL", "LOCKGATE_PHASE", "LOCKGATE_ATTEMPT"),
    }
    assert seen["MODEL"] == "small"
    assert seen["LOCKGATE_PHASE"] == "edit", "the platform's word for it wins"
    everywhere = Command(command="/bin/sh -c 'cat /proc/*/environ'")
    assert "a-secret-of-the-worker" not in everywhere.edit(desk(), workspace).completed.output


def test_a_program_that_calls_a_model_knows_which_where_and_with_what(workspace: BubblewrapWorkspace) -> None:
    agent = Command(command="/usr/bin/env", model="openai/gpt-5", helper_models=("openai/gpt-5-nano",))
    given = desk()._replace(model="openai/gpt-5-mini", model_url="https://openai.models.lockgate.internal", token="t-1")
    seen = dict(line.split("=", 1) for line in agent.edit(given, workspace).completed.output.splitlines())
    told = {name: value for name, value in seen.items() if name.startswith(("LOCKGATE_MODEL", "LOCKGATE_TOKEN"))}
    assert told == {
        "LOCKGATE_MODEL": "openai/gpt-5-mini",
        "LOCKGATE_MODEL_URL": "https://openai.models.lockgate.internal",
        "LOCKGATE_TOKEN": "t-1",
    }
    with pytest.raises(ValidationError, match="model"):
        Command(command="/bin/true", model="gpt-5")


def test_a_program_reviews_by_writing_its_opinion(tmp_path: Path, sandbox: Bubblewrap) -> None:
    agent = program(tmp_path / "agent", """echo '{"summary": "fine", "concerns": ["none"]}' > /lockgate/opinion.json""")
    workspace = opened(sandbox, agent)
    assert agent.review(desk(), workspace) == Opinion(summary="fine", concerns=("none",))
    workspace.close()


@pytest.mark.parametrize("script", ["true", "echo '[]' > /lockgate/opinion.json", "exit 3"])
def test_a_review_without_an_opinion_is_the_agents_fault(tmp_path: Path, sandbox: Bubblewrap, script: str) -> None:
    agent = program(tmp_path / "agent", script)
    workspace = opened(sandbox, agent)
    with pytest.raises(AgentError, match="opinion"):
        agent.review(desk(), workspace)
    workspace.close()


def test_a_programs_mounts_are_read_only_and_nothing_beside_them_is_seen(tmp_path: Path, sandbox: Bubblewrap) -> None:
    script = "echo x > /agent/agent.sh; rm /agent/agent.sh; touch /agent/new; ls /agent; ls -d {beside} /root/.ssh"
    agent = program(tmp_path / "agent", script.format(beside=tmp_path / "beside"))
    (tmp_path / "beside").write_text("not yours")
    before = (tmp_path / "agent" / "agent.sh").read_text()
    workspace = opened(sandbox, agent)
    done = agent.edit(desk(), workspace).completed
    workspace.close()
    assert (tmp_path / "agent" / "agent.sh").read_text() == before
    assert [path.name for path in (tmp_path / "agent").iterdir()] == ["agent.sh"]
    assert "Read-only file system" in done.output
    assert done.output.count("No such file or directory") == 2


def test_a_program_has_no_network(workspace: BubblewrapWorkspace) -> None:
    script = "import socket; socket.create_connection(('192.0.2.1', 80), 3)"
    done = Command(command=f'/usr/bin/python3 -c "{script}"').edit(desk(), workspace).completed
    assert done.exit_code == 1
    assert "Network is unreachable" in done.output


@pytest.mark.parametrize("line", ["", "  ", "agent 'unfinished"])
def test_a_command_line_that_is_none_is_refused_when_it_is_written(line: str) -> None:
    with pytest.raises(ValidationError, match="command"):
        Command(command=line)


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="environments"):
        Command.model_validate({"command": "/bin/true", "environments": {}})
    with pytest.raises(ValidationError, match="recordings"):
        Replay.model_validate({"recording": "x", "recordings": "x"})
