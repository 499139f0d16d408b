"""Egress: what may leave a sandbox, who it is that asks, and which secret goes where."""

from typing import Annotated, Literal

from pydantic import Field

from domain.value import Value

SecretName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,63}$", description="Such as NPM_TOKEN")]
Phase = Literal["setup", "plan", "edit", "review", "test", "serve"]
"""What a sandbox is open for. `test` and `setup` run no agent and reach no model; `serve` is a release."""


MODEL_HOSTS = "models.lockgate.internal"
"""A sandbox reaches provider NAME at https://NAME.models.lockgate.internal, whatever its real address is."""


class EgressRule(Value):
    """One line of an allowlist. What no line allows is denied."""

    hosts: tuple[str, ...] = Field(description="Names, or *.name for every name below it; never addresses")
    methods: tuple[str, ...] = Field(("GET", "HEAD"), description="HTTP methods, in capitals")
    paths: tuple[str, ...] = Field(("/**",), description="Globs of paths, without the query; ** crosses slashes")
    scheme: Literal["https", "http"] = Field("https", description="https unless you must")
    port: int | None = Field(None, ge=1, le=65535, description="None: the scheme's own")
    private: bool = Field(False, description="The name may resolve to an address of your own network")


class SecretScope(Value):
    """Where a secret may go. Sent anywhere else, its placeholder stops the request."""

    name: SecretName
    hosts: tuple[str, ...] = Field(min_length=1, description="Names, or *.name for every name below it")
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    paths: tuple[str, ...] = ("/**",)
    header: str | None = Field("authorization", description="The one header it may stand in, Basic included")
    field: str | None = Field(None, description="Or the one top-level field of a JSON or form body")
    phases: tuple[Phase, ...] = Field(("edit",), description="What a sandbox must be open for to use it")
    repositories: tuple[str, ...] = Field(("**",), description="Globs of repositories that may use it")


class Passport(Value):
    """Who speaks through one listener, and all that it may do. Made by the platform, kept by the gateway."""

    run_id: str
    phase: Phase
    attempt: int = 0
    agent: str | None = None
    reference: str = Field("", description="The same agent as kind/name")
    repository: str = ""
    environment: str | None = None
    workshop: str = "default"
    rules: tuple[EgressRule, ...] = ()
    secrets: tuple[SecretName, ...] = Field((), description="Names of secrets that it gets placeholders for")
    models: tuple[str, ...] = Field((), description="provider/model that it may call; globs")
    token: int | None = Field(
        None, description="Of the process that runs the run: no model is called for an earlier one's sandbox"
    )
    usd: float = Field(0.0, ge=0, description="What the whole run may spend on models, all its listeners together")

    usd_per_week: float | None = Field(None, ge=0, description="What the agent may spend in a week, in all its runs")

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing that it may do: no gateway is needed then."""
        return not (self.rules or self.secrets or self.models)


class EgressDecision(Value):
    """One request at the gateway, for the audit. Names, never values; paths without queries."""

    run_id: str
    phase: Phase
    attempt: int
    host: str
    method: str
    path: str
    allowed: bool
    reason: str = Field(description="The rule that let it through, or why it was denied")
    secrets: tuple[str, ...] = Field((), description="Names of secrets that were put in")
    status: int | None = Field(None, description="What the server answered, where that was before this was written")
    count: int = Field(1, description="Equal decisions within one flush, together")


class Decisions(Value):
    """What one listener decided since it last told the ledger."""

    decisions: tuple[EgressDecision, ...]
