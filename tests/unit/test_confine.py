"""The one builder of bubblewrap's command line: what each kind of caller gets, word by word."""

from pathlib import Path

import pytest

from blocks.host.confine import Bind, Start, bound, closed, isolated, stage_for
from domain.errors import SandboxError


@pytest.mark.parametrize(
    ("asked", "has", "has_not"),
    [
        (
            {},
            {"--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent", "--clearenv"},
            {"--share-net"},
        ),
        ({"network": True}, {"--share-net", "--unshare-all"}, set()),
        ({"dies_with_us": False}, {"--unshare-all"}, {"--die-with-parent"}),
        ({"is_strict": False}, {"--unshare-all"}, {"--unshare-user", "--disable-userns"}),
    ],
)
def test_only_what_was_asked_for_is_left_open(asked: dict[str, bool], has: set[str], has_not: set[str]) -> None:
    words = isolated(**asked)
    assert has <= set(words) and not has_not & set(words)
    assert words[-3:] == ["--cap-drop", "ALL", "--clearenv"] and "--new-session" in words


def test_what_is_above_a_bind_can_be_passed_by_everybody_and_is_made_once() -> None:
    binds = [Bind(Path("/host/a"), "/opt/tool/a"), Bind(Path("/host/b"), "/opt/tool/b", writable=True)]
    assert " ".join(bound(binds)) == (
        "--perms 0755 --dir /opt --perms 0755 --dir /opt/tool --ro-bind /host/a /opt/tool/a --bind /host/b /opt/tool/b"
    )


def test_nothing_else_can_be_written_once_it_is_closed() -> None:
    assert closed("/work") == ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work", "--"]


@pytest.mark.parametrize(
    ("source", "place"),
    [("/home/ws", "/mnt/2"), ("/home/ws/etc/hosts", "/mnt/2/etc/hosts"), ("/home/ws/x", "/mnt/3"), ("/usr", "/usr")],
)
def test_a_source_is_found_where_root_has_brought_it(source: str, place: str) -> None:
    places = {Path("/home/ws"): Path("/mnt/2"), Path("/home/ws/x"): Path("/mnt/3")}
    assert Start([], places).place(Path(source)) == Path(place)


def test_the_stage_hides_no_source() -> None:
    assert stage_for([Path("/usr/x"), Path("/mnt/data/sandboxes")]) != "/mnt"
    with pytest.raises(SandboxError, match="make /mnt"):
        stage_for([Path("/mnt/a"), Path("/media/a"), Path("/srv/a"), Path("/opt/a")])
