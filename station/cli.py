"""`lockgate`: submit a brief, answer for it, look at it, roll it back. Wrong use ends with exit code 2."""

import contextlib
import errno
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from blocks.home import home
from domain.errors import InputError, LockgateError
from station import settings
from station.roles import StationRole, named, roles, take

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="A canal lock for code by agents.")
UNUSABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR, errno.EEXIST)
AT_THE_DOOR = ("run", "status", "inbox", "review", "answer", "log", "rollback", "downgrade", "hold", "open", "cancel")
"""Commands that work with a token, from another machine; all others need the station's own."""
YOUR_NAME = "Your name, for the record; default: as this machine calls you"


def _whole(context: typer.Context, given: str | None) -> str | None:
    """An id of a run, for any beginning of it that no other run has."""
    if given is None or context.resilient_parsing:
        return given
    from station import api

    return api.whole(given)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"lockgate {version('lockgate')}")
        raise typer.Exit


@contextlib.contextmanager
def _starts() -> Iterator[None]:
    """Ctrl-C while a run is being started."""
    try:
        yield
    except KeyboardInterrupt:
        print(
            "\nended while a run was being started: `lockgate status` lists the newest runs, so you see whether it was",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None


@contextlib.contextmanager
def _goes_on(run_id: str) -> Iterator[None]:
    """Ctrl-C ends the command that follows a run, and nothing else."""
    try:
        yield
    except KeyboardInterrupt:
        print(
            f"\nthe run goes on: `lockgate log {run_id} --follow` follows it, `lockgate cancel {run_id}` ends it",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None


Environment = Annotated[str, typer.Argument(help="As the workshop has it in `targets`, such as production")]
Run = Annotated[
    str,
    typer.Argument(
        metavar="RUN", callback=_whole, help="A run; the first four characters of its id, or more if others begin so"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else")]


def main() -> None:
    """The entry point. Errors of ours end with one line on stderr: 2 for wrong input, 4 for trouble of the platform."""
    for name in ("EventsWorker", "APILogWorker"):  # Prefect's: at the end they warn that they are still sending
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        command = next(iter(sys.argv[1:]), "")
        if not command.startswith("-") and command != "restore":  # these make no home
            settings.use(always=command == "demo", door=command in AT_THE_DOOR)
        app(prog_name="lockgate")
    except InputError as err:
        _fail(str(err), 2)
    except LockgateError as err:
        _fail(str(err), 4)
    except OSError as err:
        if err.errno not in UNUSABLE:
            raise
        _fail(f"{err}: is {home()} a directory that you may write? LOCKGATE_HOME names another one", 4)
    except RuntimeError as err:
        _fail(str(err), 4)
    except Exception as err:
        httpx = sys.modules.get("httpx")  # who has not imported it has no error of it
        if httpx is None or not isinstance(err, httpx.HTTPError):
            raise
        _fail(f"the server at {settings.url()} does not answer {home()}: is `lockgate up` running? ({err})", 4)


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it")] = False,
) -> None:
    """A canal lock for code by agents."""


@app.command()
def up(
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay, for an init system or a container that watches this process")
    ] = False,
    role: Annotated[
        list[StationRole] | None, typer.Option(help="Only this part of a station, here from now on; may be repeated")
    ] = None,
    database: Annotated[
        Path | None, typer.Option(help="File with the URL of a PostgreSQL database for the server; kept in the home")
    ] = None,
    redis: Annotated[Path | None, typer.Option(help="File with the URL of a Redis for it; kept in the home")] = None,
) -> None:
    """Start server, gateway, zygote, worker and supervisor; prints where they are."""
    from station import credentials, first_look, moved, supervisor

    if problem := moved.problem():
        raise InputError(problem)
    if (database is None) != (redis is None):
        raise InputError("a server that shares what it knows needs both: --database and --redis")
    given = credentials.Shared(database.read_text().strip(), redis.read_text().strip()) if database and redis else None
    if given:
        credentials.check(given)
    take(role or (), shares=given is not None)
    if given:
        credentials.share(given)
    if foreground:
        moved.note()
        supervisor.become()
    started = supervisor.up()
    moved.note()
    settings.use(always=True)  # the port may be another one now, and Prefect reads it once, when it is imported
    if not roles() & {StationRole.SERVER, StationRole.SERVICES}:
        print(f"this machine {'works' if started else 'was working'} for the station at {settings.url()}")
        return
    if StationRole.SERVER not in roles():
        print(f"this machine is {named(roles())} of the station at {settings.url()}")
        return
    if StationRole.SERVICES not in roles():
        print(f"Prefect UI   {settings.url()}  ({'started' if started else 'was running'})")
        print(f"door         {settings.door_url()}  (and the desk)")
        return
    told = f"{'started' if started else 'was running'}; listens on {settings.server_host()} only"
    print(f"Prefect UI   {settings.url()}  ({told})")
    print(f"desk         {settings.desk_url()}  (what waits for a person; sign in with a token)")
    print(f"door         {settings.door_url()}  (for people and programs: `lockgate token add`, docs/access.md)")
    print(f"credential   {credentials.folder() / 'api-credential'}  (user:password, mode 600)")
    print(f"block key    {credentials.folder() / 'encryption-key'}  (mode 600; keep a copy: it decrypts the blocks)")
    print(f"inbox        {home() / 'inbox'}  (briefs dropped here are run)")
    for line in first_look.taken() if started else first_look.take():
        print(line)


@app.command()
def join(
    url: Annotated[str, typer.Argument(help="Address of the station's server, such as https://lockgate.example.org")],
    credential_file: Annotated[
        Path | None,
        typer.Option(help="A copy of its credentials/api-credential; default: asked for, or stdin"),
    ] = None,
) -> None:
    """Let this machine work for a station: `up` then starts a worker and a gateway here, and no server."""
    from station import joining
    from station.adding import asked

    given = credential_file.read_text() if credential_file else asked("The station's API credential")
    print(joining.join(url, given.strip()))


@app.command()
def down(
    everywhere: Annotated[bool, typer.Option("--everywhere", help="Releases on Swarm, ECS and the like too")] = False,
) -> None:
    """Stop everything that this home started on this machine: releases and their proxies too."""
    from blocks.sandboxes.docker import Docker
    from station import supervisor
    from station.targets import saved_targets, stop_targets

    saved = saved_targets()  # the server says it, so before it ends
    stopped = [*supervisor.down(), *stop_targets(saved, everywhere)]  # a run under way must not see its release vanish
    with contextlib.suppress(LockgateError):  # no engine, no waiting containers
        Docker().drain()
    print(f"stopped: {', '.join(stopped) or 'nothing was running'}")


@app.command()
def init(
    repository: Annotated[str, typer.Argument(help="A path or a git URL")] = ".",
    directory: Annotated[str, typer.Option(help="Of the project in its repository, such as services/api")] = "",
    branch: Annotated[str | None, typer.Option(help="Default: the repository's default branch")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write lockgate.toml there, for you to commit")] = False,
    forge: Annotated[
        bool, typer.Option("--forge", help="Instead, write an issue form for its forge there, for you to commit")
    ] = False,
    as_json: Json = False,
) -> None:
    """How a repository is installed and tested, proven in a sandbox; prints its lockgate.toml. Never pushes."""
    if forge:
        from station.issue_form import write_form

        print(write_form(repository), end="")
        return
    from station.init import init as look

    raise typer.Exit(look(repository, branch, directory, write, as_json))


@app.command()
def run(
    brief: Annotated[Path, typer.Argument(help="A brief: TOML or JSON")],
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow it to its end; the exit code tells how it ended")
    ] = False,
    as_json: Json = False,
    repository: Annotated[str | None, typer.Option(help="Instead of the brief's repository")] = None,
    change: Annotated[
        str | None,
        typer.Option(help="A branch with a change that was made elsewhere: it is judged, and no agent works"),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key never starts a second run")] = None,
) -> None:
    """Submit a brief. With --wait: 0 live or merged, 1 declined, 2 refused or wrong use, 3 gave up, 4 frozen."""
    from flows.briefs import read_brief
    from station import follow, submit

    if wait:
        settings.need_station("--wait")
    with _starts():
        run_id = submit.submit(read_brief(brief, repository=repository, change=change), key=key)
    if not as_json:
        print(f"run {run_id}\n{submit.run_url(run_id)}", flush=True)
    if not wait:
        if as_json:
            print(json.dumps({"run_id": run_id, "url": submit.run_url(run_id)}))
        return
    with _goes_on(run_id):
        outcome = follow.follow(run_id, quiet=as_json)
    print(outcome.model_dump_json() if as_json else f"\n{outcome.sentence}")
    raise typer.Exit(outcome.end.exit_code)


@app.command()
def status(
    run_id: Annotated[str | None, typer.Argument(callback=_whole, help="A run; empty lists the newest")] = None,
    as_json: Json = False,
) -> None:
    """What a run has done so far, or the newest runs."""
    from station.status import show_run, show_runs

    if run_id:
        settings.need_station("the timeline of a run")
        show_run(run_id, as_json)
    else:
        show_runs(as_json)


@app.command()
def inbox(as_json: Json = False) -> None:
    """Reviews and questions that wait for a person, oldest first, with the command that answers each."""
    from station.inbox import show

    show(as_json)


@app.command()
def review(
    run_id: Annotated[str | None, typer.Argument(callback=_whole, help="A run; empty: what waits")] = None,
    approve: Annotated[bool, typer.Option("--approve", help="Let the change pass, as it is shown")] = False,
    changes: Annotated[str | None, typer.Option("--changes", help="Ask for changes, with a comment")] = None,
    reject: Annotated[str | None, typer.Option("--reject", help="Reject, with a reason")] = None,
    reviewer: Annotated[str | None, typer.Option("--as", help="Your name, for the record")] = None,
) -> None:
    """Show what waits for a review, or answer it."""
    if run_id is None:
        if approve or changes or reject:
            raise InputError("which run? `lockgate inbox` lists what waits")
        inbox()
        return
    from station import answers

    chosen = [
        ("approve", "") if approve else None,
        changes and ("ask for changes", changes),
        reject and ("reject", reject),
    ]
    given = [choice for choice in chosen if choice]
    if not given:
        print(answers.question(run_id).text)
        return
    if len(given) > 1 or not (reviewer or settings.is_signed_in()):
        raise InputError("give one of --approve, --changes and --reject, and your name with --as")
    decision, comment = given[0]
    answers.review(run_id, decision, reviewer or "", comment)
    print(f"{decision}: run {run_id} goes on")


@app.command()
def answer(
    run_id: Run,
    text: Annotated[str | None, typer.Argument(help="Your answer; empty shows what is asked")] = None,
    by: Annotated[str | None, typer.Option("--as", help="Your name, for the record")] = None,
) -> None:
    """Show the agent's questions, or answer them."""
    from station import answers

    if text is None:
        print("\n".join(answers.questions(run_id)))
        return
    if not (by or settings.is_signed_in()):
        raise InputError("give your name with --as")
    answers.answer(run_id, text, by or "")
    print(f"answered: run {run_id} goes on")


@app.command()
def rollback(
    environment: Environment,
    revision: Annotated[
        str | None, typer.Option("--to", help="A release that was live; default: the one before")
    ] = None,
    reason: Annotated[str, typer.Option(help="For the record")] = "asked for on the command line",
    by: Annotated[str | None, typer.Option("--as", help=YOUR_NAME)] = None,
) -> None:
    """Bring an environment back to a release that was seen live; directly on this machine if the server is down."""
    from station import api, submit

    if not settings.is_signed_in() and not api.answers(within_s=10):
        from station import directly

        print(f"the server at {settings.url()} does not answer: rolling back without it", file=sys.stderr)
        print(directly.roll_back(environment, revision, reason, settings.claimed(by)))
        return
    with _starts():
        run_id = submit.roll_back(environment, revision, reason, settings.claimed(by))
    _wait_for(run_id)


@app.command()
def downgrade(
    environment: Environment,
    accept: Annotated[
        list[str] | None, typer.Option(help="A rule that asks for a person, such as migration-lossy")
    ] = None,
    reason: Annotated[str, typer.Option(help="For the record")] = "asked for on the command line",
    by: Annotated[str | None, typer.Option("--as", help=YOUR_NAME)] = None,
) -> None:
    """Take the last migration of an environment's database back, where its way back was proven."""
    from station import submit

    with _starts():
        run_id = submit.downgrade(environment, accept or [], reason, settings.claimed(by))
    _wait_for(run_id)


def _wait_for(run_id: str) -> None:
    from station import submit

    with _goes_on(run_id):
        state = submit.wait(run_id)
    print(state["message"])
    raise typer.Exit(0 if state["type"] == "COMPLETED" else 4)


@app.command()
def hold(
    environment: Environment,
    reason: Annotated[str, typer.Argument(help="Why, for who finds it held")],
    by: Annotated[str | None, typer.Option("--as", help="Your name, for the record")] = None,
) -> None:
    """Release nothing to an environment from now on; what serves there goes on, and can be rolled back."""
    from station import holding

    print(holding.at_the_door("hold", environment, reason) or holding.hold(environment, reason, settings.named(by)))


@app.command("open")
def open_again(
    environment: Environment,
    reason: Annotated[str, typer.Argument(help="What was found and done, for the record")],
    by: Annotated[str | None, typer.Option("--as", help="Your name, for the record")] = None,
) -> None:
    """Let releases go to an environment again that was held, by a person or after three rollbacks in a row."""
    from station import holding

    print(
        holding.at_the_door("open", environment, reason) or holding.open_again(environment, reason, settings.named(by))
    )


@app.command()
def cancel(
    run_id: Run,
    why: Annotated[str, typer.Option(help="For the record")] = "",
    by: Annotated[str | None, typer.Option("--as", help="Your name, for the record")] = None,
) -> None:
    """End a run: it is declined. One that releases right now is not stopped half-way: roll back instead."""
    from station import cancelling

    print(cancelling.cancel(run_id, why, "" if settings.is_signed_in() else settings.named(by)))


@app.command()
def bill(
    run_id: Annotated[str | None, typer.Argument(callback=_whole, help="A run; empty sums up all")] = None,
    by: Annotated[str | None, typer.Option(help="task, step, agent, model, environment or day")] = None,
    since: Annotated[str | None, typer.Option(help="A day, such as 2026-11-01")] = None,
    as_json: Json = False,
) -> None:
    """What models and sandboxes were used for, like a cloud bill."""
    from station.bill import show_bill

    show_bill(run_id, by, since, as_json)


@app.command()
def team(as_json: Json = False) -> None:
    """What agents did, and how people review: counted from the ledgers, with how much of it may be luck."""
    from station.team import show

    show(as_json)


@app.command()
def findings(
    run_id: Run,
    attempt: Annotated[int | None, typer.Option(help="Default: the newest that was tested and scanned")] = None,
    sarif: Annotated[Path | None, typer.Option(help="Write them as SARIF 2.1.0 to this file; - is stdout")] = None,
    as_json: Json = False,
) -> None:
    """What the gates saw of an attempt: for you, for a program, or as SARIF for a forge."""
    from station.findings import show_findings

    if sarif and as_json:
        raise InputError("give one of --sarif and --json")
    show_findings(run_id, attempt, sarif, as_json)


@app.command()
def diff(
    run_id: Run,
    attempt: Annotated[int | None, typer.Option(help="Default: the newest that made a change")] = None,
) -> None:
    """The change that an attempt made, in colours on a terminal."""
    from station.looking import show_diff

    show_diff(run_id, attempt)


@app.command()
def log(
    run_id: Run,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until it ends; Ctrl-C leaves the run alone")
    ] = False,
) -> None:
    """What a run has logged."""
    from station.looking import show_log

    with _goes_on(run_id) if follow else contextlib.nullcontext():
        show_log(run_id, follow)


@app.command()
def bundle(
    run_id: Run,
    release: Annotated[str | None, typer.Option(help="Of the run; default: the last that had to leave")] = None,
    as_json: Json = False,
) -> None:
    """Why a release had to leave: phase, health answers, numbers, timeline, state, exit code, the end of its log."""
    from station.bundle import show_bundle

    show_bundle(run_id, release, as_json)


@app.command()
def verify(
    run_id: Annotated[str | None, typer.Argument(callback=_whole, help="A run; empty: the ledgers alone")] = None,
    trust: Annotated[
        str | None, typer.Option(help="Checkpoints by the signing key with this fingerprint count from now on")
    ] = None,
    as_json: Json = False,
) -> None:
    """Recompute brief → tree → evidence → approval → artifact → what the service says, and the ledger beside what was
    signed about it; names the broken link."""
    from station import verify as chain

    if trust:
        print(chain.trust(trust))
        return
    links = chain.verify(run_id) if run_id else chain.verify_ledgers()
    if as_json:
        print(json.dumps([link.model_dump() for link in links]))
    else:
        for link in links:
            found = "BROKEN" if link.problem else "------" if link.elsewhere else "ok    "
            print(f"{found} {link.name}: {link.problem or link.proof}")
    raise typer.Exit(0 if all(link.problem is None for link in links) else 1)


@app.command()
def backup(file: Annotated[Path, typer.Argument(help="Where to, such as /mnt/backups/lockgate.tar.gz")]) -> None:
    """All that this station is as one file of mode 600, secrets and all; it may go on working meanwhile."""
    from station.backup import backup as make

    print("\n".join(make(file)))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `lockgate backup` wrote, such as lockgate.tar.gz")],
) -> None:
    """Put a station back from its backup, into a home that is not there."""
    from station.backup import restore as put_back

    print("\n".join(put_back(file)))


@app.command()
def doctor(
    page: Annotated[
        bool, typer.Option("--page", help="Send a test by each channel that workshops name, and nothing else")
    ] = False,
) -> None:
    """What works on this machine, what is missing, and the fix."""
    from station import doctor as looks

    broken = 0
    for check in looks.page() if page else looks.checks():
        broken += check.needed and check.problem is not None
        word = "ok     " if check.problem is None else "MISSING" if check.needed else "without"
        print(f"{word} {check.name}{f': {check.problem}' if check.problem else ''}")
    raise typer.Exit(1 if broken else 0)


egress = typer.Typer(no_args_is_help=True, help="What leaves the sandboxes.")
app.add_typer(egress, name="egress")
image = typer.Typer(no_args_is_help=True, help="The base image of docker sandboxes.")
app.add_typer(image, name="image")
agent = typer.Typer(no_args_is_help=True, help="Agents that briefs can call.")
app.add_typer(agent, name="agent")
provider = typer.Typer(no_args_is_help=True, help="Where models are called.")
app.add_typer(provider, name="provider")
secret = typer.Typer(no_args_is_help=True, help="Values that only the gateway sees.")
app.add_typer(secret, name="secret")
token = typer.Typer(no_args_is_help=True, help="Who may come in at the door, and for what.")
app.add_typer(token, name="token")
person = typer.Typer(no_args_is_help=True, help="Who signs in at the desk, by a password or an OpenID provider.")
app.add_typer(person, name="person")


@egress.command()
def check(
    host: Annotated[str, typer.Argument(help="A name, such as pypi.org")],
    path: Annotated[str, typer.Argument(help="Without the query")] = "/",
    method: Annotated[str, typer.Option(help="HTTP method")] = "GET",
    phase: Annotated[str, typer.Option(help="setup, plan, edit, review or test")] = "edit",
    run_id: Annotated[str | None, typer.Option("--run", callback=_whole, help="With its project's settings")] = None,
) -> None:
    """What the gateway would do with a request, and why. Exit code 0: it would pass; 1: it would not."""
    from station.egress import explained

    allowed, why = explained(host, path, method.upper(), phase, run_id)
    print(why)
    raise typer.Exit(0 if allowed else 1)


@image.command()
def build() -> None:
    """Make the base image from this machine's own packages; needs a Docker engine and no registry."""
    from station.image import build as make

    make()


@app.command()
def login(
    url: Annotated[str, typer.Argument(help="The door's address, such as https://lockgate.example.org")],
    token_file: Annotated[Path | None, typer.Option(help="A file of mode 600; default: asked for, or stdin")] = None,
) -> None:
    """Sign in at a station's door: run, inbox, review, answer, rollback and downgrade then work from here."""
    from station import login as door

    print(door.login(url, token_file))


@app.command()
def logout() -> None:
    """Forget the door and the token."""
    from station import login as door

    print(door.logout())


@agent.command("add")
def add_agent(
    kind: Annotated[str, typer.Argument(help="claude-code, codex, mini-swe, opencode, aider, command or replay")],
    name: Annotated[str, typer.Argument(help="A brief calls it KIND/NAME")],
    field: Annotated[
        list[str] | None, typer.Option("--set", help="A field as NAME=VALUE, such as model=anthropic/claude-sonnet-5")
    ] = None,
) -> None:
    """Make an agent. Its fields are in docs/settings.md."""
    from station import adding

    print(adding.add_agent(kind, name, field or []))


@provider.command("add")
def add_provider(
    name: Annotated[str, typer.Argument(help="Agents name its models NAME/MODEL")],
    api: Annotated[str, typer.Option(help="The protocol that it speaks: anthropic, openai or gemini")],
    base_url: Annotated[str, typer.Option(help="Address without the version; default: the API's own")] = "",
    no_key: Annotated[bool, typer.Option("--no-key", help="It wants none")] = False,
) -> None:
    """Make a provider of models. Its key is asked for, or read from stdin."""
    from station import adding

    print(adding.add_provider(name, api, base_url, not no_key))


@secret.command("add")
def add_secret(
    name: Annotated[str, typer.Argument(help="As sandboxes see it, such as NPM_TOKEN")],
    host: Annotated[list[str], typer.Option(help="That it may go to; may be given again")],
    header: Annotated[str, typer.Option(help="The one header that it may stand in")] = "authorization",
    phase: Annotated[list[str] | None, typer.Option(help="setup, plan, edit, review or test; default: edit")] = None,
    path: Annotated[list[str] | None, typer.Option(help="A glob of paths; may be given again; default: all")] = None,
) -> None:
    """Make a secret. Its value is asked for, or read from stdin: a command line is no place for it."""
    from station import adding

    print(adding.add_secret(name, host, header, phase or [], path or []))


@token.command("add")
def add_token(
    name: Annotated[str, typer.Argument(help="Of the person or program, as CODEOWNERS and reviewers have it")],
    role: Annotated[
        list[str] | None, typer.Option(help="submit, answer, review, release or administer; may be given again")
    ] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Default: until it is revoked")] = None,
    repository: Annotated[
        list[str] | None,
        typer.Option(help="That its briefs may name; PLACE/*: all directly below it; may be given again. Default: all"),
    ] = None,
) -> None:
    """Make a token; its value is printed once and kept nowhere."""
    from station import tokens

    tokens.add(name, role or [], days, repository or [])


@token.command("list")
def list_tokens(as_json: Json = False) -> None:
    """Who has one, for what and until when; not the values, which nobody has."""
    from station import tokens

    tokens.show(as_json)


@token.command("revoke")
def revoke_token(name: Annotated[str, typer.Argument(help="Whose token, as `lockgate token list` shows it")]) -> None:
    """Take a token back: it opens nothing from this moment on."""
    from station import tokens

    tokens.revoke(name)


@person.command("add")
def add_person(
    name: Annotated[str, typer.Argument(help="As CODEOWNERS and reviewers have it")],
    role: Annotated[
        list[str] | None,
        typer.Option(
            help="submit, answer, review, release or administer; may be given again. None for who has a token"
        ),
    ] = None,
    days: Annotated[float | None, typer.Option(min=0, help="Default: until it is revoked")] = None,
    with_token: Annotated[
        bool, typer.Option("--token", help="Print a token, too: for the API, and for while the name is locked")
    ] = False,
) -> None:
    """Let somebody sign in at the desk by name; the password comes from a prompt or from stdin."""
    from station import people

    people.add(name, role or [], days, with_token)


@person.command("password")
def set_password(
    name: Annotated[str, typer.Argument(help="Of the person, as `lockgate person add` was told it")],
) -> None:
    """Set another password, from a prompt or from stdin: all sessions of that person end, and no lock is left."""
    from station import people

    people.set_password(name)


@person.command("provider")
def use_provider(
    issuer: Annotated[str, typer.Argument(help="Its address, letter by letter as it names itself")],
    client_id: Annotated[str, typer.Argument(help="What it calls this Lockgate")],
    address: Annotated[str, typer.Option(help="Where browsers reach the door, such as https://lockgate.example.org")],
    new_people: Annotated[
        list[str] | None,
        typer.Option(
            help="What may who comes in and was never set up: submit, answer; may be given again. Default: nobody does"
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="It gave no client secret: PKCE alone")] = False,
) -> None:
    """Let people sign in at an OpenID provider. Asks for the client secret, or reads it from stdin."""
    from station import people

    people.use_provider(issuer, client_id, address, new_people or (), has_secret=not public)


@person.command("identity")
def set_identity(
    name: Annotated[str, typer.Argument(help="Of somebody who has a token or a password here")],
    subject: Annotated[str, typer.Argument(help="The provider's own id of them, which the desk tells them")],
) -> None:
    """Say who somebody at the provider is here."""
    from station import people

    people.set_identity(name, subject)


@person.command("forget")
def forget_identity(name: Annotated[str, typer.Argument(help="Of somebody who signs in at the provider")]) -> None:
    """Let a person sign in at no provider any more: their sessions by it end. Password and token stay."""
    from station import people

    people.forget(name)


@person.command("list")
def list_identities() -> None:
    """Who is who at the provider."""
    from station import people

    people.show()


@app.command("fake-model")
def fake_model(
    script: Annotated[Path, typer.Argument(help="What it answers: TOML or JSON, see docs/fake-model.md")],
    port: Annotated[int, typer.Option(help="0 takes a free one")] = 0,
    tls_dir: Annotated[Path | None, typer.Option(help="Speak TLS; writes ca.pem there")] = None,
    key: Annotated[str | None, typer.Option(help="The key that callers must show")] = None,
) -> None:
    """A scripted model server on loopback: rehearse agents, budgets and the bill without a provider."""
    from kits.fake_model import serve

    serve(script, port=port, tls_dir=tls_dir, key=key)


@app.command("fake-ecs")
def fake_ecs(
    directory: Annotated[
        Path | None, typer.Option(help="Where it remembers; one that was killed goes on there")
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one")] = 0,
    speed: Annotated[float, typer.Option(help="How many times faster than those of AWS its clocks go")] = 1.0,
    health_path: Annotated[str, typer.Option(help="What its load balancer asks of tasks")] = "/",
    key: Annotated[str | None, typer.Option(help="The access key that callers must sign with")] = None,
    secret: Annotated[str, typer.Option(help="Its secret")] = "",
) -> None:
    """An ECS on loopback over this machine's Docker Engine: rehearse releases without AWS."""
    from kits.fake_ecs import serve

    serve(directory, port=port, speed=speed, health_path=health_path, key=key, secret=secret)


@app.command("fake-forge")
def fake_forge(
    directory: Annotated[
        Path | None, typer.Option(help="Where it remembers; one that was killed goes on there")
    ] = None,
    port: Annotated[int, typer.Option(help="0 takes a free one")] = 0,
    tls_dir: Annotated[Path | None, typer.Option(help="Speak TLS; writes ca.pem there")] = None,
    enterprise: Annotated[bool, typer.Option("--enterprise", help="Say to be an Enterprise Server")] = False,
    forgejo: Annotated[
        bool, typer.Option("--forgejo", help="Be a Forgejo instead, without webhooks and pages")
    ] = False,
    gitlab: Annotated[bool, typer.Option("--gitlab", help="Be a GitLab instead, without webhooks and pages")] = False,
    login: Annotated[str, typer.Option(help="Whose token is printed")] = "demo",
) -> None:
    """A GitHub on loopback: rehearse pull requests, reviews and webhooks without an account."""
    from kits.fake_forge import FakeGitHub, serve
    from kits.fake_forge.forgejo import FakeForgejo
    from kits.fake_forge.gitlab import FakeGitLab

    if forgejo and gitlab:
        _fail("it is one forge at a time: --forgejo or --gitlab", 2)
    kind = FakeForgejo if forgejo else FakeGitLab if gitlab else FakeGitHub
    serve(kind(directory, port=port, tls_dir=tls_dir, enterprise=enterprise), login)


@app.command()
def demo(
    yes: Annotated[bool, typer.Option("--yes", help="Approve as the user `demo` without asking")] = False,
    forge: Annotated[bool, typer.Option("--forge", help="Review at a fake GitHub, as a team would")] = False,
    cluster: Annotated[
        bool, typer.Option("--cluster", help="Two machines on PostgreSQL and Redis; one is killed at work")
    ] = False,
) -> None:
    """The example: a change is refused, shipped, found sick, rolled back, mended, and goes live."""
    if cluster:
        from station.demo_machines import demo as play_on_machines

        raise typer.Exit(play_on_machines(sys.stdin.isatty() and sys.stdout.isatty() and not yes))
    from station.demo import demo as play

    raise typer.Exit(play(sys.stdin.isatty() and sys.stdout.isatty() and not yes, at_forge=forge))


def _fail(message: str, code: int) -> None:
    print(f"lockgate: {message}", file=sys.stderr)
    sys.exit(code)
