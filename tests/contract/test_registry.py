"""Images in registries: pushed by a real engine to a real registry, by name to be pulled by digest."""

import base64
import contextlib
import functools
import http.server
import io
import json
import logging
import os
import secrets
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import boto3
import docker
import pytest
from botocore.stub import Stubber
from pydantic import SecretStr

from blocks.artifacts.builder import ReleaseBuilder
from blocks.artifacts.ecr import login_of, region_of
from blocks.artifacts.registry import RegistryLogin, Repository
from blocks.ledger.ledger import Ledger
from blocks.stores import LocalStore
from blocks.targets.ecs.target import EcsTarget
from blocks.workshop import Workshop, _pushed
from domain.artifact import Provenance
from domain.errors import TargetError
from domain.health import HealthCheck
from domain.ports import ReleaseBuild
from domain.rollout import Rollout
from domain.trees import FILE, Tree, TreeEntry
from kits.fake_ecs import FakeEcs
from tests.contract.test_artifacts import KEY, about, builder, store, toolchain, toolchains
from tests.contract.test_fake_ecs import PROJECT, SPEED, asked, client, create, image, register
from tests.contract.test_target_ecs import target_of
from tests.docker_registry import PASSWORD, DockerRegistry
from tests.engine import engine_socket

__all__ = ["about", "builder", "image", "store", "toolchain", "toolchains"]

ONE, TWO = "1" * 40, "2" * 40
SERVICE = b"""
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps({"releaseId": os.environ["RELEASE_ID"], "status": "pass"}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    made = DockerRegistry(tmp_path / "registry")
    made.start()
    yield made
    made.stop()


@pytest.fixture
def engine(registry: DockerRegistry) -> Iterator[Any]:
    """The API of the engine, which forgets afterwards what was pushed."""
    api = docker.APIClient(f"unix://{engine_socket()}", version="auto")
    yield api
    for found in api.images():
        names = [*(found["RepoTags"] or ()), *(found["RepoDigests"] or ())]
        for name in names:
            if name.startswith(registry.host):
                forget(api, name)
    api.close()


@pytest.fixture
def picture(engine: Any) -> Iterator[str]:
    """The ID of a small image."""
    made = image_of(engine, b"something")
    yield made
    forget(engine, made)


def image_of(engine: Any, content: bytes) -> str:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(f"file-{secrets.token_hex(8)}")
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    name = f"lockgate-registry-test-{secrets.token_hex(4)}"
    engine.import_image_from_data(archive.getvalue(), repository=name, tag="latest")
    return str(engine.inspect_image(name)["Id"])


def forget(engine: Any, image: str) -> None:
    with contextlib.suppress(docker.errors.ImageNotFound):
        engine.remove_image(image, force=True)


def shop(registry: DockerRegistry, password: str = PASSWORD, **more: Any) -> Repository:
    login = RegistryLogin("lockgate", SecretStr(password))
    return Repository(f"{registry.host}/team/shop", lambda: login, engine_socket(), **more)


def tag_of(image: str, revision: str = ONE) -> str:
    return f"{revision}-{image.removeprefix('sha256:')[:12]}"


# ── pushing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_pushed_image_is_pinned_to_what_the_registry_says(
    registry: DockerRegistry, engine: Any, picture: str
) -> None:
    reference = shop(registry).push(picture, ONE)
    digest, manifest = registry.ask(f"team/shop/manifests/{tag_of(picture)}")
    assert reference == f"{registry.host}/team/shop@{digest}"
    assert manifest["config"]["digest"] == picture
    forget(engine, picture)
    engine.pull(reference, auth_config={"username": "lockgate", "password": PASSWORD})
    assert engine.inspect_image(reference)["Id"] == picture


def test_an_image_is_pushed_once(registry: DockerRegistry, picture: str) -> None:
    reference = shop(registry).push(picture, ONE)
    before = len(registry.requests)
    assert shop(registry).push(picture, ONE) == reference
    asked = registry.requests[before:]
    assert asked and {method for method, _, _ in asked} <= {"GET", "HEAD"}
    assert registry.manifests_taken == 1


def test_two_images_of_one_commit_do_not_take_each_others_name(
    registry: DockerRegistry, engine: Any, picture: str
) -> None:
    other = image_of(engine, b"of another environment")
    try:
        first, second = shop(registry).push(picture, ONE), shop(registry).push(other, ONE)
        assert first != second
        for known in (picture, other):
            registry.ask(f"team/shop/manifests/{tag_of(known)}")
    finally:
        forget(engine, other)


def test_a_tag_that_somebody_moved_is_not_believed(registry: DockerRegistry, engine: Any, picture: str) -> None:
    other = image_of(engine, b"of somebody else")
    try:
        strange = shop(registry).push(other, TWO)
        _, manifest = registry.ask(f"team/shop/manifests/{tag_of(other, TWO)}")
        moved, _ = registry.ask(f"team/shop/manifests/{tag_of(picture)}", json.dumps(manifest).encode())
        reference = shop(registry).push(picture, ONE)
        assert reference.partition("@")[2] not in (moved, strange.partition("@")[2])
        digest, manifest = registry.ask(f"team/shop/manifests/{tag_of(picture)}")
        assert manifest["config"]["digest"] == picture and reference.endswith(f"@{digest}")
    finally:
        forget(engine, other)


def test_what_the_registry_has_lost_is_pushed_again(registry: DockerRegistry, picture: str, tmp_path: Path) -> None:
    reference = shop(registry).push(picture, ONE)
    registry.stop()
    (tmp_path / "registry/data").rename(tmp_path / "lost")
    registry.start()
    assert shop(registry).push(picture, ONE) == reference
    assert registry.manifests_taken == 2


def test_the_engine_keeps_an_environments_newest_name_and_all_names_of_others(
    registry: DockerRegistry, engine: Any, picture: str
) -> None:
    other = engine.create_container(picture, ["none"], labels={"io.lockgate.environment": "another"})["Id"]
    another = str(engine.commit(other)["Id"])
    try:
        engine.tag(picture, f"{registry.host}/team/shop", "mine")
        shop(registry).push(another, ONE)
        for revision in (ONE, TWO):
            shop(registry).push(picture, revision)
        names = {name for found in engine.images(f"{registry.host}/team/shop") for name in found["RepoTags"]}
        tags = {name.rpartition(":")[2] for name in names if name.startswith(registry.host)}
        assert tags == {"mine", tag_of(another), tag_of(picture, TWO)}
    finally:
        engine.remove_container(other)
        forget(engine, another)


# ── what goes wrong ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_push_that_was_killed_is_done_again(registry: DockerRegistry, engine: Any) -> None:
    large = image_of(engine, os.urandom(64 << 20))
    script = (
        "import sys; from pydantic import SecretStr; from blocks.artifacts.registry import RegistryLogin, Repository\n"
        "name, socket, password, image = sys.argv[1:]\n"
        "Repository(name, lambda: RegistryLogin('lockgate', SecretStr(password)), socket).push(image, '1' * 40)\n"
    )
    arguments = [f"{registry.host}/team/shop", engine_socket(), PASSWORD, large]
    try:
        pusher = subprocess.Popen([sys.executable, "-c", script, *arguments], cwd=PROJECT)
        paused_within(registry)
        assert pusher.poll() is None
        pusher.send_signal(signal.SIGKILL)
        pusher.wait()
        assert registry.manifests_taken == 0
        registry.go_on()
        reference = shop(registry).push(large, ONE)
        digest, manifest = registry.ask(f"team/shop/manifests/{tag_of(large)}")
        assert reference.endswith(f"@{digest}") and manifest["config"]["digest"] == large
    finally:
        forget(engine, large)


def test_a_registry_that_falls_silent_is_not_waited_for_without_end(registry: DockerRegistry, engine: Any) -> None:
    large, said = image_of(engine, os.urandom(64 << 20)), list[str]()

    def push() -> None:
        try:
            shop(registry, timeout_s=5).push(large, ONE)
        except TargetError as err:
            said.append(str(err))

    try:
        pusher = threading.Thread(target=push)
        pusher.start()
        paused_within(registry)
        pusher.join(60)
        assert not pusher.is_alive() and said and f"push {registry.host}/team/shop" in said[0]
        registry.go_on()
        shop(registry).push(large, ONE)
    finally:
        forget(engine, large)


def paused_within(registry: DockerRegistry) -> None:
    """Stop the registry in the middle of a layer."""
    until = time.monotonic() + 60
    while not registry.has_begun("team/shop"):
        assert time.monotonic() < until, registry.log[-3000:]
    registry.pause()


@pytest.mark.parametrize("is_there", [False, True])
def test_a_wrong_password_is_said_and_never_shown(
    registry: DockerRegistry, picture: str, caplog: pytest.LogCaptureFixture, is_there: bool
) -> None:
    caplog.set_level(logging.DEBUG)
    if is_there:
        shop(registry).push(picture, ONE)
    repository = shop(registry, "another-horse")
    with pytest.raises(TargetError, match="check user name and password") as refused:
        repository.push(picture, TWO)
    seen = f"{refused.value!r} {refused.value.__cause__!r} {repository!r} {caplog.text} {registry.log}"
    for hidden in ("another-horse", PASSWORD):
        for shown in (hidden, base64.b64encode(f"lockgate:{hidden}".encode()).decode()):
            assert shown not in seen


def test_a_registry_that_wants_a_password_says_so(registry: DockerRegistry, picture: str) -> None:
    repository = Repository(f"{registry.host}/team/shop", socket=engine_socket())
    with pytest.raises(TargetError, match="wants a user name and a password"):
        repository.push(picture, ONE)


def test_what_docker_login_left_is_used(
    registry: DockerRegistry, picture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    auth = base64.b64encode(f"lockgate:{PASSWORD}".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    Repository(f"{registry.host}/team/shop", socket=engine_socket()).push(picture, ONE)
    assert registry.manifests_taken == 1


def test_a_registry_that_is_gone_is_said(registry: DockerRegistry, picture: str) -> None:
    reference = shop(registry).push(picture, ONE)
    registry.stop()
    with pytest.raises(TargetError, match="is it running"):
        shop(registry).push(picture, ONE)
    registry.start()
    assert shop(registry).push(picture, ONE) == reference
    assert registry.manifests_taken == 1


def test_a_repository_that_nobody_made_is_said(engine: Any, picture: str) -> None:
    class Handler(http.server.BaseHTTPRequestHandler):
        """As Amazon's: repositories are made by people."""

        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            said = {"code": "NAME_UNKNOWN", "message": "The repository with name 'shop' does not exist"}
            body = b"{}" if self.path == "/v2/" else json.dumps({"errors": [said]}).encode()
            self.send_response(200 if self.path == "/v2/" else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address, pytest.raises(TargetError, match="make the repository first"):
        Repository(f"{address}/shop", socket=engine_socket()).push(picture, ONE)


def test_an_image_that_the_engine_has_not_is_said(registry: DockerRegistry) -> None:
    with pytest.raises(TargetError, match="no image lockgate-none to push"):
        shop(registry).push("lockgate-none", ONE)


def test_an_engine_that_is_gone_is_said(registry: DockerRegistry, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"no Docker Engine at .*none: install one"):
        Repository("registry.example.com/shop", socket=str(tmp_path / "none")).push("shop", ONE)


@contextlib.contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """The host:port of a server while the context is open."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


# ── Amazon ECR ───────────────────────────────────────────────────────────────────────────────────────────────────────


def ecr() -> Any:
    return boto3.client("ecr", region_name="eu-west-1", aws_access_key_id="any", aws_secret_access_key="any")


def given(token: str) -> dict[str, Any]:
    return {"authorizationData": [{"authorizationToken": token, "proxyEndpoint": "https://nowhere"}]}


def test_a_token_of_ecr_is_a_login() -> None:
    aws = ecr()
    with Stubber(aws) as stubbed:
        stubbed.add_response("get_authorization_token", given(base64.b64encode(b"AWS:a:b").decode()), {})
        login = login_of(aws)
    assert (login.username, login.password.get_secret_value()) == ("AWS", "a:b")
    assert "a:b" not in repr(login)


@pytest.mark.parametrize("answer", [given("no base64: hush"), given("/w=="), {"authorizationData": []}])
def test_an_answer_that_is_no_token_is_said_and_not_shown(answer: dict[str, Any]) -> None:
    aws = ecr()
    with Stubber(aws) as stubbed:
        stubbed.add_response("get_authorization_token", answer)
        with pytest.raises(TargetError, match="a token that is none") as refused:
            login_of(aws)
    assert "hush" not in str(refused.value)


def test_a_token_that_aws_does_not_give_is_said() -> None:
    aws = ecr()
    with Stubber(aws) as stubbed:
        stubbed.add_client_error("get_authorization_token", "AccessDeniedException", "not you")
        with pytest.raises(TargetError, match="they may ecr:GetAuthorizationToken"):
            login_of(aws)


@pytest.mark.parametrize(
    ("repository", "region"),
    [
        ("000000000000.dkr.ecr.eu-west-1.amazonaws.com/team/shop", "eu-west-1"),
        ("000000000000.dkr.ecr-fips.us-gov-west-1.amazonaws.com/shop", "us-gov-west-1"),
        ("000000000000.dkr.ecr.cn-north-1.amazonaws.com.cn/shop", "cn-north-1"),
        ("000000000000.dkr-ecr.eu-west-1.on.aws/shop", "eu-west-1"),
        ("000000000000.dkr.ecr.eu-west-1.amazonaws.com.example.org/shop", None),
        ("registry.example.org/000000000000.dkr.ecr.eu-west-1.amazonaws.com/shop", None),
        ("127.0.0.1:5000/shop", None),
    ],
)
def test_a_repository_of_ecr_is_known_by_its_host(repository: str, region: str | None) -> None:
    assert region_of(repository) == region


def test_an_ecs_target_pushes_with_a_token_of_ecr(registry: DockerRegistry, picture: str) -> None:
    signed: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            signed.append(self.headers["Authorization"])
            body = json.dumps(given(base64.b64encode(f"AWS:{PASSWORD}".encode()).decode())).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with serving(Handler) as address:
        target = target_of("http://127.0.0.1:9", "http://127.0.0.1:9", "", repository=f"{registry.host}/shop",
                           ecr_endpoint_url=f"http://{address}")  # fmt: skip
        reference = target.images(engine_socket()).push(picture, ONE)
    assert len(signed) == 1 and "/eu-west-1/ecr/aws4_request" in signed[0]
    assert reference.partition("@")[2] == registry.ask(f"shop/manifests/{tag_of(picture)}")[0]


# ── the whole way ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "has no `repository`"),
        ({"repository": "r:1/shop", "registry_username": "me"}, "belong together"),
        ({"repository": "r:1/shop", "registry_password": SecretStr("hush")}, "belong together"),
    ],
)
def test_half_a_login_is_refused(picture: str, fields: dict[str, Any], said: str) -> None:
    target = target_of("http://127.0.0.1:9", "http://127.0.0.1:9", "", **fields)
    with pytest.raises(TargetError, match=said):
        target.images(engine_socket()).push(picture, ONE)


@pytest.mark.parametrize("name", ["shop", "registry.example.org/shop:1", "https://registry.example.org/shop", "r:1/"])
def test_a_repository_is_host_and_path(name: str) -> None:
    with pytest.raises(ValueError, match="repository"):
        target_of("http://127.0.0.1:9", "http://127.0.0.1:9", "", repository=name)


def test_a_target_that_nobody_pushes_images_for_says_so_before_a_release(registry: DockerRegistry) -> None:
    fields: dict[str, Any] = {"name": "shop", "service": "shop", "container": "web", "public": "http://127.0.0.1:9"}
    assert "set its `repository`" in str(EcsTarget(**fields).preflight())


def test_a_release_is_built_pushed_pulled_and_serves(
    registry: DockerRegistry,
    engine: Any,
    builder: ReleaseBuilder,
    toolchain: Path,
    about: Provenance,
    store: LocalStore,
    image: str,
    tmp_path: Path,
) -> None:
    tree: Tree = {"main.py": TreeEntry(FILE, SERVICE)}
    build = ReleaseBuild(tree, toolchain, "python main.py {port}", HealthCheck(), None, {"MODE": "production"}, None)
    login = json.dumps({"username": "lockgate", "password": PASSWORD})
    values = {"arn:token": "s3cr3t", "arn:registry": login}
    with FakeEcs(tmp_path / "ecs", speed=SPEED, health_path="/health", secrets=values) as fake:
        ecs = client(fake)
        create(fake, ecs, register(ecs, image, "the origin"))
        target = target_of(
            fake.url,
            f"http://{fake.address('shop')}",
            image,
            repository=f"{registry.host}/shop",
            registry_username="lockgate",
            registry_password=SecretStr(PASSWORD),
            template=with_login(ecs, "arn:registry"),
            rollout=Rollout(shares=(50,), share_s=0.1, bake_s=0.5, latency_floor_ms=20_000),
        )

        ledger = Ledger(url=SecretStr(f"sqlite:///{tmp_path / 'ledger.db'}"))
        shop = cast(Workshop, SimpleNamespace(ledger=ledger, builder=builder, store=store))
        ready = target.with_images(functools.partial(_pushed, shop, target))
        with pytest.raises(TargetError, match="the ledger has no artifact"):
            ready.prepare(about.revision, build)
        made = builder.image(build, about, store, KEY)
        ledger.record("the-run", "artifact", f"{target.name}/{about.revision}", made)
        digest = ready.prepare(about.revision, build)
        assert ready.prepare(about.revision, build) == digest and registry.manifests_taken == 1
        forget(engine, f"lockgate-release:{about.revision}")
        for name in [name for found in engine.images(f"{registry.host}/shop") for name in found["RepoTags"]]:
            forget(engine, name)
        assert ready.start(about.revision) is None
        assert ("GET", f"/v2/shop/manifests/sha256:{digest}", 200) in registry.requests
        ready.shift(about.revision, 50)
        ready.promote(about.revision)
        assert asked(fake, 10) == {(200, about.revision): 10}
        assert (ready.pointed(), ready.current()) == (about.revision, about.revision)
        assert ready.artifact(about.revision) == digest


def with_login(ecs: Any, secret: str) -> str:
    """A task definition like the service's, whose image is pulled with a secret."""
    shape = ecs.describe_task_definition(taskDefinition="shop")["taskDefinition"]
    container = shape["containerDefinitions"][0] | {"repositoryCredentials": {"credentialsParameter": secret}}
    names = ("requiresCompatibilities", "cpu", "memory")
    made = ecs.register_task_definition(
        family="template", containerDefinitions=[container], **{name: shape[name] for name in names}
    )
    return str(made["taskDefinition"]["taskDefinitionArn"])
