"""Which workshop's account a model call goes to."""

import asyncio
from types import SimpleNamespace

from mitmproxy.http import HTTPFlow
from mitmproxy.test.tflow import tflow

from blocks.gateway.exchange import exchange_of
from domain.egress import Passport
from station.gateway_blocks import GatewayBlocks


def test_a_model_call_goes_to_the_account_of_its_sandboxs_workshop() -> None:
    blocks, seen = GatewayBlocks(), []

    async def request(flow: HTTPFlow) -> None:
        seen.append(flow)

    blocks._models["shop"] = SimpleNamespace(request=request)  # type: ignore[assignment]
    asked, of_another, unknown = tflow(), tflow(), tflow()
    exchange_of(asked).passport = Passport(run_id="run", workshop="shop", phase="edit")
    exchange_of(of_another).passport = Passport(run_id="run", workshop="other", phase="edit")
    for flow in (asked, of_another, unknown):
        asyncio.run(blocks.request(flow))
    assert seen == [asked]
