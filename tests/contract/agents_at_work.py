"""Real agents for tests: pinned programs, a real sandbox, the real gateway, and a scripted model behind it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from blocks.agents.driver import Driver
from blocks.gateway.models.account import Account
from blocks.gateway.models.addon import Models
from blocks.gateway.models.provider import ModelProvider
from blocks.ledger.ledger import Ledger
from blocks.sandboxes.bubblewrap import Bubblewrap
from blocks.sandboxes.workspace import BubblewrapWorkspace
from blocks.toolchains.wheels import WheelToolchains
from domain.brief import Acceptance, Brief
from domain.egress import MODEL_HOSTS, Passport
from domain.errors import InputError
from domain.models import Metered, ModelPolicy
from domain.ports import Assignment, Egress
from domain.trees import Tree, TreeEntry
from kits.fake_model import FakeModel
from kits.product.gateway import Running

TREE: Tree = {"greeting.txt": TreeEntry(0o100644, b"hello\n")}
BRIEF = Brief(
    title="Greet the world",
    goal="The greeting names the world",
    repository="greeting.git",
    acceptance=Acceptance(command="grep world greeting.txt"),
)
KEY = "key-that-no-sandbox-sees"


class ModelGateway:
    """The gateway with its metering, in a thread. What `fake` is behind it is told for each piece of work."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.ledger = Ledger(url=SecretStr(f"sqlite:///{folder / 'ledger.db'}"))
        self._fake: FakeModel | None = None
        models = Models(self._provider, Account(self.ledger.record, self.ledger.entries), ModelPolicy)
        trust = folder / "no-authorities.pem"
        trust.touch()
        self._running = Running(folder / "gateway", self.ledger, trust, addons=(models,))

    def __enter__(self) -> "ModelGateway":
        self._running.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.stop()

    @contextlib.contextmanager
    def way_to(self, fake: FakeModel, agent: Driver, run_id: str) -> Iterator[Egress]:
        """A listener for that agent's models alone, all of which `fake` plays."""
        self._fake = fake
        models = (agent.model, *agent.helper_models)
        passport = Passport(run_id=run_id, phase="edit", agent=agent.name, models=models, usd=1_000)
        with self._running.block.admit(passport) as egress:
            assert egress
            yield egress
        self._fake = None

    def metered(self, run_id: str) -> list[Metered]:
        """What each model call of a run did cost."""
        return [Metered.model_validate(e.body) for e in self.ledger.entries(run_id=run_id, kind="metered")]

    def _provider(self, name: str) -> ModelProvider:
        if name not in ("anthropic", "openai") or self._fake is None:
            raise InputError(f"there is no provider block {name!r}")
        ca = str(self._fake.ca) if self._fake.ca else None
        return ModelProvider(api=name, base_url=self._fake.url, key=SecretStr(KEY), extra_ca=ca)


class Bench:
    """One agent, its program, and sandboxes to work in; all of them reach the one model."""

    def __init__(self, agent: Driver, toolchains: WheelToolchains, sandbox: Bubblewrap, egress: Egress) -> None:
        self.agent, self.egress, self._sandbox = agent, egress, sandbox
        self._mounts = agent.install(toolchains, sandbox)
        self.heard: list[str] = []

    @contextlib.contextmanager
    def workspace(self) -> Iterator[BubblewrapWorkspace]:
        """A fresh sandbox with TREE."""
        workspace = self._sandbox.open(TREE, label="test", mounts=self._mounts, egress=self.egress)
        try:
            yield workspace
        finally:
            workspace.close()

    def desk(self, prompt: str, **more: Any) -> Assignment:
        """A piece of work, as the steps give it."""
        provider = self.agent.model.partition("/")[0]
        url = f"https://{provider}.{MODEL_HOSTS}"
        given: dict[str, Any] = {"timeout_s": 120, "on_output": self.heard.append, **more}
        return Assignment(BRIEF, prompt, model=self.agent.model, model_url=url, token=self.egress.token, **given)


def until(seen: Callable[[], object], reason: str) -> Callable[[], str | None]:
    """A `stop` that ends the work once `seen` is true."""
    return lambda: reason if seen() else None
