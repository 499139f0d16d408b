"""A plain mitmproxy with the addon under test, as the gateway has it: one listener, one passport, one token."""

import asyncio
import multiprocessing
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
from mitmproxy.http import HTTPFlow
from mitmproxy.options import Options
from mitmproxy.tools.dump import DumpMaster
from pydantic import SecretStr

from blocks.gateway.exchange import exchange_of
from blocks.gateway.models.account import Account
from blocks.gateway.models.addon import Models
from blocks.gateway.models.provider import ModelProvider
from blocks.ledger.ledger import Ledger
from domain.egress import Passport
from domain.errors import InputError
from domain.models import Api, Metered, ModelPolicy, Price, Reserved
from domain.value import Value

TOKEN = "run-token-of-this-sandbox"
KEY = "key-that-no-sandbox-sees"
PRICE = Price(input=3, output=15, cache_read=0.3, cache_write=3.75)
PASSPORT = Passport(
    run_id="run-1", phase="edit", attempt=2, agent="codex/one", environment="production", models=("*/**",), usd=5
)
POLICY = ModelPolicy(
    prices={f"{api}/fake": PRICE for api in Api},
    max_output_tokens=1000,
)


class Stamp:
    """What the listener does before: whose request it is."""

    def __init__(self, passport: Passport) -> None:
        self.passport = passport

    def requestheaders(self, flow: HTTPFlow) -> None:
        exchange = exchange_of(flow)
        exchange.passport, exchange.token = self.passport, TOKEN


class Redacted:
    """What was given to be redacted, and that another addon's stream is not pushed aside."""

    def __init__(self) -> None:
        self.redact: list[list[bytes]] = []
        self.streamed = 0

    def responseheaders(self, flow: HTTPFlow) -> None:
        def count(chunk: bytes) -> bytes:
            self.streamed += len(chunk)
            return chunk

        if flow.response is not None and "content-encoding" not in flow.response.headers:
            flow.response.stream = count

    def response(self, flow: HTTPFlow) -> None:
        self.redact.append(exchange_of(flow).redact)


class Proxy:
    """The proxy in a thread of its own. `url` is its address, `client` one that goes through it."""

    def __init__(self, addons: list[Any], confdir: Path) -> None:
        self.confdir = confdir
        self._addons, self._ready = addons, threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        options = Options(listen_host="127.0.0.1", listen_port=0, confdir=str(self.confdir))
        self._master = DumpMaster(options, with_termlog=False, with_dumper=False)
        self._master.options.update(connection_strategy="lazy")
        self._master.addons.add(*self._addons, self)
        await self._master.run()

    def running(self) -> None:
        self.port = self._master.addons.get("proxyserver").listen_addrs()[0][1]
        self._ready.set()

    def __enter__(self) -> "Proxy":
        self._thread.start()
        assert self._ready.wait(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._master.shutdown)
        self._thread.join(30)

    def client(self, **more: Any) -> httpx.Client:
        return client_of(self.port, self.confdir, **more)


def client_of(port: int, confdir: Path, **more: Any) -> httpx.Client:
    trust = ssl.create_default_context(cafile=confdir / "mitmproxy-ca-cert.pem")
    return httpx.Client(proxy=f"http://127.0.0.1:{port}", verify=trust, timeout=60, trust_env=False, **more)


def providers(url: str, key: str = KEY, extra_ca: Path | None = None, **more: Any) -> dict[str, ModelProvider]:
    """One provider for each API, all of them at `url`; named as their API."""
    return {
        api: ModelProvider(
            api=api, base_url=url, key=SecretStr(key), extra_ca=str(extra_ca) if extra_ca else None, **more
        )
        for api in Api
    }


class Bench:
    """A ledger, an account on it, and the proxy before a fake model."""

    def __init__(self, home: Path, blocks: dict[str, ModelProvider], passport: Passport, policy: ModelPolicy) -> None:
        self.ledger = Ledger(url=SecretStr(f"sqlite:///{home / 'ledger.db'}"))
        self._recorded = threading.Condition()
        self.account = Account(self._record, self.ledger.entries)
        self.policy = policy
        self.redacted = Redacted()

        def provider(name: str) -> ModelProvider:
            if name not in blocks:
                raise InputError(f"there is no provider block {name!r}")
            return blocks[name]

        self.models = Models(provider, self.account, lambda: self.policy)
        self.stamp = Stamp(passport)
        self.proxy = Proxy([self.stamp, self.redacted, self.models], home / "mitmproxy")

    def _record(self, run_id: str, kind: str, key: str, value: Value) -> Value:
        with self._recorded:
            self._recorded.notify_all()
            return self.ledger.record(run_id, kind, key, value)

    def wait_for_metered(self, count: int) -> list[Metered]:
        """The metered lines, once there are so many: a broken answer ends for its client before its line is written."""
        with self._recorded:
            assert self._recorded.wait_for(lambda: len(self.metered) >= count, 60)
            return self.metered

    @property
    def reserved(self) -> list[Reserved]:
        return [Reserved.model_validate(entry.body) for entry in self.ledger.entries(kind="reserved")]

    @property
    def metered(self) -> list[Metered]:
        return [Metered.model_validate(entry.body) for entry in self.ledger.entries(kind="metered")]


@contextmanager
def bench(
    home: Path, blocks: dict[str, ModelProvider], passport: Passport = PASSPORT, policy: ModelPolicy = POLICY
) -> Iterator[Bench]:
    made = Bench(home, blocks, passport, policy)
    with made.proxy:
        yield made


def gateway_process(home: Path, url: str, told: Connection) -> None:
    """A gateway in a process that can be killed; says its port and stays."""
    with bench(home, providers(url)) as made:
        told.send(made.proxy.port)
        threading.Event().wait()


@contextmanager
def killable_gateway(home: Path, url: str) -> Iterator[tuple[multiprocessing.process.BaseProcess, int]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=gateway_process, args=(home, url, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(60)
        yield process, ours.recv()
    finally:
        process.kill()
        process.join()
