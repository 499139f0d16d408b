"""What holds for every kind of target, with its real parts: verb by verb, and through the engine.

What holds for one kind alone is in its own file, test_target_*.py.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from domain.errors import Fenced, LedgerError, TargetError
from domain.ports import Target
from domain.rollout import SharePassed
from kits.tiny_service import CANARY
from kits.users import READS_AND_WRITES, Hammer, ask, until
from tasks.releasing import lease
from tests.contract.environments import KINDS, Environment, Make
from tests.contract.shipping import RUN, is_a_target, rollback, ship_of

ADDS = {
    "command, all at once": (
        "test_it_is_a_target_that_says_what_it_does",
        "test_nothing_serves_where_nothing_was_released",
        "test_a_migration_that_fails_is_no_release",
        "test_the_traffic_moves_share_by_share_and_each_verb_twice_is_as_once",
        "test_the_engine_brings_a_release_to_all_of_the_traffic_and_back",
        "test_a_release_that_is_cut_after_any_verb_goes_on_from_the_start",
        "test_a_release_that_gets_sick_under_users_loses_the_traffic",
        "test_errors_that_users_get_are_counted_where_somebody_counts",
    )
}
"""Kinds that are another one with less → what that changes. All else is seen at the other one."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "make" in metafunc.fixturenames:
        name = metafunc.function.__name__
        kinds = [kind for kind in KINDS if name in ADDS.get(kind, (name,))]
        metafunc.parametrize("make", kinds, indirect=True, scope="module")


@pytest.fixture(scope="module")
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("environments")
    patch.setenv("LOCKGATE_HOME", str(folder / "home"))
    with KINDS[request.param](folder) as make:
        yield make
    patch.undo()


@pytest.fixture(scope="module")
def there(make: Make) -> Environment:
    """An environment for tests that begin with whatever serves there: they release what no other test has."""
    return make("shop")


@pytest.fixture
def old(there: Environment) -> str:
    """The release that serves."""
    return there.serving()


def serves(there: Environment, revision: str) -> bool:
    """In public, by the traffic's own way, and by what the target says of both."""
    return ask(there.target)[1].get("releaseId") == there.target.current() == there.target.pointed() == revision


def test_it_is_a_target_that_says_what_it_does(there: Environment) -> None:
    target = is_a_target(there.target)
    assert target.preflight() is None
    assert (target.runs_images, target.migrates, target.splits) == there.does[:3]


def test_nothing_serves_where_nothing_was_released(make: Make) -> None:
    fresh = make("fresh")
    target, revision = fresh.target, fresh.revision()
    assert (target.pointed(), target.current(), target.artifact(revision), target.logs(revision)) == (None,) * 3 + ("",)
    assert (target.ensure(), target.stop(), target.preflight()) == ((), False, None)
    made = fresh.release(revision, fresh.build(dies=True))
    assert made.problem is not None and made.previous is None
    assert (target.pointed(), target.current(), fresh.instances(revision)) == (None, None, 0)
    well = fresh.released().revision
    assert serves(fresh, well)
    for _ in range(2):
        target.rollback(None)
        assert (target.pointed(), target.current(), ask_code(target)) == (None, None, 503)
        until(lambda: fresh.instances(well) == 0)


def ask_code(target: Target) -> int:
    try:
        return ask(target)[0]
    except ValueError:  # no JSON: nobody is there who speaks it
        return 503


def test_what_is_prepared_touches_nothing_that_serves(there: Environment, old: str) -> None:
    target, new, build = there.target, there.revision(), there.build()
    with Hammer(target) as users:
        artifact = target.prepare(new, build)
        assert target.prepare(new, build) == there.again().prepare(new, build) == target.artifact(new) == artifact
        other = target.prepare(new, there.build())
    assert other not in (artifact, None) and target.artifact(new) == other
    assert (users.failures, set(users.releases)) == ([], {old})
    assert serves(there, old) and there.instances(new) == 0


def test_what_serves_is_not_built_differently(there: Environment, old: str) -> None:
    before = there.target.artifact(old)
    with pytest.raises(TargetError, match="release another"):
        there.target.prepare(old, there.build())
    assert serves(there, old) and there.target.artifact(old) == before


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"dies": True}, "ended|exit code 1"),
        ({"sick_after_s": 0}, "not healthy within|not all of its tasks run"),
    ],
    ids=["ends at once", "is never healthy"],
)
def test_a_release_that_cannot_start_says_why_and_leaves_nothing(
    there: Environment, old: str, how: dict[str, Any], reason: str
) -> None:
    new, hasty = there.revision(), there.again(**({} if "dies" in how else {"start_timeout_s": there.hasty_s}))
    with Hammer(hasty) as users:
        made = there.release(new, there.build(**how), hasty)
    assert re.search(reason, str(made.problem)), made.problem
    assert "it cannot go on" in f"{made.problem} {hasty.logs(new)}" or "dies" not in how
    assert (users.failures, set(users.releases)) == ([], {old})
    assert serves(there, old)
    until(lambda: there.instances(new) == 0)
    assert CANARY not in f"{made.problem} {json.dumps(hasty.evidence(new))}"


def test_a_migration_that_fails_is_no_release(there: Environment, old: str) -> None:
    target, well, bad = there.target, there.revision(), there.revision()
    target.prepare(well, there.build(migrate="print('migrated')"))
    assert [target.migrate(well), target.migrate(well)] == [None, None]
    build = there.build(migrate="raise SystemExit('no such table')")
    if not there.does.migrates:
        target.prepare(bad, build)
        assert target.migrate(bad) is None, "nothing is run"
        return
    assert "no such table" in str(there.release(bad, build).problem)
    assert serves(there, old) and there.instances(bad) == 0


def test_the_traffic_moves_share_by_share_and_each_verb_twice_is_as_once(there: Environment, old: str) -> None:
    target, new, build = there.target, there.revision(), there.build(starts_after_s=0.5)
    shares = target.rollout.shares if target.splits else ()
    with Hammer(target, READS_AND_WRITES) as users:
        artifact = target.prepare(new, build._replace(previous=old))
        for _ in range(2):
            assert target.migrate(new) is None
            assert target.start(new) is None
        if there.does.splits:
            assert target.probe(new).is_healthy
            assert there.instances(new) == 1
        assert serves(there, old) and new not in users.releases
        for share in shares:
            for _ in range(2):
                target.shift(new, share)
            users.releases.clear()
            until(lambda: len(users.releases) > 150)
            seen = 100 * users.releases.count(new) / len(users.releases)
            assert share - 15 < seen < share + 15
            assert target.pointed() == old
        for _ in range(2):
            target.promote(new)
            assert serves(there, new)
        assert target.artifact(new) == artifact
        assert there.instances(new) == 1
        for _ in range(2):
            target.cleanup({old, new})
        for _ in range(2):
            target.rollback(old)
            assert serves(there, old)
    assert users.failures == []
    until(lambda: there.instances(new) == 0)
    assert there.instances(old) == 1


def test_the_engine_brings_a_release_to_all_of_the_traffic_and_back(there: Environment, old: str) -> None:
    new = there.revision()
    with Hammer(there.target, READS_AND_WRITES) as users:
        made = there.release(new)
        health = there.bake(made)
        assert health.healthy, health.reason
        assert serves(there, new)
        way_back = rollback(there.target, old, ledger=there.ledger)
    assert (made.problem, made.previous, health.revision) == (None, old, new)
    passed = [there.ledger.find(RUN, "share-passed", f"{new}-{share}", SharePassed) for share in (25, 50)]
    assert [one is not None for one in passed] == [there.does.splits] * 2
    assert [bool(one and one.new and one.new.requests) for one in passed] == [there.does.counts] * 2
    assert users.failures == []
    assert (users.releases[0], users.releases[-1]) == (old, old) and new in users.releases
    assert serves(there, old)
    assert any("5 public answers in a row" in line for line in way_back)


def test_a_release_that_is_cut_after_any_verb_goes_on_from_the_start(there: Environment, old: str) -> None:
    new, build = there.revision(), there.build(migrate="print('migrated')")._replace(previous=old)
    verbs: list[Callable[[Target], object]] = [
        lambda target: target.prepare(new, build),
        lambda target: target.migrate(new),
        lambda target: target.start(new),
        *((lambda target: target.shift(new, 25), lambda target: target.shift(new, 50)) if there.does.splits else ()),
        lambda target: target.promote(new),
        lambda target: target.cleanup({old, new}),
    ]
    with Hammer(there.target) as users:
        for cut in range(1, len(verbs) + 1):
            worker = there.again()
            for verb in verbs[:cut]:
                verb(worker)
            assert worker.pointed() == (new if cut >= len(verbs) - 1 else old)
        made = there.release(new, build, there.again(), previous=old)
    assert users.failures == []
    assert made.problem is None and serves(there, new)
    assert there.instances(new) == there.instances(old) == 1


def test_two_deploys_at_once_are_one(there: Environment, old: str) -> None:
    new, build = there.revision(), there.build()
    with ship_of(there.target, RUN, there.ledger) as first:
        first.target.prepare(new, build)
        with pytest.raises(LedgerError, match=f"still busy with run {RUN}"):
            lease.take(there.ledger, there.target.name, "second", wait_s=0)
        token = lease.seize(there.ledger, there.target.name, "second")
        there.again().under(token, lambda line: None).rollback(old)
        refused: dict[str, Callable[[], object]] = {
            "prepare": lambda: first.target.prepare(there.revision(), build),
            "migrate": lambda: first.target.migrate(new),
            "start": lambda: first.target.start(new),
            "shift": lambda: first.target.shift(new, 25),
            "promote": lambda: first.target.promote(new),
            "rollback": lambda: first.target.rollback(None),
            "cleanup": lambda: first.target.cleanup(()),
            "stop": lambda: first.target.stop(),
        }
        for verb, act in refused.items():
            with pytest.raises(Fenced, match="a newer run has taken over"):
                pytest.fail(f"{verb} said {act()}")
    lease.give_back(there.ledger, there.target.name, "second")
    assert serves(there, old) and there.instances(new) == 0


def test_releases_that_are_kept_come_back_and_others_do_not(there: Environment, old: str) -> None:
    kept, new = there.released().revision, there.released().revision
    target = there.again()
    for _ in range(2):
        target.cleanup({new})
    assert serves(there, new)
    assert there.left_of(kept) and not there.left_of(old)
    with pytest.raises(TargetError, match="release it a"):
        target.rollback(old)
    assert serves(there, new) and there.instances(old) == 0
    target.rollback(kept)
    assert serves(there, kept)
    until(lambda: there.instances(new) == 0)


def test_what_is_told_of_a_release_is_json_without_secrets(there: Environment, old: str) -> None:
    said: list[str] = []
    with ship_of(there.target, RUN, there.ledger) as ship:
        ship.target.rollback(old)
        said += ship.timeline.lines
    logs = until(lambda: there.target.logs(old))
    evidence = json.dumps(there.target.evidence(old))
    assert CANARY not in f"{evidence} {said} {there.target!r} {there.target.url()}"
    assert "environment: " in logs and (CANARY not in logs) is there.does.redacts


def test_what_another_hand_changed_is_seen_and_left(there: Environment, old: str) -> None:
    made = there.released()
    new = made.revision
    assert there.target.artifact(new) == made.artifact
    there.change(new, old)
    window = there.target.observe(new)
    until(lambda: there.target.artifact(new) != made.artifact or window.look().problem)
    window.close()
    health = there.bake(made)
    assert not health.healthy
    assert re.search("artifact|image|took it back", health.reason), health.reason
    assert serves(there, old)


def test_what_was_stopped_is_brought_back(there: Environment, old: str) -> None:
    target = there.again()
    assert target.ensure() == ()
    assert (target.stop(), target.stop(), target.current()) == (True, False, None)
    assert there.again().ensure() != ()
    until(lambda: serves(there, old))
    assert target.ensure() == ()


def test_a_release_that_dies_with_the_traffic_is_seen_and_left(there: Environment, old: str) -> None:
    new = there.released().revision
    window = there.target.observe(new)
    assert window.look().problem is None
    there.kill(new)
    until(lambda: (look := window.look()).problem or not look.public.is_healthy)
    window.close()
    there.target.rollback(old)
    assert serves(there, old)


def test_going_back_to_what_is_gone_brings_it_back_or_leaves_all_as_it_is(there: Environment, old: str) -> None:
    new = there.released().revision
    there.kill(old)
    if there.does.brings_back:
        there.target.rollback(old)
        assert serves(there, old)
    else:
        with pytest.raises(TargetError, match="not seen serving"):
            there.again(start_timeout_s=there.hasty_s).rollback(old)
        assert there.instances(new) == 1, "nothing else was stopped"
        there.target.rollback(new)
        assert serves(there, new)


def test_a_release_that_gets_sick_under_users_loses_the_traffic(there: Environment, old: str) -> None:
    new = there.revision()
    with Hammer(there.target) as users:
        made = there.release(new, there.build(sick_once_used=True))
        if there.does.splits:
            assert "sick with 25 % of the traffic" in str(made.problem)
        else:
            assert made.problem is None and not there.bake(made).healthy
        assert serves(there, old)
        users.releases.clear()
    assert users.failures == [] and set(users.releases) == {old}
    until(lambda: there.instances(new) == 0)


def test_errors_that_users_get_are_counted_where_somebody_counts(there: Environment, old: str) -> None:
    new = there.revision()
    with Hammer(there.target, ("/",) * 4):
        made = there.release(new, there.build(fails_users=True))
        if there.does.counts:
            assert "requests of users ended in HTTP 5xx" in str(made.problem)
        else:
            assert made.problem is None and there.target.observe(new).look().new is None
            there.target.rollback(old)
    assert serves(there, old)


def test_a_release_that_is_sick_in_public_alone_loses_the_traffic(there: Environment, old: str) -> None:
    new = there.revision()
    made = there.release(new, there.build(sick_at=there.target.url().removeprefix("http://")))
    assert made.problem is None, "it was well in private"
    health = there.bake(made)
    assert not health.healthy and "status fail" in health.reason
    assert CANARY not in health.reason or not there.does.redacts
    assert serves(there, old)


def test_a_build_is_refused_whose_tree_leaves_its_directory(there: Environment, old: str) -> None:
    for path in ("../escape", "/absolute", "a/../../b", ".git/config"):
        build = there.build()
        build.tree[path] = build.tree["service.py"]
        with pytest.raises(TargetError, match=r"cannot be (written|packed)"):
            there.target.prepare(there.revision(), build)
    assert serves(there, old)
