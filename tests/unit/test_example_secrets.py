"""What a vendor's documentation prints is no secret; what only holds such a mark is one."""

import pytest

from blocks.scanners.examples import is_example


@pytest.mark.parametrize(
    ("value", "is_one"),
    [
        ("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", True),
        ("sk_live_xxxxxxxxxxxxxxxx", True),
        ("https://hooks.example/services/T0/B0/XXXXXXXXXXXXXXXXXXXXXXXX", True),
        ("postgres://app:real@db-xxxxxxxxxxxx.example/prod", False),
        ("postgres://app:real@db/EXAMPLE", False),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n************", False),
        ("-----BEGIN PRIVATE KEY-----\nComment: xxxxxxxxxxxx\nMIIE\n-----END PRIVATE KEY-----", False),
    ],
)
def test_a_mark_counts_where_nothing_follows_it(value: str, is_one: bool) -> None:
    assert is_example(value.encode()) is is_one
