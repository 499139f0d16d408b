"""PagerDuty by its Events API v2: the same incident has the same key, and is resolved when it ends.

https://developer.pagerduty.com/docs/events-api-v2/trigger-events/
"""

from typing import ClassVar

import httpx
from prefect.blocks.abstract import NotificationBlock
from pydantic import Field, SecretStr, field_validator

from blocks.base import THIS_MACHINE, LockgateBlock
from domain.notices import Message

TIMEOUT_S = 10.0


class PagerDuty(LockgateBlock, NotificationBlock):
    """A service of PagerDuty. Only 202 is an answer that it took the event; a redirect is followed nowhere."""

    _block_type_name: ClassVar[str] = "Lockgate PagerDuty"
    _block_type_slug: ClassVar[str] = "lockgate-pagerduty"
    _description: ClassVar[str] = "Opens incidents at PagerDuty, and resolves them when they end."

    resolves: ClassVar[bool] = True
    """It is told when an incident ends."""

    routing_key: SecretStr = Field(description="Integration key of its Events API v2")
    url: str = Field(
        "https://events.pagerduty.com/v2/enqueue", description="Where events go; EU: events.eu.pagerduty.com"
    )
    source: str = Field("lockgate", description="What PagerDuty shows as the source")

    @field_validator("url")
    @classmethod
    def _is_private(cls, url: str) -> str:
        place = httpx.URL(url)
        if place.scheme != "https" and not (place.scheme == "http" and place.host in THIS_MACHINE):
            raise ValueError("the routing key is sent there: give an https address")
        return url

    def notify(self, body: str, subject: str | None = None) -> None:  # type: ignore[override]  # the base has it async
        """An incident of its own. Raises httpx.HTTPError where it was not taken."""
        self.tell(Message(key="", subject=subject or "Lockgate", body=body))

    def tell(self, message: Message) -> None:
        """Open, or resolve, the incident that the key names. Safe to repeat: PagerDuty makes one of the same key."""
        event = {"routing_key": self.routing_key.get_secret_value()}
        whole: dict[str, object] = {**event, "event_action": "resolve" if message.is_over else "trigger"}
        if message.key:
            whole["dedup_key"] = message.key[:255]
        if not message.is_over:
            whole["payload"] = {
                "summary": " ".join(message.subject.split())[:1024],
                "source": self.source,
                "severity": "critical" if message.urgent else "warning",
                "custom_details": {"text": message.body[:20_000]},
            }
        answer = httpx.post(self.url, json=whole, timeout=TIMEOUT_S, follow_redirects=False)
        if answer.status_code != 202:
            raise httpx.HTTPError(f"PagerDuty answered {answer.status_code} and not 202")
