"""E-mail by SMTP."""

import hashlib
import smtplib
import ssl
from email.message import EmailMessage
from typing import ClassVar, Literal

from prefect.blocks.abstract import NotificationBlock
from pydantic import Field, SecretStr

from blocks.base import LockgateBlock
from domain.notices import Message

TIMEOUT_S = 15.0


class Email(LockgateBlock, NotificationBlock):
    """Sends to some people; a server that refuses one of them has refused the message."""

    _block_type_name: ClassVar[str] = "Lockgate e-mail"
    _block_type_slug: ClassVar[str] = "lockgate-email"
    _description: ClassVar[str] = "Tells people by e-mail what waits for them."

    host: str = Field(description="SMTP server")
    port: int = Field(587, ge=1, le=65535, description="Its port")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="none: only for a server on this machine, or one that is trusted on its network"
    )
    user: str | None = Field(None, description="Signs in as, if the server wants it")
    password: SecretStr | None = Field(None, description="Its password; never sent where `security` is none")
    sender: str = Field(description="From which address")
    to: tuple[str, ...] = Field(min_length=1, description="To which addresses")

    def notify(self, body: str, subject: str | None = None) -> None:  # type: ignore[override]  # the base has it async
        """One message. Raises OSError or SMTPException if the server did not take it for everybody."""
        self.tell(Message(key="", subject=subject or "Lockgate", body=body))

    def tell(self, message: Message) -> None:
        """The same. Messages of one incident name it, so mail programs show them together, and the same one twice can
        be told."""
        mail = EmailMessage()
        mail["Subject"] = _line(message.subject)
        mail["From"], mail["To"] = self.sender, ", ".join(self.to)
        if message.key:
            mail["X-Lockgate-Key"] = _line(message.key)
            thread = f"<{hashlib.sha256(_line(message.key).encode()).hexdigest()[:32]}@lockgate>"
            mail["References"] = thread
        mail.set_content(message.body.encode("utf-8", "replace").decode())
        with self._connected() as server:
            refused = server.send_message(mail)
            if refused:
                raise smtplib.SMTPRecipientsRefused(refused)

    def _connected(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        if self.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        try:
            if self.security == "starttls":
                server.starttls(context=context)
            if self.user and self.password and self.security != "none":
                server.login(self.user, self.password.get_secret_value())
        except BaseException:
            server.close()
            raise
        return server


def _line(text: str) -> str:
    """For a header: one line, so nothing in it begins a header of its own."""
    return " ".join(text.encode("utf-8", "replace").decode().split())[:300]
