"""The one way git is run: an environment made from scratch, no hooks, no prompts, a time limit, errors of ours."""

import os
import re
import socket
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from itertools import pairwise
from typing import NamedTuple

from blocks.forges.credential import GivenCredential, RepositoryCredential
from blocks.host import run as bounded
from domain.errors import ForgeError, InputError

NO_HOOKS = "/dev/null"
_GRACE_S = 5.0

_SETTINGS = {
    "core.hooksPath": NO_HOOKS,
    "core.fsmonitor": "false",
    "core.attributesFile": "/dev/null",
    "protocol.ext.allow": "never",
    # Clean-up is run in the foreground by the mirror, never by a process that outlives the call.
    "gc.auto": "0",
    "maintenance.auto": "false",
    "submodule.recurse": "false",
}
ENVIRONMENT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    # An object that is missing is not fetched from wherever a repository's configuration says.
    "GIT_NO_LAZY_FETCH": "1",
    # A list of what may be spoken; `ext::` and other programs behind an address are not in it.
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
    "LC_ALL": "C",
}
# What signing in to, and reaching, a person's repository needs. Nothing else of the worker's environment is passed.
_OF_THE_PERSON = (
    *("HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO"),
    *("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY"),
)
# Git's words for what a retry cannot mend (LC_ALL=C keeps them in English); all else may pass, and is a ForgeError.
_A_PERSON_MUST_ACT = re.compile(
    r"not appear to be a git repository|not a git repository|does not exist|repository .*not found|"
    r"authentication failed|could not read (username|password)|permission denied|access denied|"
    r"host key verification failed|returned error: 4(01|03|04|10)|not valid: is this a git repository|"
    r"SSL certificate problem|certificate verification failed|"
    r"find remote helper|transport '.*' not allowed|"
    r"mismatched algorithms|unknown repository extension|expected git repo version",
    re.IGNORECASE,
)
_UNRESOLVED = re.compile(r"(?:could not resolve host(?:name)?:?|unable to look up) ([^\s:]+)", re.IGNORECASE)
_CREDENTIALS = re.compile(r"(?<=://)[^/\s]*@")


class TooLong(ForgeError):
    """Git had more to say than it was asked for."""


class GitRun(NamedTuple):
    """One git command that ended with an expected exit code."""

    code: int
    out: bytes
    err: str


def git(
    *arguments: str,
    timeout_s: float,
    stdin: bytes = b"",
    expect: tuple[int, ...] = (0,),
    as_person: bool = False,
    env: Mapping[str, str] | None = None,
    credential: RepositoryCredential | None = None,
    most_bytes: int | None = None,
) -> GitRun:
    """Run git. `as_person`: with what the worker's user signs in with, for that person's own repository; `credential`
    goes before that. `most_bytes`: it is ended once it has said more, none of which is held in memory.

    Raises TooLong then; InputError if git's words say that a person must act, ForgeError for any other exit code that
    is not in `expect`, and where it takes longer than `timeout_s` (then everything that it started is ended, too).
    """
    environment = {"PATH": os.environ.get("PATH", os.defpath), **ENVIRONMENT, **(env or {})}
    if as_person:
        environment |= {name: os.environ[name] for name in _OF_THE_PERSON if name in os.environ}
        environment["GIT_SSH_COMMAND"] = os.environ.get("GIT_SSH_COMMAND", "ssh -o BatchMode=yes")
    verb = next(word for before, word in pairwise(("", *arguments)) if word[0] != "-" and before not in ("-c", "-C"))
    with credential.given() if credential else nullcontext(GivenCredential((), {}, ())) as given:
        settings = [*(f"{key}={value}" for key, value in _SETTINGS.items()), *given.settings]
        argv = ["git", *(word for one in settings for word in ("-c", one)), *arguments]
        ran = run(argv, environment | given.environment, stdin, timeout_s, f"git {verb}", given.descriptors, most_bytes)
    if ran.code in expect:
        return ran
    must_act = as_person and (_A_PERSON_MUST_ACT.search(ran.err) or _is_no_host(ran.err))
    kind = InputError if must_act else ForgeError
    raise kind(f"git {verb} failed ({ran.code}): {ran.err or 'it said nothing'}")


def run(
    argv: Sequence[str],
    environment: Mapping[str, str],
    stdin: bytes,
    timeout_s: float,
    name: str = "git",
    descriptors: Sequence[int] = (),
    most_bytes: int | None = None,
) -> GitRun:
    """Run a command line, whatever its exit code is. Raises ForgeError: not started, or longer than `timeout_s`;
    TooLong where it wrote more than `most_bytes`, at which the kernel ends it."""
    limit = () if most_bytes is None else ("prlimit", f"--fsize={most_bytes}", "--")
    try:  # on SIGTERM git removes its lock files
        with nullcontext(None) if most_bytes is None else tempfile.TemporaryFile() as file:
            ran = bounded.run(
                (*limit, *argv),
                env=environment,
                timeout_s=timeout_s,
                stdin=stdin,
                descriptors=descriptors,
                grace_s=_GRACE_S,
                out=file,
            )
            if file and most_bytes is not None:
                if os.fstat(file.fileno()).st_size >= most_bytes:
                    raise TooLong(f"{name} said more than {most_bytes:,} bytes")
                file.seek(0)
                ran = ran._replace(out=file.read())
    except OSError as err:
        raise ForgeError(
            f"git could not be started ({err.strerror}): install git 2.39 or newer on this worker"
        ) from err
    if ran.code is None:
        raise ForgeError(f"{name} took longer than {timeout_s:g} s and was stopped; git_timeout_s sets it")
    return GitRun(ran.code, ran.out, last_lines(ran.err))


def _is_no_host(said: str) -> bool:
    """Whether a host was looked up and does not exist. libcurl says the same if nobody could be asked."""
    found = _UNRESOLVED.search(said)
    try:
        return bool(found and not socket.getaddrinfo(found[1], None))
    except socket.gaierror as err:
        return err.errno in (socket.EAI_NONAME, socket.EAI_NODATA)


def last_lines(raw: bytes, count: int = 12) -> str:
    """The end of what git said, without hints, control characters and passwords."""
    lines = masked(raw.decode("utf-8", "replace")).splitlines()
    said = ("".join(c for c in line if c.isprintable()).rstrip() for line in lines if not line.startswith("hint:"))
    return "\n".join([line for line in said if line][-count:])


def masked(text: str) -> str:
    """`text` with the sign-in part of every URL in it hidden."""
    return _CREDENTIALS.sub("***@", text)
