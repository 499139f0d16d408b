"""`make demo`: the example from its brief to a live release, with everything that goes wrong on the way."""

import contextlib
import os
import shlex
import shutil
import subprocess
import threading
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markdown import Markdown
from rich.prompt import Prompt

from blocks.home import home
from domain.errors import InputError, LockgateError
from domain.project import ProjectSettings
from domain.records import LIVE
from domain.rollout import Rollout
from domain.task import End, Question
from station import moved, processes, settings, supervisor

if TYPE_CHECKING:
    from station.demo_at_forge import AtForge

console = Console(highlight=False, soft_wrap=True)
SHORT = Rollout(share_s=0.5, bake_s=0.5)
"""Nobody uses the example: it is watched for less time than what people use."""
SHOP = settings.PROJECT / "examples" / "shop"


def demo(interactive: bool, at_forge: bool = False) -> int:
    """Play it; the exit code of the outcome. `at_forge`: where people review at a GitHub, and see it there."""
    from station.bill import show_bill
    from station.follow import follow
    from station.status import ledger_of
    from station.submit import run_url, submit

    started = time.monotonic()
    if problem := moved.problem():
        raise InputError(problem)
    if at_forge:
        os.environ.setdefault("LOCKGATE_FORGES_S", "2")  # who reviews here is quick
    console.print("[bold]Lockgate demo[/]: starting the Prefect server and a worker")
    supervisor.start()
    settings.use(always=True)  # the port may be another one now, and Prefect reads it once, when it is imported
    imported = threading.Event()
    threading.Thread(target=_make_ahead, args=(imported,), name="make-ahead", daemon=True).start()
    supervisor.wait()
    imported.wait()  # else two threads could import each other's halves, and wait for one another
    console.print(f"Prefect UI: {settings.url()} (credential in {home() / 'credentials' / 'api-credential'})")
    url = _set_up()
    from flows.briefs import read_brief

    with contextlib.ExitStack() as stack:
        there = stack.enter_context(_at_forge()) if at_forge else None
        repository = there.address if there else str(home() / "demo" / "shop.git")
        brief = read_brief(SHOP / "brief.toml", repository=repository)
        if there:
            console.print(f"GitHub: {there.url}/acme/shop, a fake one on this machine")
        run_id = there.ask_for(brief) if there else submit(brief)
        console.print(f"brief submitted: [bold]{brief.title}[/]\nrun: {run_url(run_id)}\n")
        if there:
            with there:
                outcome = follow(run_id)
            console.print(f"\nGitHub: {there.url}/acme/shop has the pull requests")
            if interactive:
                Prompt.ask("Enter ends the fake GitHub", default="", show_default=False)
        else:
            outcome = follow(run_id, reviewer=_ask if interactive else _approve_as_demo)
    console.print(f"\n[bold]{outcome.sentence}[/]")
    lives = [e.body["revision"] for e in ledger_of(None).entries(run_id, (LIVE.kind,))]
    if len(lives) > 1:
        console.print(f"releases: {lives[0][:12]} (before) → {lives[-1][:12]} (now, as {url}/health says)")
    console.print("\n[bold]Bill[/]")
    show_bill(run_id)
    command = f"LOCKGATE_HOME={shlex.quote(str(home()))} {settings.COMMAND}"
    console.print(f"run       {run_url(run_id)}")
    if outcome.end is End.LIVE:
        console.print(f"service   {outcome.url or url}/v2/search?q=couch")
        console.print(f"verify    {command} verify {run_id}\nroll back {command} rollback shop")
    console.print(f"stop      {command} down\n{time.monotonic() - started:.0f} s in all")
    return outcome.end.exit_code


def _at_forge() -> "contextlib.AbstractContextManager[AtForge]":
    from station.demo_at_forge import hosted

    shutil.rmtree(home() / "demo" / "forge", ignore_errors=True)
    return hosted(SHOP / "repository")


def _make_ahead(imported: threading.Event) -> None:
    """While the server starts: our own imports, and what prepare would make first, the example's environment and the
    scanner's rules. Whatever fails here fails there again, and is told there."""
    try:
        import blocks.catalogue  # noqa: F401 - what `submit` needs
        import flows.briefs  # noqa: F401
        from blocks.sandboxes.bubblewrap import Bubblewrap
        from blocks.scanners import Kingfisher
        from blocks.toolchains.wheels import WheelToolchains
    finally:
        imported.set()

    told = ProjectSettings.model_validate(tomllib.loads((SHOP / "repository" / "lockgate.toml").read_text()))
    with contextlib.suppress(Exception):
        WheelToolchains().ensure(sorted(told.requirements), Bubblewrap())
    with contextlib.suppress(Exception):
        Kingfisher().doctor()


def _set_up() -> str:
    """A fresh repository, agent and environment for the example; the public address."""
    from prefect.context import SyncClientContext

    from blocks.agents.replay import Replay
    from blocks.databases.sqlite import SqliteDatabase
    from blocks.targets.machine.process import ProcessTarget
    from blocks.workshop import Workshop

    old = home() / "targets" / "shop"
    if old.exists() and not (home() / "demo").exists():
        raise InputError(
            f"{home()} has an environment `shop` of its own: set LOCKGATE_HOME to a directory for the demo"
        )
    make_repository(home() / "demo" / "shop.git")
    if old.exists():
        ProcessTarget(name="shop", port=1).remove()
    port = processes.free_port(8080)
    target = ProcessTarget(name="shop", port=port, rollout=SHORT)
    with SyncClientContext.get_or_create():  # one client for all of it
        target.keep("shop")
        SqliteDatabase(path=target.data / "shop.db").keep("shop")
        Replay(recording=SHOP / "attempts").keep("shop")
        shop = Workshop.saved("default")
        shop.targets = {**shop.targets, "shop": "process-target/shop"}
        shop.databases = {**shop.databases, "shop": "sqlite-database/shop"}
        shop.keep("default")
    return f"http://127.0.0.1:{port}"


def make_repository(bare: Path, files: Path = SHOP / "repository") -> None:
    """The example as a bare repository with one commit on `main`; the same files give the same commit."""
    shutil.rmtree(bare, ignore_errors=True)
    bare.parent.mkdir(parents=True, exist_ok=True)
    who = {"NAME": "shop", "EMAIL": "shop@example.invalid", "DATE": "2026-01-01T00:00:00Z"}
    names = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in who.items()}
    env = {"PATH": os.environ["PATH"], "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **names}

    def git(*words: str) -> str:
        done = subprocess.run(["git", f"--git-dir={bare}", *words], env=env, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"git {words[0]} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    git("init", "--quiet", "--bare", "--initial-branch=main")
    git("config", "core.bare", "false")
    git(f"--work-tree={files}", "add", "--all", "--force", ":!**/__pycache__", ":!**/.*_cache")
    git("update-ref", "refs/heads/main", git("commit-tree", git("write-tree"), "-m", f"The {bare.stem}"))
    git("config", "core.bare", "true")
    (bare / "index").unlink()


def _approve_as_demo(question: Question) -> tuple[str, str, str]:
    """Nobody is at the terminal: approve, and say so."""
    console.print(f"         [yellow]no terminal: attempt {question.attempt} is approved as the user `demo`[/]")
    return "approve", "demo", "approved by the demo itself: nobody is at the terminal"


def _ask(question: Question) -> tuple[str, str, str]:
    """Show the change and ask."""
    console.print(Markdown(question.text))
    try:
        answer = Prompt.ask("your answer", choices=["approve", "changes", "reject"], default="approve")
        comment = Prompt.ask("comment", default="", show_default=False) if answer != "approve" else ""
    except EOFError as err:
        raise LockgateError("nobody answered: the review waits in the UI; `lockgate down` stops all") from err
    return ("ask for changes" if answer == "changes" else answer), os.environ.get("USER", "demo"), comment
