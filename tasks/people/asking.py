"""Asks a person by a form and suspends the run meanwhile. An answer that is there is taken without asking again.

Prefect keeps the answer to a suspended run as an input of the run, but forgets that it asked when the run is retried
after a crash, and would then suspend it once more. So the answer is looked for first, and what an interrupted question
left behind is cleared before the next one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from prefect import get_run_logger
from prefect.exceptions import PrefectException
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput, keyset_from_base_key
from prefect.input.actions import delete_flow_run_input, read_flow_run_input
from pydantic import ValidationError

from blocks.ledger.tokens import Tokens
from blocks.workshop import workshop
from domain.access import START, answer_digest, start_digest
from domain.errors import LockgateError
from domain.known_by import known_as

Form = TypeVar("Form", bound=RunInput)

LONG_S = 365 * 24 * 3600
"""Prefect fails a run whose wait times out, so it waits long; housekeeping declines after `review_days`."""


def answered(form: type[Form], text: str, key: str, **prefilled: str) -> Form | None:
    """The person's answer. None if the run was started again without a usable one: ask under another key.

    Raises PrefectException if the server does not let the run be suspended: it may call it crashed, as the process
    before this one was. The run then crashes, and is resumed.
    """
    keyset = keyset_from_base_key(f"suspended-{key}")
    try:
        if (content := read_flow_run_input(keyset["response"])) is not None:
            return form.model_validate(content)
        for part in (keyset["schema"], keyset["description"]):
            _forget(part)
        shown = form.with_initial_data(description=text, **prefilled)
        return suspend_flow_run(wait_for_input=shown, key=key, timeout=LONG_S)
    except (ValidationError, PrefectException, TypeError, ValueError) as err:
        get_run_logger().warning("the run went on without a usable answer (%s); asking again", err)
        return None
    except RuntimeError as err:
        raise PrefectException(f"the question could not be asked: {err}") from err


class KnownBy(NamedTuple):
    """How a name is known, as the fields of what is put on record."""

    signed_in: bool
    way: str

    def __str__(self) -> str:
        return known_as(self.signed_in, self.way)


A_CLAIM = KnownBy(signed_in=False, way="")


def known_by(run_id: str, key: str, answer: RunInput) -> KnownBy:
    """Whether the door saw exactly this answer to this question come in with a token of the name that it gives, and how
    that was shown there.

    What is given past the door, with the server's own credential, is a claim. Tokens are in the ledger of `default`.
    """
    tokens = Tokens(workshop("default").ledger.url.get_secret_value())
    said = {name: str(getattr(answer, name)) for name in type(answer).model_fields}
    signed = tokens.signed(run_id, key, answer_digest(said))  # the door puts the token's own name in
    return KnownBy(signed_in=True, way=signed.way) if signed else A_CLAIM


def has_signed(run_id: str, begins: str, name: str) -> bool:
    """Whether an answer to a question whose key begins so came in at the door with the token of this name."""
    return Tokens(workshop("default").ledger.url.get_secret_value()).has_signed(run_id, begins, name)


def start_known_by(run_id: str, flow: str, by: str, parameters: Mapping[str, Any]) -> KnownBy:
    """The same for a start. Never raises: what is to be done does not wait for a name."""
    if not by:
        return A_CLAIM
    try:
        tokens = Tokens(workshop("default").ledger.url.get_secret_value())
        signed = tokens.signed(run_id, START, start_digest(flow, by, parameters))
        return KnownBy(signed_in=True, way=signed.way) if signed and signed.by == by else A_CLAIM
    except LockgateError as err:
        get_run_logger().warning("whether %s is signed in cannot be looked up, so the name is a claim: %s", by, err)
        return A_CLAIM


def _forget(key: str) -> None:
    if read_flow_run_input(key) is not None:
        delete_flow_run_input(key)
