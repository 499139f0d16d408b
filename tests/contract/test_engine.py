"""The engine over the embedded target: shares, verdicts, locks, and what is on record. Real releases, real traffic."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from blocks.ledger.ledger import Ledger
from blocks.targets.machine.process import ProcessTarget
from domain.access import Holding
from domain.errors import Fenced, Held, Inconclusive, LedgerError, TargetError
from domain.rollout import Outlook, Rollout, SharePassed
from domain.task import Release, RolledBack
from domain.trees import TreeEntry
from tasks.releasing import breaker, lease
from tests.contract import test_target
from tests.contract.shipping import RUN, bake, ledger_of, release, rollback, ship_of
from tests.contract.test_target import ONE, SERVICE, THREE, TWO, Hammer, ask, running

build, target, toolchain = test_target.build, test_target.target, test_target.toolchain

STEPS = Rollout(shares=(10, 50), share_s=0.6, bake_s=0.5, interval_s=0.05, hold_s=30, latency_floor_ms=20_000)
"""Without a word on who is slow, but where that is what a test asks: much runs on this machine."""


@pytest.fixture
def shop(target: ProcessTarget) -> ProcessTarget:
    return target.model_copy(update={"rollout": STEPS})


def with_service(made: Any, old: str, new: str) -> Any:
    """The build with a service that is another."""
    assert old in SERVICE
    made.tree["service.py"] = TreeEntry(0o100644, SERVICE.replace(old, new).encode())
    return made


THIRD_FAILS = (
    'elif self.path == "/slow":',
    'elif self.path == "/" and time.monotonic_ns() // 1000 % 10 < 3:\n'
    "            code = 500\n"
    '        elif self.path == "/slow":',
)
SLOW = (
    'elif self.path == "/slow":',
    'elif self.path == "/":\n            time.sleep(1)\n        elif self.path == "/slow":',
)


def test_a_release_gets_the_traffic_share_by_share_and_no_request_fails(shop: ProcessTarget, build: Any) -> None:
    release(shop, ONE, None, build())
    with Hammer(shop) as users:
        made = release(shop, TWO, ONE, build())
    words = " | ".join(made.timeline)
    assert made.problem is None
    assert words.index("10 % of the traffic go") < words.index("well with 10 %") < words.index("50 % of the traffic go")
    assert words.index("well with 50 %") < words.index("the traffic goes to")
    assert users.failures == []
    passed = [SharePassed.model_validate(e.body) for e in ledger_of(shop).entries(run_id=RUN, kind="share-passed")]
    assert [one.share for one in passed] == [10, 50]
    tenth = passed[0].new.requests / (passed[0].new.requests + passed[0].old.requests)  # type: ignore[union-attr]
    assert 0.05 < tenth < 0.2
    assert shop.pointed() == shop.current() == TWO


def test_a_release_that_answers_with_errors_loses_its_share_and_few_requests_are_harmed(
    shop: ProcessTarget, build: Any
) -> None:
    release(shop, ONE, None, build())
    bad = with_service(build(), *THIRD_FAILS)
    with Hammer(shop, paths=("/", "/", "/", "/")) as users:
        made = release(shop, TWO, ONE, bad)
        asked = users.asked
    assert re.match("sick with [15]0 % of the traffic", made.problem or ""), made.problem
    assert "HTTP 5xx" in (made.problem or "")
    assert shop.pointed() == shop.current() == ONE
    assert len(running(shop, TWO)) == 0
    assert 0 < len(users.failures) < 0.2 * asked
    assert users.releases[-20:] == [ONE] * 20
    again = release(shop, TWO, ONE, bad)
    assert again.problem == made.problem, "it is on record and not tried a second time"
    assert "10 % of the traffic go" not in " ".join(again.timeline)
    lease.give_back(ledger_of(shop), shop.name, RUN)
    twin = release(shop, THREE, ONE, bad, run="another-run")
    assert "the same artifact was sick here as 222222222222" in (twin.problem or "")


def test_a_release_that_is_slow_beside_the_one_before_loses_its_share(shop: ProcessTarget, build: Any) -> None:
    slow = shop.model_copy(update={"rollout": STEPS.model_copy(update={"share_s": 4.0, "latency_floor_ms": 250})})
    release(slow, ONE, None, build())
    with Hammer(slow, paths=("/",) * 16):
        made = release(slow, TWO, ONE, with_service(build(), *SLOW))
    assert "slow: 95 % of its answers" in (made.problem or "")
    assert slow.current() == ONE


def test_errors_that_both_releases_have_blame_neither(shop: ProcessTarget, build: Any) -> None:
    release(shop, ONE, None, with_service(build(), *THIRD_FAILS))
    fair = shop.model_copy(
        update={
            "rollout": STEPS.model_copy(update={"least_sample": 40, "share_s": 2.5, "hold_s": 30, "error_excess": 0.25})
        }
    )
    with Hammer(fair, paths=("/", "/", "/", "/")) as users:
        made = release(fair, TWO, ONE, with_service(build(), *THIRD_FAILS)._replace(environment={"COLOUR": "red"}))
        health = bake(fair, made)
    assert users.failures
    assert made.problem is None, made.timeline
    assert health.healthy, health.reason


def test_without_users_probes_are_the_sample(shop: ProcessTarget, build: Any) -> None:
    release(shop, ONE, None, build())
    made = release(shop, TWO, ONE, build())
    assert made.problem is None
    assert "0 requests of users, 20 say something" in " ".join(made.timeline)


def test_what_nobody_can_say_holds_and_is_no_pass(
    shop: ProcessTarget, build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    release(shop, ONE, None, build())
    blind = shop.model_copy(update={"rollout": STEPS.model_copy(update={"hold_s": 0.5})})
    monkeypatch.setattr("blocks.targets.machine.access_log.Follow.answered", lambda *_: 0)
    with pytest.raises(Inconclusive, match="nobody can say whether 222222222222 is well"):
        release(blind, TWO, ONE, build())
    assert blind.pointed() == ONE


def test_a_release_that_ends_with_a_share_is_out_at_once(shop: ProcessTarget, build: Any) -> None:
    release(shop, ONE, None, build())
    made = release(shop, TWO, ONE, build(exit_after_s=0.4))
    assert "its process has ended" in (made.problem or "") or "no answer" in (made.problem or "")
    assert shop.current() == ONE


def test_a_run_whose_environment_was_taken_over_does_nothing_more_there(shop: ProcessTarget, build: Any) -> None:
    release(shop, ONE, None, build())
    ledger = ledger_of(shop)
    lease.give_back(ledger, shop.name, RUN)
    with ship_of(shop, "deploys") as late:
        token = lease.seize(ledger, shop.name, "rolls-back")
        newer = shop.under(token, lambda _: None)
        newer.rollback(ONE)
        for act in (
            lambda: late.target.prepare(TWO, build()),
            lambda: late.target.start(ONE),
            lambda: late.target.shift(ONE, 10),
            lambda: late.target.promote(ONE),
            lambda: late.target.rollback(None),
            lambda: late.target.cleanup(()),
        ):
            with pytest.raises(Fenced, match="a newer run has taken over"):
                act()
    assert shop.current() == ONE


def test_two_runs_do_not_deploy_at_once(shop: ProcessTarget, build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with ship_of(shop, "first"):
        monkeypatch.setattr(lease, "WAIT_S", 0.0)
        with pytest.raises(LedgerError, match="still busy with run first"):
            lease.take(ledger_of(shop), shop.name, "second", wait_s=0)


def test_the_lease_is_kept_while_a_long_step_runs(shop: ProcessTarget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "LEASE_S", 1.0)
    monkeypatch.setattr(lease, "HEARTBEAT_S", 0.2)
    with ship_of(shop, "long"):
        time.sleep(2.5)
        assert lease.holder(ledger_of(shop), shop.name) == "long"
    deadline = time.monotonic() + 10
    while lease.holder(ledger_of(shop), shop.name) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert lease.holder(ledger_of(shop), shop.name) is None


def test_a_rollback_that_a_person_asks_for_ends_a_deploy_under_way(shop: ProcessTarget, build: Any) -> None:
    slow = shop.model_copy(update={"rollout": STEPS.model_copy(update={"share_s": 30.0})})
    release(slow, ONE, None, build())
    lease.give_back(ledger_of(slow), slow.name, RUN)
    ended: list[BaseException] = []

    def deploy() -> None:
        try:
            release(slow, TWO, ONE, build(), run="deploys")
        except Fenced as fenced:
            ended.append(fenced)

    deploying = threading.Thread(target=deploy)
    deploying.start()
    with until(lambda: slow._caddy.split()[1] == 10):
        token = lease.seize(ledger_of(slow), slow.name, "person")
        slow.under(token, lambda _: None).rollback(ONE)
    deploying.join(60)
    assert len(ended) == 1 or not deploying.is_alive()
    assert slow._caddy.split() == (None, 0)
    assert slow.current() == ONE


@contextmanager
def until(is_so: Any) -> Iterator[None]:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield


def test_three_rollbacks_in_a_row_hold_the_environment_until_a_person_opens_it(shop: ProcessTarget) -> None:
    ledger = ledger_of(shop)

    def back(number: int) -> None:
        body = RolledBack(environment="shop", failed=str(number) * 40, serving=ONE, revert=None, bundle="")
        ledger.record(f"run-{number}", "rolled_back", str(number) * 40, body)

    back(1)
    back(2)
    ledger.record("run-9", "live", TWO, Release(environment="shop", revision=TWO, artifact="", url=""))
    back(3)
    back(4)
    breaker.check(ledger, "shop")
    body = RolledBack(environment="shop", failed=TWO, serving=ONE, revert=None, bundle="", is_asked_for=True)
    ledger.record("by-hand", "rolled_back", "shop", body)
    breaker.check(ledger, "shop")
    back(5)
    with pytest.raises(Held, match="3 releases in a row were rolled back; look at what happened, then `lockgate open"):
        breaker.check(ledger, "shop")
    breaker.check(ledger, "other")
    ledger.record("people", "opened", "1", Holding(environment="shop", reason="it was the database", by="anna"))
    breaker.check(ledger, "shop")
    ledger.record("people", "held", "2", Holding(environment="shop", reason="the shop sells tickets today", by="anna"))
    with pytest.raises(Held, match=r"held by anna \(a claim\): the shop sells tickets today"):
        breaker.check(ledger, "shop")


def test_going_back_is_repeatable(shop: ProcessTarget, build: Any) -> None:
    release(shop, ONE, None, build())
    release(shop, TWO, ONE, build())
    rollback(shop, ONE)
    rollback(shop, ONE)
    assert shop.current() == ONE
    assert running(shop, TWO) == []
    assert ask(shop)[1]["releaseId"] == ONE


def test_the_way_back_needs_no_ledger(shop: ProcessTarget, build: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    release(shop, ONE, None, build())
    made = release(shop, TWO, ONE, build())
    ledger = ledger_of(shop)
    with ship_of(shop, ledger=ledger) as ship:

        def away(*_: Any, **__: Any) -> None:
            raise LedgerError("the database is away")

        for verb in ("check", "record"):
            monkeypatch.setattr(Ledger, verb, away)
        with pytest.raises(LedgerError):
            ship.target.promote(TWO)
        with pytest.raises(LedgerError):
            ship._mark(TWO, made.artifact, "sick", Outlook(1, "sick", "", None, None, 100, (), None), ONE)
        monkeypatch.undo()
    assert shop.pointed() == shop.current() == ONE


def test_what_somebody_released_meanwhile_keeps_the_traffic(shop: ProcessTarget, build: Any) -> None:
    """The run was away for so long that its lease ran out."""
    release(shop, ONE, None, build())
    release(shop, TWO, ONE, build())
    lease.give_back(ledger_of(shop), "shop", RUN)
    with pytest.raises(TargetError, match=f"{TWO} has the traffic of shop now"):
        release(shop, THREE, ONE, build(), run="one that was away")
    assert shop.pointed() == shop.current() == TWO
