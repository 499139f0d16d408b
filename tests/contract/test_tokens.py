"""Tokens of the front door, on SQLite and on a real PostgreSQL server."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from blocks.ledger.database import transaction
from blocks.ledger.tokens import Tokens
from domain.access import Role
from domain.errors import InputError
from tests.postgres import new_database

SOON = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(params=["sqlite", "postgresql"])
def tokens(request: pytest.FixtureRequest, tmp_path: Path) -> Tokens:
    if request.param == "sqlite":
        return Tokens(f"sqlite:///{tmp_path}/ledger.db")
    return Tokens(new_database(request.getfixturevalue("postgres_url")))


def test_a_token_is_known_by_its_value_which_is_kept_nowhere(tokens: Tokens) -> None:
    made, value = tokens.add("ann", {Role.REVIEW, Role.SUBMIT}, SOON)
    assert re.fullmatch(r"lockgate_[A-Za-z0-9_-]{43}", value)
    assert tokens.of(value) == made == tokens.all()[0]
    assert made.roles == (Role.SUBMIT, Role.REVIEW)
    assert made.expires_at == SOON
    for guess in ("", "ann", value[:-1], value.lower(), f"{value} ", "lockgate_", "\ud800", "é"):
        assert tokens.of(guess) is None, guess
    with transaction(tokens.url, write=False) as session:
        rows = session.connection().execute(text("SELECT * FROM lockgate_tokens")).all()
    assert value.removeprefix("lockgate_") not in str(rows)
    assert tokens.add("bob", {Role.ANSWER})[1] != value


def test_what_is_revoked_or_expired_opens_nothing_and_its_name_is_free_again(tokens: Tokens) -> None:
    _, value = tokens.add("Ann", {Role.ANSWER})
    for taken in ("Ann", "ann", "ANN"):
        with pytest.raises(InputError, match="has a token already"):
            tokens.add(taken, {Role.ANSWER})
    tokens.revoke("ann")
    gone = tokens.of(value)
    assert gone is not None and "was revoked" in str(gone.why_not(datetime.now(UTC)))
    with pytest.raises(InputError, match="nobody called 'ann' has a token"):
        tokens.revoke("ann")
    made, _ = tokens.add("ann", {Role.ANSWER}, SOON)
    assert made.why_not(datetime.now(UTC)) is None
    assert "expired" in str(made.why_not(SOON))
    assert [token.name for token in tokens.all()] == ["Ann", "ann"], "rows stay: they tell who it was"


def test_no_token_has_a_name_of_nobody_or_no_role(tokens: Tokens) -> None:
    for name in ("", " ann", "-ann", "policy", "Policy", "lockgate housekeeping", "a" * 64, "ann\n", "@ann", "a/b"):
        with pytest.raises(InputError):
            tokens.add(name, {Role.REVIEW})
    with pytest.raises(InputError, match="without a role"):
        tokens.add("ann", ())
    with pytest.raises(InputError, match="expired already"):
        tokens.add("ann", {Role.REVIEW}, datetime.now(UTC))
    assert tokens.all() == ()


def test_an_answer_is_somebodys_only_in_the_very_words_to_the_very_question(tokens: Tokens) -> None:
    ann, bob = tokens.add("ann", {Role.REVIEW})[0], tokens.add("bob", {Role.REVIEW})[0]
    tokens.sign("run", "review-1", "digest", ann)
    tokens.sign("run", "review-1", "digest", bob)
    assert tokens.signed("run", "review-1", "digest") == ("ann", "token")
    assert tokens.has_signed("run", "review-", "Ann")
    for run, begins, name in (("run", "review-", "bob"), ("run", "window-", "ann"), ("walk", "review-", "ann")):
        assert not tokens.has_signed(run, begins, name)
    for other in (("walk", "review-1", "digest"), ("run", "review-2", "digest"), ("run", "review-1", "other")):
        assert tokens.signed(*other) is None
