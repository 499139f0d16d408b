"""Models: which may be called, what they may cost, and what they did cost."""

from enum import StrEnum

from pydantic import Field

from domain.brief import Brief
from domain.egress import Phase
from domain.errors import InputError
from domain.paths import matches
from domain.value import Value


class Api(StrEnum):
    """The protocol that a provider speaks."""

    ANTHROPIC = "anthropic"
    OPENAI = "openai"
    GEMINI = "gemini"


class Price(Value):
    """US dollars for a million tokens."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cache_read: float | None = Field(None, ge=0, description="None: as input")
    cache_write: float | None = Field(None, ge=0, description="For five minutes. None: as the dearest")
    cache_write_1h: float | None = Field(None, ge=0, description="For an hour. None: as the dearest")

    @property
    def dearest(self) -> float:
        """What input costs of a kind that has no price here: twice plain input, as an hour of Anthropic's cache does,
        or more. https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing"""
        return max(2 * self.input, self.cache_read or 0, self.cache_write or 0, self.cache_write_1h or 0)


class ModelPolicy(Value):
    """The team's word on models. Names are provider/model, such as anthropic/claude-sonnet-5; globs are allowed."""

    plan: tuple[str, ...] = Field(("**",), description="Models for the plan step")
    edit: tuple[str, ...] = Field(("**",), description="Models for the edit step")
    review: tuple[str, ...] = Field(("**",), description="Models for an agent that reviews")
    small_brief_lines: int = Field(0, ge=0, description="Briefs of at most so many changed lines are small; 0: none is")
    small_brief_model: str | None = Field(
        None, description="What agents of small briefs use instead of their own model"
    )
    prices: dict[str, Price] = Field({}, description="For models that the price table lacks, or at your own price")
    max_output_tokens: int = Field(32_000, gt=0, description="Set on calls that name none: the worst case has to end")
    usd_per_task: float | None = Field(None, ge=0, description="A cap on every task, whatever its brief allows")
    usd_per_day: float | None = Field(None, ge=0, description="All tasks together, from midnight UTC")
    usd_per_environment_day: dict[str, float] = Field({}, description="Environment → the same for its tasks alone")

    def allowed(self, phase: Phase) -> tuple[str, ...]:
        """Globs of the models that a step may call."""
        return {"plan": self.plan, "edit": self.edit, "review": self.review}.get(phase, ())

    def is_small(self, brief: Brief) -> bool:
        """Whether the brief's scope is one that the cheaper model is for."""
        return brief.scope.max_changed_lines <= self.small_brief_lines


def model_for(policy: ModelPolicy, agent_model: str, step: Phase, brief: Brief) -> str:
    """The provider/model that an agent uses in a step. Raises InputError if the policy does not allow it there."""
    small = policy.small_brief_model if policy.is_small(brief) else None
    model = small or agent_model
    if not matches(model, policy.allowed(step)):
        whose = "small_brief_model" if small else "the agent's model"
        allowed = ", ".join(policy.allowed(step)) or "none"
        raise InputError(
            f"{whose} {model!r} is not allowed for the {step} step (allowed: {allowed}): "
            "choose another, or let a person change the model policy"
        )
    return model


class TokenUsage(Value):
    """What one call used, as the provider's own answer says. `input` has the cached ones in it."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0


class Reserved(Value):
    """The worst case of one model call, on record before the call is let through."""

    run_id: str
    call: str
    step: Phase
    attempt: int
    agent: str | None
    reference: str = Field("", description="The agent as kind/name, whose week it counts in")
    environment: str | None
    model: str = Field(description="provider/model")
    usd: float


class Metered(Value):
    """What one model call did cost. A call without one (the gateway was killed) counts as its worst case."""

    run_id: str
    call: str
    step: Phase
    attempt: int
    agent: str | None
    reference: str = Field("", description="The agent as kind/name, whose week it counts in")
    environment: str | None
    model: str
    tokens: TokenUsage = TokenUsage()
    usd: float
    status: int | None = Field(None, description="What the provider answered; None: the connection broke")
    note: str = Field("", description="Where the usage could not be read: what was charged instead")
