"""A brief's names against what is set up: each wrong one is told with the names that exist."""

from types import SimpleNamespace
from typing import Any

import pytest
from httpx import Request, Response
from prefect.exceptions import ObjectNotFound

from blocks import catalogue
from blocks.catalogue import AGENT_KINDS, unusable
from blocks.workshop import KINDS
from domain.brief import Acceptance, Brief, Roles

SETUP: dict[str, dict[str, dict[str, Any]]] = {
    "lockgate-workshop": {"default": {"targets": {"production": "process-target/shop"}, "models": {}}},
    "lockgate-claude-code": {
        "mine": {"model": "anthropic/claude-sonnet-4-5"},
        "typo": {"model": "anthropic/claude-sonata-9"},
        "nowhere": {"model": "antropic/claude-sonnet-4-5"},
    },
    "lockgate-command": {"house": {"command": "/bin/true"}},
    "lockgate-provider": {"anthropic": {"api": "anthropic"}},
}


class FakeServer:
    """Answers as Prefect's client does from a table: block type → name → data."""

    def __init__(self, setup: dict[str, dict[str, dict[str, Any]]]) -> None:
        self.setup = setup

    def __enter__(self) -> "FakeServer":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def read_block_document_by_name(self, name: str, slug: str, include_secrets: bool) -> SimpleNamespace:
        assert not include_secrets
        try:
            return SimpleNamespace(name=name, data=self.setup[slug][name])
        except KeyError as err:
            raise ObjectNotFound(http_exc=Exception(Request("GET", "http://x"), Response(404))) from err

    def read_block_documents_by_type(self, slug: str, include_secrets: bool) -> list[SimpleNamespace]:
        assert not include_secrets
        return [SimpleNamespace(name=name) for name in self.setup.get(slug, {})]


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> FakeServer:
    made = FakeServer(SETUP)
    monkeypatch.setattr(catalogue, "get_client", lambda **_: made)
    return made


def told(**fields: Any) -> tuple[str, ...]:
    given = {"title": "Add it", "goal": "g", "repository": "r.git", "agent": "claude-code/mine", **fields}
    return unusable(Brief(acceptance=Acceptance(command="true"), **given))


ALL = "there are claude-code/mine, claude-code/nowhere, claude-code/typo, command/house"
NEAR = f"did you mean 'claude-code/mine'? {ALL}"


@pytest.mark.parametrize(
    ("fields", "reasons"),
    [
        ({}, ()),
        ({"environment": "production", "agent": "command/house"}, ()),
        (
            {"environment": "producton"},
            ("there is no environment 'producton' in the workshop 'default': did you mean 'production'? there are "
             "production",),
        ),
        ({"workshop": "another"}, ("there is no workshop 'another': there are default",)),
        ({"agent": "claude-code/mein"}, (f"there is no agent 'claude-code/mein': {NEAR}",)),
        (
            {"agent": ""},
            (f"the brief names no `agent`: give kind/name with a kind of {', '.join(AGENT_KINDS)}; {ALL}",),
        ),
        (
            {"agent": "provider/anthropic"},
            (f"'provider/anthropic' is no agent: give kind/name with a kind of {', '.join(AGENT_KINDS)}; {ALL}",),
        ),
        (
            {"agent": "claude-code/nowhere"},
            ("agent 'claude-code/nowhere' calls 'antropic/claude-sonnet-4-5', and there is no model provider "
             "'antropic': there are anthropic",),
        ),
        (
            {"agent": "claude-code/typo"},
            ("agent 'claude-code/typo' calls 'anthropic/claude-sonata-9', and nobody knows what that costs: mend the "
             "name in the agent's block, or give its price under `models.prices` of the workshop",),
        ),
        (
            {"roles": Roles(edit=("command/house", "codex/x"), review="replay/y")},
            (f"there is no agent 'codex/x': {ALL}", f"there is no agent 'replay/y': {ALL}"),
        ),
    ],
)  # fmt: skip
def test_every_wrong_name_is_told_with_those_that_exist(fields: dict[str, Any], reasons: tuple[str, ...]) -> None:
    assert told(**fields) == reasons


def test_a_model_that_the_policy_does_not_allow_is_told_before_anything_is_paid(server: FakeServer) -> None:
    server.setup = {
        **SETUP, "lockgate-workshop": {"default": {"targets": {}, "models": {"edit": ["openai/**"]}}},
    }  # fmt: skip
    (reason,) = told()
    assert "'anthropic/claude-sonnet-4-5' is not allowed for the edit step (allowed: openai/**)" in reason


def test_a_price_of_the_teams_own_makes_a_model_known(server: FakeServer) -> None:
    prices = {"anthropic/claude-sonata-9": {"input": 1, "output": 2}}
    server.setup = {**SETUP, "lockgate-workshop": {"default": {"targets": {}, "models": {"prices": prices}}}}
    assert told(agent="claude-code/typo") == ()


def test_where_nothing_is_set_up_the_way_to_do_it_is_told(server: FakeServer) -> None:
    server.setup = {"lockgate-workshop": {"default": {"targets": {}, "models": {}}}}
    (reason,) = told()
    assert reason == "there is no agent 'claude-code/mine': none is set up yet: add one in the UI under Blocks"


def test_the_kinds_of_agents_are_the_blocks_that_can_edit() -> None:
    assert set(AGENT_KINDS) == {kind for kind, block in KINDS.items() if hasattr(block, "edit")}
    assert {f"lockgate-{kind}" for kind in AGENT_KINDS} == {KINDS[kind]._block_type_slug for kind in AGENT_KINDS}
