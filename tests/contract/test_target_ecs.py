"""What holds of ecs, against the fake, which runs real containers behind a real load balancer.

What holds for every target is in test_targets.py.
"""

import json
import pickle
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from blocks.targets.ecs.rollout import paused, shares_problem
from blocks.targets.ecs.target import EcsTarget
from domain.errors import TargetError
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.rollout import Rollout
from kits.fake_ecs import FakeEcs
from tests.contract.test_fake_ecs import (
    KEY,
    SECRET,
    SPEED,
    ask,
    asked,
    client,
    create,
    image,
    newest,
    primary,
    register,
    until,
)
from tests.contract.workers import forkserver

__all__ = ["image"]

ONE, TWO, THREE = "1" * 40, "2" * 40, "3" * 40
CHANGES = (
    "RegisterTaskDefinition", "UpdateService", "ContinueServiceDeployment", "StopServiceDeployment", "TagResource",
    "DeregisterTaskDefinition",
)  # fmt: skip


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEcs]:
    """With a service that runs something which is no release of ours."""
    with FakeEcs(tmp_path / "ecs", speed=SPEED, key=KEY, secret=SECRET, health_path="/health",
                 secrets={"arn:token": "s3cr3t"}) as fake:  # fmt: skip
        yield fake


@pytest.fixture
def target(fake: FakeEcs, image: str) -> EcsTarget:
    ecs = client(fake)
    create(fake, ecs, register(ecs, image, "the origin"))
    return target_of(fake.url, f"http://{fake.address('shop')}", image)


def target_of(url: str, public: str, image: str, **fields: Any) -> EcsTarget:
    settings = {
        "name": "shop",
        "service": "shop",
        "container": "web",
        "public": public,
        "endpoint_url": url,
        "region": "eu-west-1",
        "access_key_id": SecretStr(KEY),
        "secret_access_key": SecretStr(SECRET),
        "rollout": Rollout(shares=(25, 50), share_s=0.1, bake_s=0.5, latency_floor_ms=20_000),
        "breaker_failures": 2,
        "start_timeout_s": 150,
        "back_timeout_s": 150,
        "poll_s": 0.1,
        "pause_minutes": 1440,
        "ready_minutes": 1440,
        **fields,
    }
    return EcsTarget(**settings).with_images(lambda revision, build: image)


def build(previous: str | None = None, migrate_up: str | None = None, **how: Any) -> ReleaseBuild:
    return ReleaseBuild(
        tree={},
        toolchain=Path("/nowhere"),
        run="python3 /service.py {port}",
        health=HealthCheck(),
        migrate_up=migrate_up,
        environment={"HOW": json.dumps(how)},
        previous=previous,
    )


def release(target: EcsTarget, revision: str, **how: Any) -> str | None:
    """As the engine does it."""
    before = target.pointed()
    target.prepare(revision, build(before, **how))
    if problem := target.start(revision):
        return problem
    if target.splits and before:
        for share in target.rollout.shares:
            target.shift(revision, share)
    target.promote(revision)
    target.cleanup({one for one in (revision, before) if one})
    return None


def changes(fake: FakeEcs) -> Counter[str]:
    return Counter(action for action, _ in fake.calls if action in CHANGES)


def test_a_block_is_plain_data_and_knows_what_is_no_release(fake: FakeEcs, target: EcsTarget) -> None:
    assert target.preflight() is None
    assert (target.pointed(), target.current()) == (None, "the origin")
    assert release(target, ONE) is None
    assert pickle.loads(pickle.dumps(target.with_images(str))).pointed() == ONE
    assert primary(client(fake))["taskDefinition"].endswith("shop:2")


def test_a_release_before_the_last_one_is_ended_when_the_next_one_starts(fake: FakeEcs, target: EcsTarget) -> None:
    assert release(target, ONE) is None
    assert newest(client(fake))["status"] == "IN_PROGRESS"  # the old tasks stay ready
    assert release(target.model_copy(update={"ready_minutes": 1}), TWO) is None
    until(client(fake), lambda now: now["status"] == "SUCCESSFUL")  # after ready_minutes, without us
    assert asked(fake, 10) == {(200, TWO): 10}


@pytest.mark.parametrize("strategy", ["canary", "rolling"])
def test_a_release_that_is_never_healthy_is_taken_back_though_the_service_looks_stable(
    fake: FakeEcs, target: EcsTarget, strategy: str
) -> None:
    target = target.model_copy(update={"strategy": strategy})
    assert release(target, ONE) is None
    target.prepare(TWO, build(ONE, dies=True))
    problem = target.start(TWO)
    assert problem is not None and "circuit breaker" in problem and "exit code 3" in problem
    ecs = client(fake)
    ecs.get_waiter("services_stable").wait(services=["shop"], WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert target.pointed() == target.current() == ONE
    assert asked(fake, 20) == {(200, ONE): 20}
    evidence = target.evidence(TWO)
    assert evidence["deployment"]["status"] == "ROLLBACK_SUCCESSFUL"
    assert evidence["tasks"][0]["containers"][0]["exitCode"] == 3
    assert target.observe(TWO).look().problem is not None


def test_a_release_that_gets_sick_is_seen_and_its_traffic_goes_back_at_once(fake: FakeEcs, target: EcsTarget) -> None:
    assert release(target, ONE) is None
    assert release(target, TWO) is None
    window = target.observe(TWO)
    assert window.look().public.is_healthy
    ask(fake, "/get-sick")
    look = window.look()
    assert not look.public.is_healthy and look.private is not None and not look.private.is_healthy
    before = changes(fake)
    target.rollback(ONE)
    assert asked(fake, 20) == {(200, ONE): 20}
    assert target.pointed() == target.current() == ONE
    assert changes(fake) - before == {"StopServiceDeployment": 1}
    target.rollback(ONE)
    assert changes(fake) - before == {"StopServiceDeployment": 1}


def test_a_release_whose_old_tasks_are_gone_is_rolled_back_by_a_deployment(fake: FakeEcs, target: EcsTarget) -> None:
    target = target.model_copy(update={"ready_minutes": 0})
    assert release(target, ONE) is None
    assert release(target, TWO) is None
    until(client(fake), lambda now: now["status"] == "SUCCESSFUL")
    target.rollback(ONE)
    assert asked(fake, 20) == {(200, ONE): 20}
    assert target.pointed() == ONE


def test_without_a_release_the_way_back_leads_to_what_the_service_ran_before(fake: FakeEcs, target: EcsTarget) -> None:
    assert release(target, ONE) is None
    target.rollback(None)
    assert asked(fake, 10) == {(200, "the origin"): 10}
    assert target.pointed() is None


def test_nothing_is_done_twice(fake: FakeEcs, target: EcsTarget) -> None:
    assert release(target, ONE) is None
    target = target.under(3, lambda line: None)
    for verb in (
        lambda: target.prepare(TWO, build(ONE)),
        lambda: target.start(TWO),
        lambda: target.shift(TWO, 25),
        lambda: target.promote(TWO),
        lambda: target.cleanup({ONE, TWO}),
    ):
        first: Any = verb()
        before = changes(fake)
        assert verb() == first
        assert changes(fake) == before
    assert target.start(TWO) is None
    assert changes(fake) == before


def test_a_killed_caller_is_taken_over_and_nothing_is_done_twice(
    fake: FakeEcs, target: EcsTarget, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each caller goes on from what the one before it left, and is killed when ECS has done what it asked for, before
    it hears of that."""
    assert release(target, ONE) is None
    before = changes(fake)
    carry_out = fake._server.answer
    deadly, callers = "", list[Any]()

    def carry_out_and_kill(headers: Any, body: bytes) -> dict[str, Any]:
        done = carry_out(headers, body)
        if deadly and headers["X-Amz-Target"].endswith(f".{deadly}"):
            callers[-1].kill()
        return done

    monkeypatch.setattr(fake._server, "answer", carry_out_and_kill)
    again = "ContinueServiceDeployment"
    for deadly in ("RegisterTaskDefinition", "UpdateService", again, again):
        callers.append(forkserver().Process(target=releases, args=(fake.url, target.public, image)))
        callers[-1].start()
        callers[-1].join(120)
        assert callers[-1].exitcode == -signal.SIGKILL, deadly
        assert {code for code, _ in asked(fake, 20)} == {200}
    deadly = ""
    assert release(target, TWO) is None
    assert target.pointed() == target.current() == TWO
    done = changes(fake) - before
    assert (done["RegisterTaskDefinition"], done["UpdateService"]) == (1, 1)
    assert asked(fake, 10) == {(200, TWO): 10}


def releases(url: str, public: str, image: str) -> None:
    """A caller in a process of its own."""
    release(target_of(url, public, image), TWO)


def test_ecs_takes_a_release_back_by_itself_where_nobody_says_a_word(fake: FakeEcs, target: EcsTarget) -> None:
    assert release(target, ONE) is None
    alone = target.model_copy(update={"pause_minutes": 10})
    alone.prepare(TWO, build(ONE))
    alone.start(TWO)
    until(client(fake), lambda now: now["status"] == "ROLLBACK_SUCCESSFUL")
    alone.shift(TWO, 25)
    problem = alone.observe(TWO).look().problem
    assert problem is not None and "ECS took it back" in problem
    assert asked(fake, 10) == {(200, ONE): 10}


def test_a_person_who_stops_the_deployment_is_seen(fake: FakeEcs, target: EcsTarget) -> None:
    assert release(target, ONE) is None
    target.prepare(TWO, build(ONE))
    assert target.start(TWO) is None
    target.shift(TWO, 50)
    ecs = client(fake)
    ecs.stop_service_deployment(serviceDeploymentArn=newest(ecs)["serviceDeploymentArn"], stopType="ABORT")
    until(ecs, lambda now: now["status"] == "STOPPED")
    problem = target.observe(TWO).look().problem
    assert problem is not None and "STOPPED" in problem
    assert target.pointed() == ONE
    target.rollback(ONE)
    assert asked(fake, 20) == {(200, ONE): 20}


def test_the_task_definition_of_a_release_keeps_all_but_the_release(fake: FakeEcs, target: EcsTarget) -> None:
    with_more = target.model_copy(update={"environment": {"COLOUR": "red"}, "secrets": {"KEY": "arn:token"}})
    with_more.prepare(ONE, build())
    shape = client(fake).describe_task_definition(taskDefinition="shop", include=["TAGS"])
    definition = shape["taskDefinition"]
    own = definition["containerDefinitions"][0]
    variables = {one["name"]: one["value"] for one in own["environment"]}
    assert {"COLOUR": "red", "PORT": "8000", "RELEASE_ID": ONE}.items() <= variables.items()
    assert {one["name"]: one["valueFrom"] for one in own["secrets"]} == {"TOKEN": "arn:token", "KEY": "arn:token"}
    assert own["command"] == ["python3", "/service.py", "8000"]
    assert own["healthCheck"]["interval"] == 10 and definition["memory"] == "512"
    assert shape["tags"] == [{"key": "lockgate:revision", "value": ONE}]
    target.model_copy(update={"template": definition["taskDefinitionArn"]}).prepare(TWO, build())
    after = client(fake).describe_task_definition(taskDefinition="shop")["taskDefinition"]["containerDefinitions"][0]
    assert "COLOUR" not in {one["name"] for one in after["environment"]}
    assert [one["name"] for one in after["secrets"]] == ["TOKEN"]


def test_a_migration_runs_to_its_end_in_a_task_of_its_own_and_once(fake: FakeEcs, target: EcsTarget) -> None:
    said = "import os; print('migrating for', os.environ['RELEASE_ID'])"
    target.prepare(ONE, build(migrate_up=f'python3 -c "{said}"'))
    assert target.migrate(ONE) is None
    assert target.migrate(ONE) is None
    target.prepare(TWO, build(migrate_up=f'python3 -c "{said}; exit(4)"'))
    problem = target.migrate(TWO)
    assert problem is not None and "exit code 4" in problem and f"migrating for {TWO}" in problem
    target.prepare(THREE, build())
    assert target.migrate(THREE) is None
    assert [action for action, _ in fake.calls].count("RunTask") == 2
    assert target.current() == "the origin"


def test_only_the_newest_releases_stay_active(fake: FakeEcs, target: EcsTarget) -> None:
    few = target.model_copy(update={"keep_releases": 2})
    for revision in (ONE, TWO, THREE):
        few.prepare(revision, build())
    few.cleanup({THREE})
    names = client(fake).list_task_definitions(familyPrefix="shop", sort="ASC")["taskDefinitionArns"]
    assert [name.rpartition("/")[2] for name in names] == ["shop:1", "shop:3", "shop:4"]
    with pytest.raises(TargetError, match="release it anew"):
        few.start(ONE)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"access_key_id": SecretStr("AKIAOTHER")}, "access key is not known"),
        ({"secret_access_key": SecretStr("another")}, "does not belong to the access key"),
        ({"cluster": "none"}, "check cluster and region"),
        ({"service": "none"}, "make it first"),
        ({"container": "none"}, "has no port mapping"),
        ({"endpoint_url": "http://127.0.0.1:9"}, "ECS cannot"),
        ({"rollout": Rollout(shares=(1, 5, 10))}, "equal steps"),
        ({"template": "shop:9"}, "describe the task definition"),
    ],
)
def test_what_is_set_up_wrong_is_said_before_a_release(
    fake: FakeEcs, target: EcsTarget, image: str, fields: dict[str, Any], said: str
) -> None:
    problem = target_of(
        **{"url": fake.url, "public": target.public, "image": image, "attempts": 1} | fields
    ).preflight()
    assert problem is not None and said in problem


def test_a_canary_needs_a_second_target_group(fake: FakeEcs, target: EcsTarget) -> None:
    ecs = client(fake)
    ecs.create_service(serviceName="plain", taskDefinition="shop", desiredCount=0)
    plain = target.model_copy(update={"service": "plain"})
    assert "second target group" in str(plain.preflight())
    assert target.model_copy(update={"service": "plain", "strategy": "rolling"}).preflight() is None


def test_an_image_that_is_not_pinned_is_refused(target: EcsTarget) -> None:
    loose = target.with_images(lambda revision, build: "shop:latest")
    with pytest.raises(TargetError, match="a tag may move"):
        loose.prepare(ONE, build())


def test_throttled_calls_are_made_again_and_not_for_ever(fake: FakeEcs, target: EcsTarget) -> None:
    fake.fail("DescribeServices", "ThrottlingException", times=2)
    fake.fail("UpdateService", "ThrottlingException", times=2)
    assert release(target, ONE) is None
    fake.fail("DescribeServices", "ThrottlingException", times=5)
    with pytest.raises(TargetError, match="limits the rate"):
        target.pointed()
    assert target.pointed() == ONE


def test_shares_become_a_strategy() -> None:
    def strategy(*shares: int) -> Any:
        made = paused(shares, 3, 60, 15)
        return made["strategy"], made.get("linearConfiguration", made.get("canaryConfiguration"))

    assert strategy() == ("BLUE_GREEN", None)
    assert strategy(1) == ("CANARY", {"canaryPercent": 1.0, "canaryBakeTimeInMinutes": 0})
    assert strategy(10, 50) == ("LINEAR", {"stepPercent": 10.0, "stepBakeTimeInMinutes": 0})
    assert shares_problem((10, 50)) is None
    assert shares_problem((1,)) is None
    assert shares_problem((1, 10)) is not None
