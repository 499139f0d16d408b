"""The gateway as a station runs it: blocks from Prefect, the workshop's ledger, started again when it is killed."""

import json
import os
import signal
from collections.abc import Iterator

import pytest

from blocks.gateway.gateway import EgressGateway
from domain.egress import Decisions, Passport
from domain.errors import InputError
from kits.fake_model import FakeModel
from kits.product.gateway import GatewayAnswer, SandboxedProgram, head, told
from kits.product.station import Station
from tests.contract.test_gateway_life import until
from tests.made_once import toolchains

CANARY = "canary-9c1f-provider-key"
SECRET = "canary-77aa-secret-value"
HOST = "fake.models.lockgate.internal"
SETUP = f"""
from blocks.gateway.models.provider import ModelProvider
from blocks.gateway.secret import Secret
from blocks.workshop import Workshop
from domain.egress import SecretScope
from domain.models import Api, ModelPolicy, Price
Secret(scope=SecretScope(name="SHOP_TOKEN", hosts=("api.example.com",)), value="{SECRET}").keep("shop-token")
ModelProvider(api=Api.ANTHROPIC, base_url=URL, key="{CANARY}", extra_ca=CA).keep("fake")
shop = Workshop.saved("default")
shop.models = ModelPolicy(prices={{"fake/small": Price(input=1, output=1)}})
shop.keep("default")
"""


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    made = Station(tmp_path_factory.mktemp("station") / "home", toolchains=toolchains().root)
    made.home.mkdir()
    try:
        made.up()
        until(lambda: EgressGateway(root=made.home / "gateway").doctor() is None)
        yield made
    finally:
        made.down()


@pytest.fixture(scope="module")
def model(station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeModel]:
    script = {"turns": [{"text": f"you sent {CANARY}"}]}
    with FakeModel(script, tls_dir=tmp_path_factory.mktemp("tls"), key=CANARY) as made:
        station.python(f"URL, CA = {made.url!r}, {str(made.ca)!r}\n{SETUP}")
        yield made


def ask(inside: SandboxedProgram, token: str, model: str = "small") -> GatewayAnswer:
    body = json.dumps({"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}).encode()
    with inside.tunnel(HOST, port=443) as line:
        headers = (f"X-API-Key: {token}", "Content-Type: application/json", "anthropic-version: 2023-06-01")
        line.sendall(head("POST", "/v1/messages", HOST, *headers, body=body) + body)
        return told(line, "POST")


def test_a_call_is_made_with_a_key_that_the_sandbox_never_sees_and_billed(station: Station, model: FakeModel) -> None:
    who = Passport(run_id="billed", phase="edit", repository="/srv/git/shop.git", models=("fake/*",), usd=1)
    with EgressGateway(root=station.home / "gateway").admit(who) as egress:
        assert egress is not None
        inside = SandboxedProgram(egress, 443)
        answered = ask(inside, egress.token)
        assert answered.status == 200, answered.body
        assert CANARY.encode() not in answered.body and b"you sent ***" in answered.body
        assert ask(inside, "no token").status == 401
        assert ask(inside, egress.token, "unpriced").status == 403
    kinds = [entry.kind for entry in station.ledger().entries(run_id="billed")]
    assert sorted(set(kinds)) == ["egress", "metered", "reserved"]
    decisions = station.ledger().entries(run_id="billed", kind="egress")
    seen = [d for e in decisions for d in Decisions.model_validate(e.body).decisions if d.host == HOST and d.allowed]
    assert {(d.method, d.path) for d in seen} == {("POST", "/v1/messages")} and sum(d.count for d in seen) == 3
    assert {d.status for d in seen} <= {200, 401, 403, None}, "none where the answer came after it was written"


def test_secrets_and_providers_are_read_by_name_and_never_reach_the_asking_process(
    station: Station, model: FakeModel
) -> None:
    gateway = EgressGateway(root=station.home / "gateway")
    who = Passport(run_id="named", phase="edit", repository="/srv/git/shop.git", secrets=("SHOP_TOKEN",))
    with gateway.admit(who) as egress:
        assert egress is not None
        assert egress.environment["SHOP_TOKEN"].startswith("lockgate-secret-SHOP_TOKEN-")
        assert SECRET not in str(egress)
    with (
        pytest.raises(InputError, match="there is no secret OTHER"),
        gateway.admit(who.model_copy(update={"secrets": ("OTHER",)})),
    ):
        pass
    with (
        pytest.raises(InputError, match="there is no model provider 'nobody'"),
        gateway.admit(who.model_copy(update={"models": ("nobody/x",)})),
    ):
        pass
    with (
        pytest.raises(InputError, match="there is no workshop block 'nowhere'"),
        gateway.admit(who.model_copy(update={"workshop": "nowhere"})),
    ):
        pass


def test_a_gateway_that_is_killed_is_started_again_and_serves_on(station: Station, model: FakeModel) -> None:
    who = Passport(run_id="killed", phase="edit", repository="/srv/git/shop.git", models=("fake/*",), usd=1)
    with EgressGateway(root=station.home / "gateway").admit(who) as egress:
        assert egress is not None
        inside = SandboxedProgram(egress, 443)
        assert ask(inside, egress.token).status == 200
        os.kill(json.loads((station.home / "run" / "gateway.json").read_text())["pid"], signal.SIGKILL)
        until(lambda: ask(inside, egress.token).status == 200, 60)
    billed = station.entries("killed", "metered")
    assert len(billed) == 2
    assert station.ledger().verify() is None


def test_no_value_is_in_any_file_of_the_station(station: Station, model: FakeModel) -> None:
    """The blocks themselves are encrypted with a key that is not in the database."""
    for path in station.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert CANARY.encode() not in content and SECRET.encode() not in content, path
