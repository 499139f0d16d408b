"""Values out of a model's answer: the JSON schema it is asked for, and the strict reading of what comes back."""

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from domain.errors import AgentError
from domain.value import Value

Answer = TypeVar("Answer", bound=Value)

MAX_ANSWER = 200_000
_MAX_TRIES = 1_000


def schema_of(kind: type[Value]) -> dict[str, Any]:
    """A JSON schema in which every field is required and no other is allowed, as strict structured output wants it.

    https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    made = kind.model_json_schema()
    fields = {name: _without_defaults(field) for name, field in made["properties"].items()}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _without_defaults(field: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in field.items() if key not in ("default", "title")}


def asked_in_words(kind: type[Value]) -> str:
    """The end of a prompt for a program that has no structured output."""
    schema = json.dumps(schema_of(kind), indent=1)
    return f"\n\nWhen you are done, answer with one JSON object of this schema and nothing else:\n{schema}\n"


def value_of(kind: type[Answer], answer: Any) -> Answer:
    """`answer`, an object or the text around one, as a value. Raises AgentError if it is none."""
    name = kind.__name__.lower()
    if isinstance(answer, str):
        answer = _object_in(answer[:MAX_ANSWER])
    if not isinstance(answer, dict):
        raise AgentError(f"the agent gave no {name}: its answer has no JSON object in it")
    try:
        return kind.model_validate_json(json.dumps(answer))
    except (ValidationError, RecursionError, ValueError) as err:
        raise AgentError(f"the agent's answer is not a {name}: {err}") from err


def _object_in(text: str) -> Any:
    """The last JSON object of a text with prose around it; None if there is none."""
    decoder, found, at = json.JSONDecoder(), None, 0
    for _ in range(_MAX_TRIES):
        at = text.find("{", at)
        if at < 0:
            break
        try:
            found, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            at += 1
    return found
