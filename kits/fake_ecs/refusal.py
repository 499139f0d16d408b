"""Errors of the API and of tasks."""


class EcsRefusal(Exception):
    """`code` as botocore knows it, with the message that a caller reads."""

    def __init__(self, message: str, code: str = "InvalidParameterException", status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class CannotStart(Exception):
    """The task cannot be started; the message is its stopped reason."""
