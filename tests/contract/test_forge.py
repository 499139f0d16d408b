"""What every forge must do, on real repositories: a bare one, a person's work tree, a file URL, and over a network."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from blocks.forges import LocalForge
from blocks.forges.mirror import Mirror
from blocks.forges.places import RepositoryPlace
from domain.errors import AgentError, ForgeError, InputError
from domain.ports import Forge
from domain.trees import Tree, TreeEntry, check_path

AUTHOR = "Agent <agent@example.org>"
ROOT = Path(__file__).parents[2]


def file(content: bytes | str, mode: int = 0o100644) -> TreeEntry:
    return TreeEntry(mode, content.encode() if isinstance(content, str) else content)


class Person:
    """Somebody who works with git by hand: `copy` is their work tree, `address` what they put in a brief."""

    def __init__(self, copy: Path, address: str, bare: Path | None = None) -> None:
        self.copy, self.address, self.bare = copy, address, bare

    def git(self, *arguments: str, at: Path | None = None, stdin: bytes = b"") -> str:
        who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "protocol.file.allow=always")
        ran = subprocess.run(
            ["git", *who, *arguments], cwd=at or self.copy, input=stdin, capture_output=True, check=True
        )
        return ran.stdout.decode("utf-8", "surrogateescape").strip()

    def commits(self, files: dict[str, bytes | str], message: str = "by hand") -> str:
        """Write `files` and commit; the commit id, pushed where the platform looks."""
        if self.bare and self.git("ls-remote", "--heads", str(self.bare), "main"):
            self.git("pull", "--quiet", str(self.bare), "main")
        for name, content in files.items():
            path = self.copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        if self.bare:
            self.git("push", "--quiet", str(self.bare), "HEAD:main")
        return self.git("rev-parse", "HEAD")

    @property
    def history(self) -> list[str]:
        """Commit ids of main, the newest first."""
        return self.git("log", "--format=%H", "main", at=self.bare).split()


def person(tmp_path: Path, bare: bool = False, address: str = "") -> Person:
    copy, shared = tmp_path / "copy", tmp_path / "shared" / "shop.git"
    for path, flags in ((copy, ()), *([(shared, ("--bare",))] if bare else [])):
        subprocess.run(["git", "init", "--quiet", "-b", "main", *flags, str(path)], check=True)
    return Person(copy, address or str(shared if bare else copy), shared if bare else None)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home, where every place that git would run a program from writes a canary file."""
    home = tmp_path / "home"
    home.mkdir()
    canary = home / "canary.sh"
    canary.write_text(f'#!/bin/sh\necho "$0 $*" >> {home}/ran\ncat\n')
    canary.chmod(0o755)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return home


def arm(home: Path) -> Path:
    """Set the traps of `home`; the file that is written when one is stepped on."""
    run, hooks = f"{home}/canary.sh", home / "hooks"
    hooks.mkdir()
    for name in ("post-index-change", "pre-push", "reference-transaction", "pre-receive", "post-receive", "update"):
        (hooks / name).symlink_to(run)
    (home / ".gitconfig").write_text(
        f'[filter "trap"]\n clean = {run}\n smudge = {run}\n[diff "trap"]\n textconv = {run}\n command = {run}\n'
        f'[merge "trap"]\n driver = {run}\n[diff]\n external = {run}\n'
        f"[core]\n fsmonitor = {run}\n hooksPath = {hooks}\n"
    )
    return home / "ran"


@pytest.fixture(params=["bare", "work tree", "file URL", "network"])
def ann(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Person]:
    match request.param:
        case "bare":
            yield person(tmp_path, bare=True)
        case "work tree":
            yield person(tmp_path)
        case "file URL":
            yield person(tmp_path, bare=True, address=f"file://{tmp_path}/shared/shop.git")
        case _:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            ann = person(tmp_path, bare=True, address=f"git://127.0.0.1:{port}/shop.git")
            flags = ("--export-all", "--enable=receive-pack", "--listen=127.0.0.1", f"--port={port}", "--reuseaddr")
            argv = ["git", "daemon", *flags, f"--base-path={tmp_path}/shared"]
            daemon = subprocess.Popen(argv, stderr=subprocess.DEVNULL, start_new_session=True)
            while daemon.poll() is None:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.02)
            yield ann
            os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()


@pytest.fixture
def forge(tmp_path: Path) -> LocalForge:
    made = LocalForge(root=tmp_path / "forge", git_timeout_s=60)
    port: Forge = made  # the type checker compares it with the port
    assert port
    return made


def change(forge: LocalForge, ann: Person, files: dict[str, str | None], base: str | None = None) -> tuple[str, str]:
    """(base, commit) of a change that writes `files`, or removes those that are None."""
    base = base or forge.base(ann.address, "main")
    tree = forge.tree(ann.address, base)
    for path, content in files.items():
        if content is None:
            del tree[path]
        else:
            tree[path] = file(content)
    return base, forge.commit(ann.address, base, tree, "Change it\n\nFor a reason.", AUTHOR)[0]


# --- the loop, wherever the repository is


def test_a_change_is_read_committed_merged_and_reverted(forge: LocalForge, ann: Person) -> None:
    first = ann.commits({"a.txt": "1\n", "b.txt": "1\n"})
    base, commit = change(forge, ann, {"a.txt": "2\n", "new/c.txt": "3\n", "b.txt": None})
    assert base == first
    assert not forge.contains(ann.address, "main", commit)
    assert forge.changes(ann.address, base, commit) == (("a.txt", 1, 1), ("b.txt", 0, 1), ("new/c.txt", 1, 0))
    assert "-1\n+2\n" in forge.diff(ann.address, base, commit)

    assert forge.merge(ann.address, "main", base, commit) is None
    assert forge.merge(ann.address, "main", base, commit) is None
    assert forge.contains(ann.address, "main", commit)
    assert ann.history == [commit, first]

    later = ann.commits({"d.txt": "later\n"}) if ann.bare else commit
    revert = forge.revert(ann.address, "main", commit, "It was slow.")
    assert forge.revert(ann.address, "main", commit, "It was slow.") == revert
    assert ann.history[:2] == [revert, later]
    assert "d.txt" not in dict.fromkeys(path for path, *_ in forge.changes(ann.address, later, revert))
    after = forge.tree(ann.address, revert)
    assert (after["a.txt"].content, "b.txt" in after, "new/c.txt" in after) == (b"1\n", True, False)
    assert ann.git("log", "-1", "--format=%B", "main", at=ann.bare) == (
        f'Revert "Change it"\n\nIt was slow.\n\nLockgate-Reverts: {commit}'
    )


def test_another_machine_goes_on_with_a_change_that_was_only_here(
    forge: LocalForge, ann: Person, tmp_path: Path
) -> None:
    ann.commits({"a.txt": "1\n", "big.txt": "x\n" * 5000})
    base, commit = change(forge, ann, {"a.txt": "2\n", "big.txt": "x\n" * 5000 + "y\n"})
    pack = forge.pack(ann.address, base, commit)
    assert len(pack) < 5000, "base is not in it"
    ann.commits({"b.txt": "meanwhile\n"})
    other = LocalForge(root=tmp_path / "of another machine", git_timeout_s=60)
    assert not other.has(ann.address, commit)
    with pytest.raises(ForgeError, match="neither in"):
        other.tree(ann.address, commit)
    with pytest.raises(ForgeError):
        other.unpack(ann.address, "main", base, commit, pack[:-30])
    assert not other.has(ann.address, commit)
    for _ in range(2):
        other.unpack(ann.address, "main", base, commit, pack)
    assert other.has(ann.address, commit)
    assert other.tree(ann.address, commit) == forge.tree(ann.address, commit)
    assert other.diff(ann.address, base, commit) == forge.diff(ann.address, base, commit)
    moved = other.merge(ann.address, "main", base, commit)
    assert moved and other.rebase(ann.address, base, commit, moved) == forge.rebase(ann.address, base, commit, moved)


def test_of_two_merges_from_one_base_one_wins_and_the_other_is_told_where_main_stands(
    forge: LocalForge, ann: Person
) -> None:
    base = ann.commits({"a.txt": "1\n"})
    commits = [change(forge, ann, {name: "2\n"}, base)[1] for name in ("x", "y")]
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda commit: forge.merge(ann.address, "main", base, commit), commits))
    won = answers.index(None)
    assert answers[1 - won] == commits[won]
    assert ann.history == [commits[won], base]


def test_what_is_not_there_is_said_with_what_to_do(forge: LocalForge, ann: Person) -> None:
    with pytest.raises(InputError, match="empty: commit something"):
        forge.default_branch(ann.address)
    with pytest.raises(InputError, match=r"read|no repository"):
        forge.default_branch(ann.address + "x")
    with pytest.raises(InputError, match="empty: commit something"):
        forge.base(ann.address, "main")
    ann.commits({"a.txt": "1\n"})
    with pytest.raises(InputError, match="no branch develop; it has main"):
        forge.base(ann.address, "develop")
    with pytest.raises(InputError, match=r"read|no repository"):
        forge.base(ann.address + "x", "main")
    with pytest.raises(InputError, match="cannot be the name"):
        forge.base(ann.address, "a..b")


def test_the_default_branch_is_what_head_says(forge: LocalForge, ann: Person) -> None:
    ann.commits({"a.txt": "1\n"})
    assert forge.default_branch(ann.address) == "main"
    at = ann.bare or ann.copy
    ann.git("branch", "trunk/neu", at=at)
    ann.git("symbolic-ref", "HEAD", "refs/heads/trunk/neu", at=at)
    assert forge.default_branch(ann.address) == "trunk/neu"
    ann.git("update-ref", "--no-deref", "HEAD", "main", at=at)
    with pytest.raises(InputError, match="name `branch` in the brief"):
        forge.default_branch(ann.address)


@pytest.mark.parametrize(
    "address", ["https://no-such-host.invalid/x.git", "ssh://git@no-such-host.invalid/x.git", "git://no-such.invalid/x"]
)
def test_a_mistyped_host_is_the_persons_error_and_a_silent_one_is_not(
    forge: LocalForge, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", _nobody_of_that_name)
    with pytest.raises(InputError, match="check the address"):
        forge.default_branch(address)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        down = f"{address.partition('://')[0]}://127.0.0.1:{closed.getsockname()[1]}/x.git"
        with pytest.raises(ForgeError, match=r"refused|connect"):
            forge.base(down, "main")


def _nobody_of_that_name(*_: object) -> list[object]:
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


# --- content is exact


def test_a_tree_is_what_was_committed_to_the_byte(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    (ann.copy / "run.sh").write_text("#!/bin/sh\n")
    (ann.copy / "run.sh").chmod(0o755)
    (ann.copy / "link").symlink_to("../outside")
    contents: dict[str, bytes | str] = {
        ".gitattributes": "* text eol=crlf\nsecret.txt export-ignore\nid.txt export-subst ident\n",
        "secret.txt": "kept\n",
        "id.txt": "$Format:%H$ $Id$\n",
        "ünïcode/名.txt": "é",
        "binary": bytes(range(256)) * 4,
        "empty": b"",
    }
    base = ann.commits(contents)
    oid = ann.git("hash-object", "-w", "--no-filters", "--stdin", stdin=b"a\r\nb\n")
    ann.git("update-index", "--add", "--cacheinfo", f"100644,{oid},crlf.txt")
    ann.git("commit", "--quiet", "--message", "a file with both line ends")
    (ann.copy / "crlf.txt").write_bytes(b"a\r\nb\n")
    base = forge.base(ann.git("clone", "--quiet", "--bare", ".", "../c.git") or f"{tmp_path}/c.git", "main")
    expected = {name: file(content) for name, content in contents.items()}
    expected |= {"crlf.txt": file("a\r\nb\n"), "run.sh": file("#!/bin/sh\n", 0o100755)}
    assert forge.tree(f"{tmp_path}/c.git", base) == expected
    assert forge.left_out(f"{tmp_path}/c.git", base) == (
        "'link': the symbolic link's target '../outside' leaves the tree",
    )


NAMES = [
    "-rf",
    'a "quoted" name',
    "new\nline",
    "back\\slash",
    "tab\there",
    " lead",
    "trail ",
    "ünï/名",
    "b\udcff\udcfe",
    "$(x)",
]


def test_odd_names_and_content_come_back_as_they_went_in(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    base = ann.commits({"a.txt": "1\n"})
    tree: Tree = {name: file(f"{index}\r\n\0") for index, name in enumerate(NAMES)}
    tree |= {"run": file("x", 0o100755), "link": file(b"../\xff", 0o120000), "empty": file("")}
    commit, tree_id = forge.commit(ann.address, base, tree, 'Say "hi"\n\ndata 5\nfrom\0 me ü', 'A\n"B" <a@b>')
    seen = {path: entry for path, entry in tree.items() if path != "link" and check_path(path) is None}
    assert forge.tree(ann.address, commit) == seen
    assert len(forge.left_out(ann.address, commit)) == len(tree) - len(seen) == 5
    assert [path for path, *_ in forge.changes(ann.address, base, commit)] == sorted([*tree, "a.txt"])
    assert forge.diff(ann.address, base, commit)
    assert forge.tree_id(ann.address, commit) == tree_id
    assert forge.message(ann.address, commit) == 'Say "hi"\n\ndata 5\nfrom me ü\n'
    assert forge.merge(ann.address, "main", base, commit) is None
    assert ann.git("rev-parse", "main^{tree}") == tree_id
    assert ann.git("log", "-1", "--format=%an|%ae|%cn|%B", "main") == 'A"B"|a@b|Lockgate|Say "hi"\n\ndata 5\nfrom me ü'
    assert ann.git("fsck", "--strict") == ""


def test_the_same_change_has_the_same_ids_in_every_mirror(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    other = LocalForge(root=tmp_path / "elsewhere")
    commits = {change(each, ann, {"a.txt": "2\n"})[1] for each in (forge, forge, other)}
    assert len(commits) == 1


def test_five_thousand_files_are_committed_and_read(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    base = ann.commits({"a.txt": "1\n"})
    tree = {f"d{index % 50}/f{index}.py": file(f"x = {index}\n" * 20) for index in range(5_000)}
    commit, _ = forge.commit(ann.address, base, tree, "Many", AUTHOR)
    assert forge.tree(ann.address, commit) == tree


def test_many_threads_share_one_mirror(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda index: change(forge, ann, {f"{index % 4}.txt": "x\n"}), range(16)))
    assert len(set(made)) == 4
    assert len(list(forge.root.glob("*.git"))) == 1


def test_submodules_are_left_out_of_the_tree_and_survive_a_change(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path, bare=True)
    first = ann.commits({"a.txt": "1\n"})
    assert ann.bare
    ann.git("submodule", "--quiet", "add", str(ann.bare), "vendor/lib")
    ann.commits({"b.txt": "1\n"})
    base, commit = change(forge, ann, {"a.txt": "2\n"})
    assert "vendor/lib" not in forge.tree(ann.address, base)
    assert ann.git("ls-tree", commit, "vendor/lib", at=next((tmp_path / "forge").glob("*.git"))).split()[2] == first
    assert forge.left_out(ann.address, base) == ("'vendor/lib': a submodule",)
    for name in ("vendor/lib/x.py", "vendor/lib"):
        with pytest.raises(AgentError, match="inside a submodule"):
            change(forge, ann, {name: "x"})
    with pytest.raises(AgentError, match="cannot be removed"):
        change(forge, ann, {"vendor": "x"})


def test_what_no_step_can_name_survives_a_change(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path, bare=True)
    ann.commits({"a.txt": "1\n", "d/b.txt": "1\r\n", "d/caf\udce9.txt": "latin\n", "d/tab\there": "x\n"})
    (ann.copy / "out").symlink_to("/etc/hostname")
    (ann.copy / "in").symlink_to("d/b.txt")
    base, commit = change(forge, ann, {"a.txt": "2\n"}, ann.commits({}, "links"))
    assert forge.changes(ann.address, base, commit) == (("a.txt", 1, 1),)
    assert set(forge.tree(ann.address, commit)) == {"a.txt", "d/b.txt", "in"}
    assert [reason.partition(":")[0] for reason in forge.left_out(ann.address, commit)] == [
        r"'d/caf\udce9.txt'", r"'d/tab\there'", "'out'",
    ]  # fmt: skip
    assert forge.merge(ann.address, "main", base, commit) is None
    assert ann.git("ls-tree", "-r", "-z", "main", at=ann.bare).count("\0") == 6
    _, mended = change(forge, ann, {"out": "a file now\n"}, commit)
    assert forge.changes(ann.address, commit, mended) == (("out", 1, 1),)


@pytest.mark.parametrize(
    "tree",
    [
        {"../x": file("")},
        {"/etc/x": file("")},
        {"a//b": file("")},
        {".git/config": file("")},
        {"a/.GIT/hooks/x": file("")},
        {"a": file(""), "a/b": file("")},
        {"sub": file("", 0o160000)},
        {"\ud800": file("")},
        {"nul\0": file("")},
        {"": file("")},
    ],
)
def test_what_git_should_not_hold_is_the_agents_error(forge: LocalForge, tmp_path: Path, tree: Tree) -> None:
    ann = person(tmp_path)
    base = ann.commits({"a.txt": "1\n"})
    with pytest.raises(AgentError):
        forge.commit(ann.address, base, tree, "Bad", AUTHOR)


def test_no_change_is_the_agents_error(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    with pytest.raises(AgentError, match="changed nothing"):
        change(forge, ann, {})


# --- nothing that a tree says is done


def test_no_program_named_by_attributes_or_configuration_runs(forge: LocalForge, tmp_path: Path, home: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    ran = arm(home)
    traps = "* filter=trap diff=trap merge=trap\n"
    base, commit = change(forge, ann, {".gitattributes": traps, "a.txt": "2\n"})
    assert "+2" in forge.diff(ann.address, base, commit)
    assert forge.merge(ann.address, "main", base, commit) is None
    (ann.copy / "a.txt").touch()
    assert forge.base(ann.address, "main") == commit
    assert forge.rebase(ann.address, base, change(forge, ann, {"a.txt": "1\n2\n"}, base)[1], commit) is None
    forge.revert(ann.address, "main", commit, "traps")
    assert not ran.exists()


def test_filters_hooks_and_fsmonitor_of_a_work_tree_do_not_meet_the_change(
    forge: LocalForge, tmp_path: Path, home: Path
) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n", ".husky/post-receive": "", ".husky/push-to-checkout": ""})
    run = f"{home}/canary.sh"
    for key, value in (("filter.a b.smudge", run), ("filter.lfs.process", run), ("filter.lfs.required", "true")):
        ann.git("config", key, value)
    ann.git("config", "core.hooksPath", f"{ann.copy}/.husky")
    ann.git("config", "core.fsmonitor", run)
    hooks = {f".husky/{name}": f"#!/bin/sh\n{run}\n" for name in ("post-receive", "push-to-checkout")}
    base = forge.base(ann.address, "main")
    tree = forge.tree(ann.address, base) | {path: file(text, 0o100755) for path, text in hooks.items()}
    tree |= {"x.bin": file("x"), ".gitattributes": file('*.bin filter=lfs\n*.txt "filter=a b"\n')}
    commit, _ = forge.commit(ann.address, base, tree, "Traps", AUTHOR)
    assert forge.merge(ann.address, "main", base, commit) is None
    assert (ann.copy / "x.bin").read_text() == "x"
    assert not (home / "ran").exists()


def test_a_mirror_runs_no_hook_and_repairs_itself(forge: LocalForge, tmp_path: Path, home: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    ran = arm(home)
    base = forge.base(ann.address, "main")
    mirror = next((tmp_path / "forge").glob("*.git"))
    (mirror / "hooks").symlink_to(home / "hooks")
    assert forge.merge(ann.address, "main", *change(forge, ann, {"a.txt": "2\n"})) is None
    assert not ran.exists()

    (mirror / "HEAD").unlink()
    mirror.with_suffix(".new").mkdir()
    assert [*forge.tree(ann.address, base)] == ["a.txt"]
    lock = mirror / "refs" / "remote" / "main.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    os.utime(lock, (1, 1))
    assert forge.base(ann.address, "main") != base


@pytest.mark.parametrize(
    "repository",
    ["--upload-pack=touch canary", "ext::sh -c touch% canary", "fd::0", "", "a\nb", "ftp://h/x", "file://h/x"],
)
def test_a_repository_that_is_no_place_is_refused(forge: LocalForge, tmp_path: Path, repository: str) -> None:
    with pytest.raises(InputError):
        forge.base(repository, "main")
    assert not (tmp_path / "forge").exists()


def test_a_password_is_in_no_message_and_no_name(forge: LocalForge, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="block") as raised:
        forge.base("http://ann:p%40ss-word@127.0.0.1:1/shop.git", "main")
    assert "ss-word" not in str(raised.value)
    assert "***@127.0.0.1" in str(raised.value)
    assert not (tmp_path / "forge").exists()


# --- a person's work tree


def test_a_work_tree_follows_the_merge_and_the_revert(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    base, commit = change(forge, ann, {"a.txt": "2\n"})
    assert forge.merge(ann.address, "main", base, commit) is None
    assert (ann.copy / "a.txt").read_text() == "2\n"
    forge.revert(ann.address, "main", commit, "slow")
    assert (ann.copy / "a.txt").read_text() == "1\n"
    assert ann.git("status", "--porcelain") == ""


def test_work_that_is_not_committed_is_refused_and_never_overwritten(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    base, commit = change(forge, ann, {"a.txt": "2\n"})
    (ann.copy / "notes.txt").touch()
    assert forge.base(ann.address, "main") == base
    (ann.copy / "a.txt").write_text("mine\n")
    with pytest.raises(InputError, match=r"\(a\.txt\): commit or stash"):
        forge.base(ann.address, "main")
    with pytest.raises(ForgeError, match="unstaged changes"):
        forge.merge(ann.address, "main", base, commit)
    assert (ann.copy / "a.txt").read_text() == "mine\n"
    assert ann.history == [base]


def test_a_directory_inside_a_repository_is_not_taken_for_it(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    base = ann.commits({"sub/a.txt": "1\n"})
    with pytest.raises(InputError, match="not a git repository"):
        forge.base(f"{ann.copy}/sub", "main")
    assert forge.base(f"{ann.copy}/.git", "main") == base


def test_the_hook_of_a_bare_repository_may_refuse_and_is_quoted(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path, bare=True)
    base = ann.commits({"a.txt": "1\n"})
    assert ann.bare
    hook = ann.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho 'release freeze: permission denied until Monday' >&2\nexit 1\n")
    hook.chmod(0o755)
    with pytest.raises(ForgeError, match="release freeze"):
        forge.merge(ann.address, "main", *change(forge, ann, {"a.txt": "2\n"}))
    assert ann.history == [base]


# --- main moves, and things die


def test_a_change_is_rebased_where_it_fits_and_not_where_it_conflicts(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n2\n3\n4\n5\n6\n7\n", "b.txt": "b\n"})
    base, commit = change(forge, ann, {"a.txt": "one\n2\n3\n4\n5\n6\n7\n"})
    onto = ann.commits({"a.txt": "1\n2\n3\n4\n5\n6\nseven\n", "b.txt": "B\n"})
    assert forge.merge(ann.address, "main", base, commit) == onto
    moved = forge.rebase(ann.address, base, commit, onto)
    assert moved
    assert moved == forge.rebase(ann.address, base, commit, onto)
    assert forge.tree(ann.address, moved[0])["a.txt"].content == b"one\n2\n3\n4\n5\n6\nseven\n"
    assert forge.changes(ann.address, onto, moved[0]) == (("a.txt", 1, 1),)
    assert forge.merge(ann.address, "main", onto, moved[0]) is None
    assert ann.git("log", "-1", "--format=%an %B", "main") == "Agent Change it\n\nFor a reason."
    conflicting = ann.commits({"a.txt": "uno\n2\n3\n4\n5\n6\n7\n"})
    assert forge.rebase(ann.address, base, commit, conflicting) is None
    with pytest.raises(ForgeError, match="is not on top"):
        forge.merge(ann.address, "main", conflicting, commit)


def test_a_revert_takes_back_one_change_and_leaves_later_ones(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n", "b.txt": "1\n"})
    base, commit = change(forge, ann, {"a.txt": "2\n"})
    assert forge.merge(ann.address, "main", base, commit) is None
    later = ann.commits({"b.txt": "2\n"}, message="later\n\nLockgate-Reverts: of something else")
    revert = forge.revert(ann.address, "main", commit, f"slow\nLockgate-Reverts: {later}")
    assert ann.history == [revert, later, commit, base]
    assert {path: entry.content for path, entry in forge.tree(ann.address, revert).items()} == {
        "a.txt": b"1\n",
        "b.txt": b"2\n",
    }
    ann.commits({"b.txt": "3\n"})
    with pytest.raises(ForgeError, match="by hand"):
        forge.revert(ann.address, "main", later, "conflicts")
    with pytest.raises(ForgeError, match="not on branch"):
        forge.revert(ann.address, "main", change(forge, ann, {"a.txt": "9\n"})[1], "never merged")


def test_only_a_revert_can_say_that_something_was_reverted(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    base, commit = change(forge, ann, {"a.txt": "2\n"})
    assert forge.merge(ann.address, "main", base, commit) is None
    tree = {**forge.tree(ann.address, commit), "b.txt": file("1\n")}
    lie, _ = forge.commit(ann.address, commit, tree, f"B\n\nRun: 7\nlockgate-reverts: {commit}", AUTHOR)
    assert forge.merge(ann.address, "main", commit, lie) is None
    assert forge.revert(ann.address, "main", commit, "slow") != lie
    assert (ann.copy / "a.txt").read_text() == "1\n"


def test_main_moving_right_before_the_push_is_never_overwritten(
    forge: LocalForge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann = person(tmp_path, bare=True)
    ann.commits({"a.txt": "1\n"})
    (base, first), (_, second) = change(forge, ann, {"a.txt": "2\n"}), change(forge, ann, {"a.txt": "3\n"})
    assert forge.merge(ann.address, "main", base, first) is None
    push = LocalForge._push
    raced: list[str] = []

    def late(
        self: LocalForge, place: RepositoryPlace, mirror: Mirror, branch: str, expected: str, commit: str
    ) -> str | None:
        if len(raced) < 2:
            raced.append(ann.commits({f"{len(raced)}.txt": "raced\n"}))
        return push(self, place, mirror, branch, expected, commit)

    monkeypatch.setattr(LocalForge, "_push", late)
    tree = forge.tree(ann.address, first) | {"a.txt": file("4\n")}
    third, _ = forge.commit(ann.address, first, tree, "Third", AUTHOR)
    assert forge.merge(ann.address, "main", first, third) == raced[0]
    revert = forge.revert(ann.address, "main", first, "slow")
    assert ann.history == [revert, *reversed(raced), first, base]
    assert forge.merge(ann.address, "main", base, second) == revert


KILLED = """
import os, signal, sys
from blocks.forges import LocalForge
push = LocalForge._push
def dies(self, *arguments):
    if when == "after": push(self, *arguments)
    os.kill(os.getpid(), signal.SIGKILL)
when, root, step, *arguments = sys.argv[1:]
if when != "during": LocalForge._push = dies
getattr(LocalForge(root=root), step)(*arguments)
"""


def killed(when: str, root: Path, *step: str) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-c", KILLED, when, str(root), *step]
    return subprocess.Popen(argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_worker_killed_around_the_push_leaves_one_merge_and_one_revert(
    forge: LocalForge, tmp_path: Path, when: str
) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    base, commit = change(forge, ann, {"a.txt": "2\n"})
    assert killed(when, forge.root, "merge", ann.address, "main", base, commit).wait(60) == -signal.SIGKILL
    assert ann.history == ([base] if when == "before" else [commit, base])
    assert forge.merge(ann.address, "main", base, commit) is None
    assert killed(when, forge.root, "revert", ann.address, "main", commit, "slow").wait(60) == -signal.SIGKILL
    revert = forge.revert(ann.address, "main", commit, "slow")
    assert ann.history == [revert, commit, base]


def test_a_push_that_outlives_its_killed_worker_is_found(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path, bare=True)
    base = ann.commits({"a.txt": "1\n"})
    assert ann.bare
    hook, begun = ann.bare / "hooks" / "pre-receive", tmp_path / "begun"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {begun}\nsleep 1\n")
    hook.chmod(0o755)
    _, commit = change(forge, ann, {"a.txt": "2\n"})
    worker = killed("during", forge.root, "merge", ann.address, "main", base, commit)
    while not begun.exists():
        assert worker.poll() is None
        time.sleep(0.02)
    worker.kill()
    worker.wait()
    assert forge.merge(ann.address, "main", base, commit) is None
    assert ann.history == [commit, base]


def test_a_git_that_hangs_is_stopped_with_what_it_started(tmp_path: Path) -> None:
    ann = person(tmp_path, bare=True)
    ann.commits({"a.txt": "1\n"})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        slow = LocalForge(root=tmp_path / "forge", git_timeout_s=0.5)
        with pytest.raises(ForgeError, match=r"longer than 0\.5 s"):
            slow.base(f"git://127.0.0.1:{silent.getsockname()[1]}/shop.git", "main")


def test_a_branch_may_become_a_folder_of_branches(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    base = ann.commits({"a.txt": "1\n"})
    for before, branch in (("x", "größe"), ("größe", "größe/neu")):
        ann.git("branch", "-D", before) if before != "x" else None
        ann.git("branch", branch)
        assert forge.base(ann.address, branch) == base


def test_a_shallow_clone_is_a_repository_too(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    ann.commits({"a.txt": "2\n"})
    ann.git("clone", "--quiet", "--depth=1", f"file://{ann.copy}", "../shallow")
    shallow = Person(tmp_path / "shallow", f"{tmp_path}/shallow")
    base, commit = change(forge, shallow, {"a.txt": "3\n"})
    assert forge.merge(shallow.address, "main", base, commit) is None
    assert (shallow.copy / "a.txt").read_text() == "3\n"
    assert forge.revert(shallow.address, "main", commit, "slow")
