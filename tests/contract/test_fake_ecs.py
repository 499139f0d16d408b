"""The fake ECS, asked by boto3 as it comes, with real containers of the machine's engine."""

import contextlib
import http.client
import io
import json
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import docker
import docker.errors
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from domain.errors import InputError
from domain.value import digest_of
from kits.fake_ecs import FakeEcs
from kits.fake_ecs.containers import LABEL
from kits.fake_ecs.stages import stages

KEY, SECRET = "AKIAFAKE", "the secret of the fake"
PROJECT = Path(__file__).parents[2]
SPEED = 60.0

SERVICE = """
import http.server, json, os, signal, sys, time
BORN, HOW = time.monotonic(), json.loads(os.environ.get("HOW", "{}"))
print("born", os.environ.get("RELEASE_ID"), os.environ.get("TOKEN", ""), flush=True)
if HOW.get("dies"):
    sys.exit(3)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        sick = HOW.get("sick") or time.monotonic() - BORN > HOW.get("sick_after_s", 1e9) or os.path.exists("/tmp/sick")
        if self.path == "/get-sick":
            open("/tmp/sick", "w").close()
        self.answer(503 if sick else 200, "fail" if sick else "pass")
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200, "pass")
    def answer(self, code, status):
        body = json.dumps({"releaseId": os.environ.get("RELEASE_ID"), "status": status}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
http.server.ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()
"""
CHECK = "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=3)"
BALANCER = {
    "targetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:000000000000:targetgroup/blue/1",
    "containerName": "web",
    "containerPort": 8000,
    "advancedConfiguration": {
        "alternateTargetGroupArn": "arn:aws:elasticloadbalancing:eu-west-1:000000000000:targetgroup/green/2",
        "productionListenerRule": "arn:aws:elasticloadbalancing:eu-west-1:000000000000:listener-rule/app/shop/1/2/3",
        "roleArn": "arn:aws:iam::000000000000:role/balancer",
    },
}
BREAKER = {"enable": True, "rollback": True, "thresholdConfiguration": {"type": "COUNT", "value": 2}}


@pytest.fixture(scope="session")
def image() -> str:
    """A tiny service, as an image that is pinned by its digest."""
    engine, name = docker.from_env(), f"lockgate-fake-ecs-test:{digest_of(SERVICE)[:12]}"
    try:
        made = engine.images.get(name)
    except docker.errors.ImageNotFound:
        container = engine.containers.create("lockgate-base:latest", ["true"])
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("service.py")
            entry.size = len(SERVICE.encode())
            tar.addfile(entry, io.BytesIO(SERVICE.encode()))
        container.put_archive("/", archive.getvalue())
        repository, _, tag = name.partition(":")
        made = container.commit(repository, tag, changes='CMD ["python3", "/service.py"]')
        container.remove()
    return f"shop@{made.id}"


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEcs]:
    with FakeEcs(
        tmp_path / "ecs", speed=SPEED, key=KEY, secret=SECRET, health_path="/health", secrets={"arn:token": "s3cr3t"}
    ) as fake:
        yield fake


def client(fake: FakeEcs, name: str = "ecs", key: str = KEY, secret: str = SECRET) -> Any:
    return boto3.session.Session().client(
        name,
        endpoint_url=fake.url,
        region_name="eu-west-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}),
    )


def container_of(image: str, environment: list[dict[str, str]]) -> dict[str, Any]:
    """A container definition with a health check and a log."""
    return {
        "name": "web",
        "image": image,
        "portMappings": [{"containerPort": 8000}],
        "environment": environment,
        "secrets": [{"name": "TOKEN", "valueFrom": "arn:token"}],
        "healthCheck": {"command": ["CMD", "python3", "-c", CHECK], "interval": 10, "timeout": 5, "retries": 3},
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {"awslogs-group": "/shop", "awslogs-region": "eu-west-1", "awslogs-stream-prefix": "ecs"},
        },
    }


def register(ecs: Any, image: str, release: str, **how: Any) -> str:
    environment = [{"name": "RELEASE_ID", "value": release}, {"name": "HOW", "value": json.dumps(how)}]
    container = container_of(image, environment)
    made = ecs.register_task_definition(
        family="shop", requiresCompatibilities=["FARGATE"], cpu="256", memory="512", containerDefinitions=[container]
    )
    return str(made["taskDefinition"]["taskDefinitionArn"])


def create(fake: FakeEcs, ecs: Any, definition: str, count: int = 1) -> None:
    """A service that serves."""
    ecs.create_service(
        serviceName="shop",
        taskDefinition=definition,
        desiredCount=count,
        loadBalancers=[BALANCER],
        healthCheckGracePeriodSeconds=1800,  # much runs on this machine
        networkConfiguration={"awsvpcConfiguration": {"subnets": ["subnet-1"]}},
        deploymentConfiguration={"strategy": "ROLLING", "deploymentCircuitBreaker": BREAKER},
    )
    until(ecs, lambda now: now["status"] == "SUCCESSFUL")


def newest(ecs: Any) -> dict[str, Any]:
    listed = ecs.list_service_deployments(service="shop")["serviceDeployments"]
    arn = max(listed, key=lambda one: one["createdAt"])["serviceDeploymentArn"]
    found: dict[str, Any] = ecs.describe_service_deployments(serviceDeploymentArns=[arn])["serviceDeployments"][0]
    return found


def until(ecs: Any, is_so: Callable[[dict[str, Any]], bool], within_s: float = 180) -> dict[str, Any]:
    """The newest deployment, once it is so."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        now = newest(ecs)
        if is_so(now):
            return now
        time.sleep(0.05)
    raise AssertionError(f"still {now['status']} at {now['lifecycleStage']}: {now}")


def is_paused(now: dict[str, Any]) -> bool:
    return any(hook["status"] == "AWAITING_ACTION" for hook in now.get("lifecycleHookDetails", []))


def go_on(ecs: Any, action: str = "CONTINUE") -> dict[str, Any]:
    """Continue the paused deployment; how it stands at the next pause, or at its end."""
    before = until(ecs, is_paused)
    hook = before["lifecycleHookDetails"][0]["hookId"]
    ecs.continue_service_deployment(serviceDeploymentArn=before["serviceDeploymentArn"], hookId=hook, action=action)
    return until(
        ecs,
        lambda now: (
            now["status"] not in ("IN_PROGRESS", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS")
            or (is_paused(now) and now["lifecycleHookDetails"][0]["hookId"] != hook)
        ),
    )


def linear(step: float, *pauses: str, **more: Any) -> dict[str, Any]:
    return {
        "strategy": "LINEAR",
        "linearConfiguration": {"stepPercent": step, "stepBakeTimeInMinutes": 0},
        "lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": list(pauses), **more}] if pauses else [],
        "deploymentCircuitBreaker": BREAKER,
    }


def ask(fake: FakeEcs, path: str = "/health", method: str = "GET", body: bytes | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection(fake.address("shop"), timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        answer = connection.getresponse()
        data = answer.read()
    return answer.status, str(json.loads(data)["releaseId"]) if data.startswith(b"{") else ""


def asked(fake: FakeEcs, times: int = 100) -> Counter[tuple[int, str]]:
    return Counter(ask(fake) for _ in range(times))


def primary(ecs: Any) -> dict[str, Any]:
    service = ecs.describe_services(services=["shop"])["services"][0]
    found: dict[str, Any] = next(one for one in service["deployments"] if one["status"] == "PRIMARY")
    return found


def test_a_rolling_deployment_replaces_tasks_and_no_request_fails(fake: FakeEcs, image: str) -> None:
    ecs = client(fake)
    create(fake, ecs, register(ecs, image, "one"), count=2)
    two = register(ecs, image, "two")
    ecs.update_service(service="shop", taskDefinition=two)
    answers: Counter[tuple[int, str]] = Counter()
    while newest(ecs)["status"] in ("PENDING", "IN_PROGRESS"):
        answers += asked(fake, 5)
    assert {code for code, _ in answers} == {200}
    assert asked(fake, 10) == {(200, "two"): 10}
    assert primary(ecs)["taskDefinition"] == two
    assert primary(ecs)["rolloutState"] == "COMPLETED"
    assert ask(fake, "/", "POST", b"x" * 100_000) == (200, "two")


def test_a_linear_deployment_waits_at_each_pause_and_splits_the_traffic(fake: FakeEcs, image: str) -> None:
    ecs = client(fake)
    create(fake, ecs, register(ecs, image, "one"))
    two = register(ecs, image, "two")
    pauses = ("PRE_PRODUCTION_TRAFFIC_SHIFT", "POST_PRODUCTION_TRAFFIC_SHIFT")
    ecs.update_service(service="shop", taskDefinition=two, deploymentConfiguration=linear(50, *pauses))
    until(ecs, is_paused)
    assert asked(fake, 20) == {(200, "one"): 20}
    service = ecs.describe_services(services=["shop"])["services"][0]
    assert [one["status"] for one in service["deployments"]] == ["PRIMARY", "ACTIVE"]
    half = go_on(ecs)
    assert half["targetServiceRevision"]["requestedProductionTrafficWeight"] == 50
    split = asked(fake, 200)
    assert set(split) == {(200, "one"), (200, "two")} and min(split.values()) > 50
    whole = go_on(ecs)
    assert whole["lifecycleStage"] == "POST_PRODUCTION_TRAFFIC_SHIFT"
    assert asked(fake, 20) == {(200, "two"): 20}
    assert whole["sourceServiceRevisions"][0]["runningTaskCount"] == 1
    assert go_on(ecs)["status"] == "SUCCESSFUL"
    groups = ecs.describe_service_revisions(
        serviceRevisionArns=[one["arn"] for one in (whole["targetServiceRevision"], *whole["sourceServiceRevisions"])]
    )["serviceRevisions"]
    assert len({one["resolvedConfiguration"]["loadBalancers"][0]["targetGroupArn"] for one in groups}) == 2


def test_after_the_circuit_breaker_primary_is_the_old_one_and_the_service_looks_stable(
    fake: FakeEcs, image: str
) -> None:
    ecs = client(fake)
    one = register(ecs, image, "one")
    create(fake, ecs, one)
    two = register(ecs, image, "two", dies=True)
    ecs.update_service(service="shop", taskDefinition=two)
    until(ecs, lambda now: primary(ecs)["taskDefinition"] == one)
    assert newest(ecs)["status"].startswith("ROLLBACK_")
    end = until(ecs, lambda now: now["status"] == "ROLLBACK_SUCCESSFUL")
    assert "circuit breaker" in end["statusReason"] and end["deploymentCircuitBreaker"]["status"] == "TRIGGERED"
    ecs.get_waiter("services_stable").wait(services=["shop"], WaiterConfig={"Delay": 1, "MaxAttempts": 20})
    assert primary(ecs)["taskDefinition"] == one
    assert asked(fake, 10) == {(200, "one"): 10}
    stopped = ecs.describe_tasks(tasks=ecs.list_tasks(serviceName="shop", desiredStatus="STOPPED")["taskArns"])["tasks"]
    dead = [task for task in stopped if task["taskDefinitionArn"] == two]
    assert {task["stopCode"] for task in dead} == {"EssentialContainerExited"}
    assert {task["containers"][0].get("exitCode") for task in dead} <= {3, None}


def test_a_breaker_without_rollback_stops_and_starts_no_more_tasks(fake: FakeEcs, image: str) -> None:
    ecs = client(fake)
    create(fake, ecs, register(ecs, image, "one"))
    two = register(ecs, "nobody/has:this", "two")
    only = {"deploymentCircuitBreaker": {**BREAKER, "rollback": False}}
    ecs.update_service(service="shop", taskDefinition=two, deploymentConfiguration=only)
    until(ecs, lambda now: now["status"] == "STOPPED")
    assert (primary(ecs)["taskDefinition"], primary(ecs)["rolloutState"]) == (two, "FAILED")
    tasks = ecs.list_tasks(serviceName="shop", desiredStatus="STOPPED")["taskArns"]
    reasons = {one["stoppedReason"] for one in ecs.describe_tasks(tasks=tasks)["tasks"]}
    assert all(reason.startswith("CannotPullContainerError") for reason in reasons)
    assert asked(fake, 10) == {(200, "one"): 10}


@pytest.mark.parametrize(("kind", "end"), [("ROLLBACK", "ROLLBACK_SUCCESSFUL"), ("ABORT", "STOPPED")])
def test_a_deployment_can_be_stopped(fake: FakeEcs, image: str, kind: str, end: str) -> None:
    ecs = client(fake)
    create(fake, ecs, register(ecs, image, "one"))
    two = register(ecs, image, "two")
    configuration = linear(50, "PRE_PRODUCTION_TRAFFIC_SHIFT")
    ecs.update_service(service="shop", taskDefinition=two, deploymentConfiguration=configuration)
    arn = go_on(ecs)["serviceDeploymentArn"]
    ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType=kind)
    until(ecs, lambda now: now["status"] == end)
    with pytest.raises(ClientError, match="ConflictException"):
        ecs.stop_service_deployment(serviceDeploymentArn=arn, stopType=kind)
    if kind == "ROLLBACK":
        assert asked(fake, 20) == {(200, "one"): 20}
        assert primary(ecs)["taskDefinition"] != two
    else:
        assert {code for code, _ in asked(fake, 20)} == {200}
        assert primary(ecs)["taskDefinition"] == two


def test_a_pause_that_nobody_answers_takes_its_timeouts_action(fake: FakeEcs, image: str) -> None:
    ecs = client(fake)
    create(fake, ecs, register(ecs, image, "one"))
    timeout = {"timeoutInMinutes": 1, "action": "ROLLBACK"}
    configuration = linear(50, "POST_SCALE_UP", timeoutConfiguration=timeout)
    ecs.update_service(
        service="shop", taskDefinition=register(ecs, image, "two"), deploymentConfiguration=configuration
    )
    end = until(ecs, lambda now: now["status"] == "ROLLBACK_SUCCESSFUL")
    assert "timed out" in end["statusReason"]
    assert asked(fake, 10) == {(200, "one"): 10}


def test_a_task_that_gets_sick_is_replaced(fake: FakeEcs, image: str) -> None:
    ecs = client(fake)
    create(fake, ecs, register(ecs, image, "one"))
    (before,) = ecs.list_tasks(serviceName="shop")["taskArns"]
    ecs.update_service(service="shop", healthCheckGracePeriodSeconds=0)
    ask(fake, "/get-sick")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and asked(fake, 3) != {(200, "one"): 3}:
        time.sleep(0.1)
    (after,) = ecs.list_tasks(serviceName="shop")["taskArns"]
    assert before != after
    reason = ecs.describe_tasks(tasks=[before])["tasks"][0]["stoppedReason"]
    assert reason.startswith(("Task failed container health checks", "Task failed ELB health checks"))


def test_a_killed_fake_goes_on_where_it_was(tmp_path: Path, image: str) -> None:
    script = (
        "import sys, threading; from pathlib import Path; from kits.fake_ecs import FakeEcs\n"
        f"with FakeEcs(Path(sys.argv[1]), port=int(sys.argv[2]), speed={SPEED}, health_path='/health',"
        " secrets={'arn:token': 's'}) as fake:\n"
        "    print(fake.url, flush=True)\n"
        "    threading.Event().wait()\n"
    )

    def run(port: int) -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-c", script, str(tmp_path / "ecs"), str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
        assert process.stdout is not None
        return process, process.stdout.readline().strip()

    process, url = run(0)
    try:
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
        ecs = boto3.session.Session().client("ecs", endpoint_url=url, region_name="eu-west-1", **keys)
        create(None, ecs, register(ecs, image, "one"))  # type: ignore[arg-type]
        two = register(ecs, image, "two")
        configuration = linear(50, "PRE_PRODUCTION_TRAFFIC_SHIFT")
        ecs.update_service(service="shop", taskDefinition=two, deploymentConfiguration=configuration)
        go_on(ecs)
        tasks = sorted(ecs.list_tasks(serviceName="shop")["taskArns"])
        process.send_signal(signal.SIGKILL)
        process.wait()
        process, _ = run(int(url.rpartition(":")[2]))
        assert is_paused(newest(ecs))
        assert newest(ecs)["targetServiceRevision"]["requestedProductionTrafficWeight"] == 50
        assert sorted(ecs.list_tasks(serviceName="shop")["taskArns"]) == tasks
        assert go_on(ecs)["status"] == "SUCCESSFUL"
        assert primary(ecs)["taskDefinition"] == two
    finally:
        process.kill()
        process.wait()
        FakeEcs(tmp_path / "ecs").stop()
    assert not docker.from_env().containers.list(all=True, filters={"label": f"{LABEL}={tmp_path / 'ecs'}"})


def test_a_served_fake_takes_its_containers_along_when_it_is_ended(tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from kits.fake_ecs import serve; serve(Path(sys.argv[1]))"
    command = [sys.executable, "-c", script, str(tmp_path / "ecs")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    assert process.stdout is not None and "fake ECS at http://127.0.0.1:" in process.stdout.readline()
    mine = {"label": f"{LABEL}={tmp_path / 'ecs'}"}
    assert docker.from_env().networks.list(filters=mine)
    process.terminate()
    assert process.wait(60) == 0
    assert not docker.from_env().networks.list(filters=mine)


def test_a_directory_has_one_fake_at_a_time(fake: FakeEcs) -> None:
    with pytest.raises(InputError, match="another fake ECS runs"):
        FakeEcs(fake.directory)


def test_what_a_killed_fake_left_is_removed_once_its_directory_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    engine = docker.from_env()
    network = engine.networks.create("lockgate-fake-ecs-of-nobody", labels={LABEL: str(gone)})
    container = engine.containers.create("lockgate-base:latest", ["true"], labels={LABEL: str(gone)})
    FakeEcs(tmp_path / "ecs").stop()
    for one in (network, container):
        with pytest.raises(docker.errors.NotFound):
            one.reload()


def test_a_log_stream_has_what_a_container_printed_also_after_its_end(fake: FakeEcs, image: str) -> None:
    ecs, logs = client(fake), client(fake, "logs")
    create(fake, ecs, register(ecs, image, "one"))
    (task,) = ecs.list_tasks(serviceName="shop")["taskArns"]
    stream = f"ecs/web/{task.rpartition('/')[2]}"
    said = logs.get_log_events(logGroupName="/shop", logStreamName=stream)
    assert [event["message"] for event in said["events"]] == ["born one s3cr3t"]
    ecs.stop_task(task=task, reason="enough")
    deadline = time.monotonic() + 30
    while ecs.describe_tasks(tasks=[task])["tasks"][0]["lastStatus"] != "STOPPED" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ecs.describe_tasks(tasks=[task])["tasks"][0]["stoppedReason"] == "enough"
    assert logs.get_log_events(logGroupName="/shop", logStreamName=stream)["events"] == said["events"]
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        logs.get_log_events(logGroupName="/other", logStreamName=stream)


@pytest.mark.parametrize(
    ("key", "secret", "code"),
    [("AKIAOTHER", SECRET, "UnrecognizedClientException"), (KEY, "another", "InvalidSignatureException")],
)
def test_a_wrong_signature_is_refused(fake: FakeEcs, key: str, secret: str, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        client(fake, key=key, secret=secret).describe_clusters()
    assert refused.value.response["Error"]["Code"] == code


@pytest.mark.parametrize(
    ("action", "members", "code"),
    [
        ("describe_services", {"cluster": "none", "services": ["shop"]}, "ClusterNotFoundException"),
        ("update_service", {"service": "none"}, "ServiceNotFoundException"),
        ("list_service_deployments", {"service": "none"}, "ServiceNotFoundException"),
        ("stop_service_deployment", {"serviceDeploymentArn": "none"}, "ServiceDeploymentNotFoundException"),
        ("describe_task_definition", {"taskDefinition": "none"}, "ClientException"),
        ("register_task_definition", {"family": "no spaces", "containerDefinitions": []}, "ClientException"),
        ("stop_task", {"task": "none"}, "InvalidParameterException"),
        ("tag_resource", {"resourceArn": "none", "tags": []}, "InvalidParameterException"),
        ("list_clusters", {}, "UnknownOperationException"),
    ],
)
def test_errors_have_the_codes_that_botocore_knows(fake: FakeEcs, action: str, members: Any, code: str) -> None:
    with pytest.raises(ClientError) as refused:
        getattr(client(fake), action)(**members)
    assert refused.value.response["Error"]["Code"] == code
    assert refused.value.response["Error"]["Message"]


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        (linear(2.0), "stepPercent"),
        ({"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.05}}, "canaryPercent"),
        ({"strategy": "ROLLING", "linearConfiguration": {"stepPercent": 10.0}}, "linearConfiguration"),
        (linear(10, "PRODUCTION_TRAFFIC_SHIFT"), "PAUSE hooks cannot be configured"),
        ({**linear(10), "lifecycleHooks": [{"hookTargetArn": "arn:lambda"}]}, "Lambda"),
    ],
)
def test_a_deployment_configuration_is_checked(fake: FakeEcs, image: str, configuration: Any, said: str) -> None:
    ecs = client(fake)
    register(ecs, image, "one")
    ecs.create_service(serviceName="shop", taskDefinition="shop", desiredCount=0, loadBalancers=[BALANCER])
    with pytest.raises(ClientError, match=said):
        ecs.update_service(service="shop", deploymentConfiguration=configuration)


def test_a_token_makes_one_service_and_an_ordered_failure_does_nothing(fake: FakeEcs, image: str) -> None:
    ecs = client(fake)
    register(ecs, image, "one")
    members = {"serviceName": "shop", "taskDefinition": "shop", "desiredCount": 0, "clientToken": "t"}
    fake.fail("CreateService", "ThrottlingException")
    with pytest.raises(ClientError, match="ThrottlingException"):
        ecs.create_service(**members)
    assert ecs.list_services()["serviceArns"] == []
    first, second = (ecs.create_service(**members)["service"]["serviceArn"] for _ in range(2))
    assert first == second
    with pytest.raises(ClientError, match="not idempotent"):
        ecs.create_service(**{**members, "clientToken": "another"})


def test_the_state_is_shown_for_people(fake: FakeEcs, image: str) -> None:
    ecs = client(fake)
    create(fake, ecs, register(ecs, image, "one"))
    connection = http.client.HTTPConnection(fake.url.removeprefix("http://"), timeout=5)
    with contextlib.closing(connection):
        connection.request("GET", "/state")
        shown = json.loads(connection.getresponse().read())
    assert shown["default/shop"]["address"] == f"http://{fake.address('shop')}"
    assert len(shown["default/shop"]["pools"][0]["tasks"]) == 1


def test_weights_follow_the_strategy() -> None:
    def weights(**configuration: Any) -> list[float]:
        return [stage.weight for stage in stages(configuration) if stage.weight is not None]

    assert weights(strategy="LINEAR", linearConfiguration={"stepPercent": 30.0}) == [30, 60, 90, 100]
    assert weights(strategy="CANARY", canaryConfiguration={"canaryPercent": 5.0}) == [5, 100]
    assert weights(strategy="BLUE_GREEN") == [100]
    assert weights(strategy="ROLLING") == []
