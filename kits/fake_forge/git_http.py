"""git over HTTP: the real `git http-backend`, behind the forge's tokens."""

import re
import subprocess
from collections.abc import Iterator
from typing import IO, NamedTuple

from kits.fake_forge.git import Git, environment

PATHS = re.compile(r"/(?P<owner>[^/]+)/(?P<name>[^/]+?)(?:\.git)?/(?P<rest>info/refs|git-upload-pack|git-receive-pack)")


class GitReply(NamedTuple):
    """What the program answered; `body` is read as it comes."""

    status: int
    headers: list[tuple[str, str]]
    body: Iterator[bytes]
    process: subprocess.Popen[bytes]


def is_write(path: str, query: str) -> bool:
    return path.endswith("/git-receive-pack") or "service=git-receive-pack" in query


def call(git: Git, rest: str, query: str, method: str, headers: dict[str, str], user: str, body: IO[bytes]) -> GitReply:
    """Run it as a CGI program (RFC 3875). `body`: the request's, as a file that git reads to its end."""
    variables = {
        "GIT_PROJECT_ROOT": str(git.place.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "PATH_INFO": f"/{git.place.name}/{rest}",
        "QUERY_STRING": query,
        "REQUEST_METHOD": method,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "REMOTE_USER": user,
        "REMOTE_ADDR": "127.0.0.1",
    }
    for header, variable in (("content-encoding", "HTTP_CONTENT_ENCODING"), ("git-protocol", "GIT_PROTOCOL")):
        if header in headers:
            variables[variable] = headers[header]
    process = subprocess.Popen(
        ["git", "http-backend"],
        env=environment(variables),
        stdin=body,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    out = process.stdout
    assert out
    status, answered = 200, []
    for line in iter(out.readline, b""):
        text = line.decode("latin-1").rstrip("\r\n")
        if not text:
            break
        name, _, value = text.partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            answered.append((name, value.strip()))
    return GitReply(status, answered, iter(lambda: out.read(65536), b""), process)
