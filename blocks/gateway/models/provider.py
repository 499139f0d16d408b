"""Where models are: one block a provider, with the one key that no sandbox sees."""

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from blocks.base import LockgateBlock
from blocks.gateway.secret import SHORTEST
from domain.models import Api

BASE_URLS = {
    Api.ANTHROPIC: "https://api.anthropic.com",
    Api.OPENAI: "https://api.openai.com",
    Api.GEMINI: "https://generativelanguage.googleapis.com",
}
PRICE_TABLES = {Api.ANTHROPIC: "anthropic", Api.OPENAI: "openai", Api.GEMINI: "google"}
"""What genai-prices calls the makers of the APIs."""


class ProviderAddress:
    """A provider's address, taken apart. `path` goes before the path of every call."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.scheme = parts.scheme
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if parts.scheme == "https" else 80)
        self.path = parts.path.rstrip("/")


class ModelProvider(LockgateBlock):
    """A model provider. Sandboxes reach it at https://NAME.models.lockgate.internal and never see its key."""

    _block_type_name: ClassVar[str] = "Lockgate model provider"
    _block_type_slug: ClassVar[str] = "lockgate-provider"
    _description: ClassVar[str] = "Where models are called, and the key for it, which stays in the gateway."

    api: Api = Field(description="The protocol that it speaks: anthropic, openai (Responses and Chat) or gemini")
    base_url: str = Field("", description="Address without the version, such as http://gpu:8000; empty: the API's own")
    key: SecretStr = Field(SecretStr(""), description="The API key; empty for a server that wants none")
    headers: dict[str, SecretStr] = Field({}, description="Further headers that it wants, such as an organization's")
    prices: str = Field("", description="Its name in the table of genai-prices; empty: the API's maker")
    output_limit_field: str = Field(
        "max_completion_tokens", description="What its Chat Completions call the limit; max_tokens for older servers"
    )
    extra_ca: str | None = Field(
        None, description="PEM file of the certificates to trust for it, instead of public ones"
    )

    @field_validator("base_url")
    @classmethod
    def _is_an_address(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError(f"base_url {url!r} is not http(s)://HOST[:PORT][/PATH]; keys go into `key`")
        if parts.path.rstrip("/").endswith(("/v1", "/v1beta")):
            raise ValueError(f"base_url {url!r} has the version in it: leave /v1 off, clients send it")
        return url

    @field_validator("key", "headers")
    @classmethod
    def _is_on_one_line(cls, value: SecretStr | dict[str, SecretStr]) -> SecretStr | dict[str, SecretStr]:
        for each in value.values() if isinstance(value, dict) else (value,):
            secret = each.get_secret_value()
            if not secret.isascii() or (secret and not secret.isprintable()):
                raise ValueError("a key must be printable ASCII characters on one line: was it pasted with a line end?")
            if secret and len(secret) < SHORTEST:
                raise ValueError(
                    f"a key must have at least {SHORTEST} characters, since it is redacted from all that comes back; "
                    "leave it empty for a server that wants none"
                )
        return value

    @field_validator("output_limit_field")
    @classmethod
    def _is_a_known_limit(cls, name: str) -> str:
        if name not in ("max_completion_tokens", "max_tokens"):
            raise ValueError("output_limit_field is max_completion_tokens or max_tokens")
        return name

    @property
    def upstream(self) -> ProviderAddress:
        return ProviderAddress(self.base_url or BASE_URLS[self.api])

    @property
    def price_table(self) -> str:
        return self.prices or PRICE_TABLES[self.api]

    @property
    def credentials(self) -> dict[str, str]:
        """The headers that carry the key, as its API wants them, and those that were set beside."""
        key = self.key.get_secret_value()
        own = {name.lower(): value.get_secret_value() for name, value in self.headers.items()}
        if not key:
            return own
        match self.api:
            case Api.ANTHROPIC:
                return {"x-api-key": key, **own}
            case Api.OPENAI:
                return {"authorization": f"Bearer {key}", **own}
            case Api.GEMINI:
                return {"x-goog-api-key": key, **own}

    @property
    def secret_bytes(self) -> tuple[bytes, ...]:
        """What must not be seen in anything that goes back to a sandbox."""
        secrets = (self.key.get_secret_value(), *(value.get_secret_value() for value in self.headers.values()))
        return tuple(secret.encode() for secret in secrets if secret)
