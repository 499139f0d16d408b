"""What `lockgate doctor` says of the providers that agents call."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from blocks.gateway.models.pricing import rates
from blocks.gateway.models.provider import ModelProvider
from domain.errors import InputError
from domain.models import ModelPolicy


def checks(
    models: Iterable[str], provider: Callable[[str], ModelProvider], policy: ModelPolicy
) -> Iterator[tuple[str, str | None]]:
    """(what, problem with its fix; None if it works), for each provider/model that the agents name. Calls no model.

    `provider(name)` raises InputError for a provider that nobody set up.
    """
    for model in sorted(set(models)):
        yield f"model {model}", _problem(model, provider, policy)


def _problem(model: str, provider: Callable[[str], ModelProvider], policy: ModelPolicy) -> str | None:
    name, _, inner = model.partition("/")
    if not inner:
        return "is not provider/model: name the provider block before the model"
    try:
        block = provider(name)
    except InputError as err:
        return str(err)
    if not block.key.get_secret_value() and not block.base_url:
        return f"provider block {name!r} has no key: set it in the Prefect UI under Blocks"
    if block.extra_ca is not None and not Path(block.extra_ca).is_file():
        return f"provider block {name!r} names extra_ca {block.extra_ca}, which is no file on this machine"
    if rates(name, block, inner, policy) is None:
        return "has no known price, so the gateway refuses it: write one into the model policy, under prices"
    return None
