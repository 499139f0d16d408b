"""Keeps one machine's Lockgate alive: server, gateway, worker, deployments, crashed runs."""

import logging
import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from blocks.home import home
from station import processes, settings

log = logging.getLogger("lockgate")
PYTHON = sys.executable
PREFECT = str(Path(sys.executable).with_name("prefect"))


def up(timeout_s: float = 300) -> bool:
    """Start the supervisor and wait until a run could be submitted; whether it had to be started."""
    if processes.running("supervisor") and _is_ready():
        return False
    if not processes.running("supervisor"):
        if not processes.running("server"):  # ours may have outlived its supervisor, and keeps its port
            (home() / "port").write_text(str(processes.free_port(settings.port())))
        (home() / "run" / "ready").unlink(missing_ok=True)
        env = {**_system_environment(), **settings.client_environment()}
        processes.start("supervisor", [PYTHON, "-m", "station.supervisor"], env, settings.PROJECT)
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        if _is_ready():
            return True
        if not processes.running("supervisor"):
            break
        time.sleep(0.2)
    tail = processes.log_of("supervisor").read_text()[-2000:]
    raise RuntimeError(f"Lockgate did not come up; the end of {processes.log_of('supervisor')}:\n{tail}")


def down() -> list[str]:
    """Stop everything that `up` and its releases started; what was stopped."""
    stopped = [name for name in ("supervisor", "worker", "zygote", "gateway", "server") if processes.stop(name)]
    (home() / "run" / "ready").unlink(missing_ok=True)
    return stopped


class Supervisor:
    """Start, watch, start again. Everything it starts is found again by pid, so it can itself be killed and started."""

    def __init__(self) -> None:
        self.stopping = False

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._keep_server()
        self._keep_zygote()  # imports while the server starts
        self._wait_for_server()
        from station.bootstrap import bootstrap  # imports prefect, which reads the settings that `up` gave us

        bootstrap()
        self._keep_gateway()
        self._keep_worker()
        (home() / "run" / "ready").write_text(str(os.getpid()))
        log.info("ready at %s", settings.url())
        self._keep_serving()
        self._watch()
        for name in ("worker", "zygote", "gateway", "server"):
            processes.stop(name)

    def _watch(self) -> None:
        from prefect.client.orchestration import get_client

        from blocks.workshop import workshop
        from flows.resume import resume_crashed

        while not self.stopping:
            time.sleep(2)
            self._keep_server()
            self._keep_gateway()
            self._keep_zygote()
            self._keep_worker()
            try:
                with get_client(sync_client=True) as client:
                    done = resume_crashed(client)
                if done:  # what crashed may have left a sandbox behind
                    done += workshop("default").sweep(lambda _: False)
                for line in done:
                    log.info(line)
            except Exception as err:  # the server may be gone for a moment; the next round tells
                log.warning("could not look after crashed runs: %s", err)

    def _keep_serving(self) -> None:
        """Releases and proxies come back with us, as after a reboot."""
        from blocks.workshop import workshop
        from flows.housekeeping import keep_serving

        try:
            for line in keep_serving(workshop("default")):
                log.info(line)
        except Exception as err:  # a release that does not start must not keep the platform from starting
            log.warning("could not look after the releases: %s", err)

    def _stop(self, *_: object) -> None:
        self.stopping = True

    def _keep_server(self) -> None:
        if not processes.running("server") and not self.stopping:
            log.info("starting the server on port %s", settings.port())
            argv = [PREFECT, "server", "start", "--host", "127.0.0.1", "--port", str(settings.port())]
            env = {**_system_environment(), **settings.server_environment()}
            processes.start("server", argv, env, home())

    def _keep_gateway(self) -> None:
        if not processes.running("gateway") and not self.stopping:
            log.info("starting the gateway")
            env = {**_system_environment(), **settings.client_environment()}
            processes.start("gateway", [PYTHON, "-m", "station.gateway"], env, settings.PROJECT)

    def _keep_zygote(self) -> None:
        if not processes.running("zygote") and not self.stopping:
            log.info("starting the zygote")
            processes.start("zygote", [PYTHON, "-m", "station.warm.zygote"], _worker_environment(), settings.PROJECT)

    def _keep_worker(self) -> None:
        if not processes.running("worker") and not self.stopping:
            log.info("starting the worker")
            argv = [PREFECT, "worker", "start", "--pool", settings.POOL, "--type", "process", "--name", "lockgate"]
            sweep_runners(home() / "tmp")
            processes.start("worker", argv, _worker_environment(), settings.PROJECT)

    def _wait_for_server(self, timeout_s: float = 250) -> None:
        """It takes 7 s, and minutes on a machine with much else to do. One that has ended is not waited for."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until and processes.running("server") and not self.stopping:
            if _answers():
                return
            time.sleep(0.2)
        raise RuntimeError(f"the server does not answer at {settings.url()}; see {processes.log_of('server')}")


def sweep_runners(temporary: Path) -> None:
    """Remove what a killed worker's runners left: files with the API credential in them. A live process names its own.

    https://github.com/PrefectHQ/prefect/blob/main/src/prefect/runner/_workspace_starter.py
    """
    commands = b"".join(_command(process) for process in Path("/proc").glob("[0-9]*"))
    for left in temporary.glob("prefect-workspace-attempt-*"):
        if os.fsencode(left.name) not in commands:
            shutil.rmtree(left, ignore_errors=True)


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:  # it ended
        return b""


def _answers() -> bool:
    try:
        with urllib.request.urlopen(f"{settings.url()}/api/health", timeout=2) as answer:  # noqa: S310 - loopback
            return bool(answer.status == 200)
    except (urllib.error.HTTPError, OSError) as err:
        return isinstance(err, urllib.error.HTTPError) and err.code == 401


def _is_ready() -> bool:
    return (home() / "run" / "ready").exists() and _answers()


def _worker_environment() -> dict[str, str]:
    """The worker's, and with it that of flow runs and of the zygote that they are forks of."""
    temporary = home() / "tmp"  # Prefect's runner uses one fixed name in there: in /tmp another user may own it
    temporary.mkdir(mode=0o700, parents=True, exist_ok=True)
    return {**_system_environment(), **settings.client_environment(), "TMPDIR": str(temporary)}


def _system_environment() -> dict[str, str]:
    """What a process needs of ours: where things are, how networks are reached; nothing that only we know."""
    kept = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR",
            "CI", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
            "DOCKER_HOST", "NPM_CONFIG_REGISTRY", "npm_config_registry")  # fmt: skip
    prefixes = ("UV_", "PIP_", "LOCKGATE_", "HTTP_", "HTTPS_", "NO_PROXY", "http_", "https_", "no_proxy")
    return {name: value for name, value in os.environ.items() if name in kept or name.startswith(prefixes)}


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    Supervisor().run()
