"""A given repository is data: whose it is decides whether it is used, and no program that it names is run."""

import os
import subprocess
from pathlib import Path

import pytest

from blocks.forges import LocalForge, checkouts
from blocks.home import home
from domain.errors import InputError
from tests.contract.test_forge import Person, change, file, person

HOOKS = (
    *("pre-receive", "update", "post-receive", "post-update", "reference-transaction", "proc-receive"),
    *("push-to-checkout", "post-index-change", "post-checkout", "fsmonitor-watchman", "pre-auto-gc", "post-merge"),
)
PROGRAMS = (
    *("core.fsmonitor", "core.sshCommand", "core.gitProxy", "core.askPass", "core.editor", "core.pager"),
    *("core.alternateRefsCommand", "uploadpack.packObjectsHook", "gc.recentObjectsHook", "credential.helper"),
    *("filter.trap.clean", "filter.trap.smudge", "filter.trap.process", "diff.external", "diff.trap.textconv"),
    *("diff.trap.command", "merge.trap.driver", "gpg.program", "gpg.ssh.program", "trailer.trap.command"),
    *("remote.origin.uploadpack", "remote.origin.receivepack", "alias.upload-pack", "alias.receive-pack"),
    *("alias.status", "sequence.editor", "interactive.diffFilter", "pager.status", "pager.log"),
)
"""Every setting of git 2.39 to 2.50 that names a program: https://git-scm.com/docs/git-config"""


@pytest.fixture
def forge(tmp_path: Path) -> LocalForge:
    return LocalForge(root=tmp_path / "forge", git_timeout_s=60)


def armed(ann: Person, at: Path, ran: Path) -> None:
    """Each program that git could be made to run from the repository at `at` writes its name to the file `ran`."""
    trap = ran.with_name("trap.sh")
    trap.write_text(f'#!/bin/sh\necho "$(basename "$0") $*" >> {ran}\ncat\n')
    trap.chmod(0o755)
    hooks = ran.with_name("trap-hooks")
    hooks.mkdir()
    for name in HOOKS:
        (hooks / name).symlink_to(trap)
    for name in PROGRAMS:
        ann.git("config", name, f"!{trap} {name}" if name.startswith("alias.") else f"{trap} {name}", at=at)
    ann.git("config", "core.hooksPath", str(hooks), at=at)
    ann.git("config", "filter.trap.required", "true", at=at)
    ann.git("config", "remote.origin.url", f"ext::{trap} origin", at=at)
    ann.git("config", "protocol.ext.allow", "always", at=at)
    git_dir = Path(ann.git("rev-parse", "--absolute-git-dir", at=at))
    (git_dir / "info").mkdir(exist_ok=True)
    (git_dir / "info" / "attributes").write_text("* filter=trap diff=trap merge=trap\n")


def test_no_program_that_a_work_tree_names_runs_when_it_is_read_merged_to_and_reverted(
    forge: LocalForge, tmp_path: Path
) -> None:
    ann, ran = person(tmp_path), tmp_path / "ran"
    base = ann.commits({"a.txt": "1\n"})
    armed(ann, ann.copy, ran)
    (ann.copy / "a.txt").write_text("1\n")  # git has to read it to know that it is unchanged
    os.utime(ann.copy / "a.txt", (1, 1))
    assert forge.base(ann.address, "main") == base
    with pytest.raises(InputError, match="no branch x; it has main"):
        forge.base(ann.address, "x")
    _, commit = change(forge, ann, {"a.txt": "2\n", ".gitattributes": "* filter=trap diff=trap\n"}, base)
    assert forge.merge(ann.address, "main", base, commit) is None
    assert (ann.copy / "a.txt").read_text() == "2\n"
    forge.revert(ann.address, "main", commit, "slow")
    assert not ran.exists(), ran.read_text()

    os.utime(ann.copy / "a.txt", (2, 2))
    subprocess.run(["git", "status"], cwd=ann.copy, capture_output=True)
    assert "filter.trap.process" in ran.read_text(), "the traps are not set"


def test_no_program_that_a_bare_repository_names_runs_when_it_is_read(forge: LocalForge, tmp_path: Path) -> None:
    ann, ran = person(tmp_path, bare=True), tmp_path / "ran"
    base = ann.commits({"a.txt": "1\n"})
    assert ann.bare
    armed(ann, ann.bare, ran)
    assert forge.base(ann.address, "main") == base
    _, commit = change(forge, ann, {"a.txt": "2\n"}, base)
    assert not forge.contains(ann.address, "main", commit)
    assert not ran.exists(), ran.read_text()
    # A push into a bare repository of one's own runs its hooks: they are the gate that its owner set.
    forge.merge(ann.address, "main", base, commit)
    assert "pre-receive" in ran.read_text()


@pytest.mark.parametrize("bare", [True, False])
def test_a_repository_of_another_user_is_refused_before_git_looks_at_it(
    forge: LocalForge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bare: bool
) -> None:
    ann, ran = person(tmp_path, bare), tmp_path / "ran"
    base = ann.commits({"a.txt": "1\n"})
    _, commit = change(forge, ann, {"a.txt": "2\n"}, base)
    armed(ann, ann.bare or ann.copy, ran)
    monkeypatch.setattr(checkouts.os, "geteuid", lambda: os.getuid() + 1)
    fresh = LocalForge(root=tmp_path / "fresh")
    for act in (
        lambda: fresh.base(ann.address, "main"),
        lambda: fresh.tree(ann.address, base),
        lambda: forge.contains(ann.address, "main", commit),
        lambda: forge.merge(ann.address, "main", base, commit),
        lambda: forge.revert(ann.address, "main", commit, "slow"),
    ):
        with pytest.raises(InputError, match=r"belongs to the user .* URL"):
            act()
    assert ann.history == [base]
    assert not ran.exists(), ran.read_text()


def test_a_hook_or_a_configuration_that_everybody_may_write_is_refused(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path, bare=True)
    ann.commits({"a.txt": "1\n"})
    assert ann.bare
    hook = ann.bare / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.touch()
    for path in (hook, ann.bare / "config", ann.bare):
        before = path.stat().st_mode
        path.chmod(before | 0o002)
        with pytest.raises(InputError, match="everybody on this machine may write"):
            forge.base(ann.address, "main")
        path.chmod(before)
    assert forge.base(ann.address, "main")


@pytest.mark.parametrize("repository", [".", "shop", "./x/../y"])
def test_a_relative_path_is_refused(forge: LocalForge, repository: str) -> None:
    with pytest.raises(InputError, match="relative to nothing"):
        forge.base(repository, "main")


def test_the_product_and_its_home_are_no_repositories_to_change(
    forge: LocalForge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "around" / "home"))
    product = Path(checkouts.__file__).parents[2]
    inside = home() / "forge" / "x.git"
    inside.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(product)
    for place in (product, product / "tests", product.parent, home(), inside, home().parent, Path("/"), link):
        with pytest.raises(InputError, match="belongs to Lockgate itself"):
            forge.base(str(place), "main")


@pytest.mark.parametrize("is_linked", [False, True])
def test_a_work_tree_that_shares_the_products_repository_is_the_product(
    forge: LocalForge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_linked: bool
) -> None:
    ann = person(tmp_path)
    ann.commits({"a.txt": "1\n"})
    linked = tmp_path / "linked"
    ann.git("worktree", "add", "--quiet", "-b", "side", str(linked))
    product, other = (linked, ann.copy) if is_linked else (ann.copy, linked)
    assert forge.base(str(other), "main")
    monkeypatch.setattr(checkouts, "_PRODUCT", product.resolve())
    with pytest.raises(InputError, match="belongs to Lockgate itself"):
        forge.base(str(other), "main")


def layouts(ann: Person, at: Path) -> dict[str, str | None]:
    """Where a person's repository can be, made of `ann`'s: path → the reason why it cannot be used, or None."""
    git, url = ann.git, f"file://{ann.copy}"
    ann.commits({"a.txt": "1\n", "deep/b.txt": "crlf\r\n"})
    git("submodule", "--quiet", "add", str(ann.copy), "vendor/lib")
    ann.commits({"c.txt": "1\n"})
    for words in (
        ("worktree", "add", "--quiet", "-b", "side", "../linked"),
        ("clone", "--quiet", "--depth=1", url, "../shallow"),
        ("clone", "--quiet", "--separate-git-dir", "../apart.git", url, "../separate"),
        ("clone", "--quiet", "--bare", url, "../packed.git"),
        ("clone", "--quiet", "--mirror", url, "../mirror.git"),
        ("clone", "--quiet", "--sparse", url, "../sparse"),
        ("clone", "--quiet", "--shared", ".", "../shared"),
        ("clone", "--quiet", url, "../detached"),
        ("clone", "--quiet", url, "../hidden"),
    ):
        git(*words)
    git("config", "uploadpack.allowFilter", "true")
    git("clone", "--quiet", "--no-checkout", "--filter=blob:none", url, "../partial")
    git("pack-refs", "--all", at=at / "packed.git")
    git("gc", "--quiet", at=at / "packed.git")
    git("checkout", "--quiet", "--detach", at=at / "detached")
    git("update-index", "--split-index", "--untracked-cache", at=at / "hidden")
    git("init", "--quiet", "--object-format=sha256", "-b", "main", str(at / "sha256"))
    (at / "sha256" / "a.txt").touch()
    git("add", ".", at=at / "sha256")
    git("commit", "--quiet", "-m", "x", at=at / "sha256")
    (at / "renamed").symlink_to(at / "shallow")
    (at / "broken").mkdir()
    (at / "broken" / ".git").write_text("gitdir: /nowhere\n")
    (at / "empty dir").mkdir()
    return {
        **dict.fromkeys(("linked", "shallow", "packed.git", "mirror.git", "sparse", "detached", "hidden", "renamed")),
        "separate": "name a clone", "copy/vendor/lib": "name a clone", "shared": "borrows objects",
        "partial": "partial clone", "sha256": "object format|algorithms", "broken": "not a git repository",
        "copy/deep": "not a git repository", "copy/a.txt": "no repository at", "empty dir": "not a git repository",
    }  # fmt: skip


def test_a_persons_layouts_are_read_and_merged_to_or_refused_with_the_reason(forge: LocalForge, tmp_path: Path) -> None:
    ann = person(tmp_path)
    for name, reason in layouts(ann, tmp_path).items():
        at = Person(tmp_path / name, str(tmp_path / name))
        if reason:
            with pytest.raises(InputError, match=reason):
                forge.base(at.address, "main")
            continue
        base = forge.base(at.address, "main")
        tree = forge.tree(at.address, base) | {"new.txt": file(name)}
        commit, _ = forge.commit(at.address, base, tree, "New", "Agent <a@b>")
        assert forge.merge(at.address, "main", base, commit) is None, name
        assert at.git("rev-parse", "main") == commit, name
