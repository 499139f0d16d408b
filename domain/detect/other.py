"""Any other language, and services that tests need."""

from domain.detect.reading import Detected, View


def detect(view: View) -> Detected | None:
    """Settings of a project in another language; None where none is known."""
    return None
