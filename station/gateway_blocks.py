"""What the gateway's process has of this station: ledgers, secrets, providers and policies, by workshop."""

import threading

from mitmproxy.http import HTTPFlow
from mitmproxy.tls import TlsData

from blocks.gateway.exchange import exchange_of
from blocks.gateway.models.account import Account
from blocks.gateway.models.addon import Models
from blocks.gateway.models.provider import ModelProvider
from blocks.workshop import Workshop
from domain.egress import Passport
from domain.errors import GatewayError, InputError
from domain.models import ModelPolicy
from domain.value import Value


class GatewayBlocks:
    """The gateway's collaborators, and the addon that takes each model call to its workshop's account.

    Blocks are read again whenever a sandbox is let in, so that a new key or policy holds from then on.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._workshops: dict[str, Workshop] = {}
        self._of_run: dict[str, str] = {}
        self._models: dict[str, Models] = {}
        self._providers: dict[str, ModelProvider] = {}

    def admitted(self, passport: Passport) -> None:
        """Read what a sandbox will need. Raises InputError for what nobody set up."""
        try:
            shop = Workshop.saved(passport.workshop)
        except ValueError as err:
            raise InputError(f"there is no workshop block {passport.workshop!r}") from err
        named = {model.partition("/")[0] for model in passport.models}
        providers = {name: _provider(name) for name in named if name.isascii() and not set(name) & set("*?")}
        with self._lock:
            self._workshops[passport.workshop] = shop
            self._of_run[passport.run_id] = passport.workshop
            self._providers |= providers
            if passport.models and passport.workshop not in self._models:
                account = Account(self.record, shop.ledger.entries)
                self._models[passport.workshop] = Models(
                    self.provider, account, lambda: self._policy(passport.workshop)
                )

    def record(self, run_id: str, kind: str, key: str, value: Value, token: int | None = None) -> Value:
        """Into the ledger of the run's workshop; with `token`, as what the process with that token does."""
        if run_id not in self._of_run:
            raise GatewayError(f"run {run_id} has no sandbox at this gateway")
        return self._workshops[self._of_run[run_id]].ledger.record(run_id, kind, key, value, token)

    def provider(self, name: str) -> ModelProvider:
        """As it was read last. Raises InputError for one that nobody set up."""
        if name not in self._providers:
            self._providers[name] = _provider(name)
        return self._providers[name]

    def _policy(self, workshop: str) -> ModelPolicy:
        return self._workshops[workshop].models

    # ── model calls, each to its workshop's account ──

    async def request(self, flow: HTTPFlow) -> None:
        if models := self._for(flow):
            await models.request(flow)

    def responseheaders(self, flow: HTTPFlow) -> None:
        if models := self._for(flow):
            models.responseheaders(flow)

    async def response(self, flow: HTTPFlow) -> None:
        if models := self._for(flow):
            await models.response(flow)

    async def error(self, flow: HTTPFlow) -> None:
        if models := self._for(flow):
            await models.error(flow)

    def tls_start_server(self, data: TlsData) -> None:
        for models in list(self._models.values()):
            models.tls_start_server(data)

    def _for(self, flow: HTTPFlow) -> Models | None:
        passport = exchange_of(flow).passport
        return self._models.get(passport.workshop) if passport else None


def _provider(name: str) -> ModelProvider:
    try:
        return ModelProvider.saved(name)
    except ValueError as err:
        raise InputError(f"there is no model provider {name!r}: make the block lockgate-provider/{name}") from err
