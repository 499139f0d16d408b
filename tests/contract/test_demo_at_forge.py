"""What `lockgate demo --forge` prints of its fake GitHub, and what its reviewer does there."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.forges import LocalForge
from blocks.forges.github import GitHub
from domain.errors import Protected
from domain.pull_request import Annotation, DeploymentState, Level, Status, StatusState
from domain.trees import TreeEntry
from kits.fake_forge import FakeGitHub
from station.demo import SHOP
from station.demo_at_forge import AtForge


def test_what_becomes_new_is_printed_once_and_each_head_is_approved_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeGitHub(tmp_path / "fake") as fake:
        at = AtForge(fake, SHOP / "repository")
        key = SecretStr(at.app["private_key"])
        host = GitHub(url=f"{fake.url}/acme", api_url=fake.url, app_id=str(at.app["id"]), private_key=key)
        monkeypatch.setattr(GitHub, "saved", classmethod(lambda cls, name: host))
        forge = LocalForge(root=tmp_path / "mirrors", hosts=("gh",))
        base = forge.base(at.address, "main")
        tree = {**forge.tree(at.address, base), "new.py": TreeEntry(0o100644, b"NEW = 1\n")}
        commit, _ = forge.commit(at.address, base, tree, "New", "lockgate/replay")
        assert forge.publish(at.address, "lockgate/run", commit, ()) is None
        pull = host.propose(at.address, "lockgate/run", "main", "New", "body", draft=True)
        note = Annotation(path="new.py", line=1, level=Level.WARNING, title="rule", message="look")
        waits = Status(context="lockgate", state=StatusState.PENDING, sentence="waits", annotations=(note,))
        host.report(at.address, commit, (waits,))
        at._look()
        assert host.reviews(at.address, pull.number) == (), "a draft is not for review yet"
        host.mark_ready(at.address, pull)
        for _ in range(2):
            at._look()
        (review,) = host.reviews(at.address, pull.number)
        assert (review.by.login, review.commit) == ("ann", commit)
        host.report(at.address, commit, (waits.model_copy(update={"state": StatusState.SUCCESS}),))
        merged = host.merge(at.address, pull, commit, "New (#1)", "").commit
        host.announce(at.address, str(merged), "shop", DeploymentState.SUCCESS, "", "well")
        host.comment(at.address, pull.number, "lockgate:run", "**live**: it is")
        for _ in range(2):
            at._look()
        with pytest.raises(Protected):
            forge.revert(at.address, "main", str(merged), "its branch takes no push")
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("GitHub")]
    assert [re.sub(r"[0-9a-f]{12}", "COMMIT", line).split("  ", 1)[1].strip() for line in said] == [
        "pull request 1 by lockgate[bot]: New",
        "pull request 1: check lockgate: in_progress (1 at lines of the change)",
        "pull request 1: ann, whom this demo plays, approves COMMIT",
        "pull request 1: check lockgate: success (1 at lines of the change)",
        "pull request 1: comment by lockgate[bot]",
        "pull request 1 is merged as COMMIT",
        "deployment of COMMIT to shop: success",
    ]
