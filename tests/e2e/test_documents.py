"""The README's first real task and the fake model's, as a new user does them: the documents' own text is what runs."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from blocks.agents.structured import value_of
from domain.project import ProjectSettings
from domain.prompts import Material, edit_prompt, plan_prompt
from domain.task import End, Plan
from kits.briefs import FILES, GOOD, git, repository
from kits.fake_model import FakeModel
from kits.product.station import PROJECT, Station
from kits.servers import free_port
from tests.unit.policy_cases import prepared

README, FAKE_MODEL = PROJECT / "README.md", PROJECT / "docs" / "fake-model.md"
AT = "/srv/git/sums.git"
"""Where the documents' repository is."""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in order, without the indentation of the list that they stand in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return ["\n".join(line.removeprefix(indent) for line in text.splitlines()) + "\n" for indent, text in found]


def the_one(page: Path, language: str, holds: str) -> str:
    (found,) = [block for block in blocks(page, language) if holds in block]
    return found


@pytest.fixture(scope="module")
def desk(station: Station, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what the documents have a user write, the fake model at its port, and its blocks saved."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "model.toml").write_text(the_one(FAKE_MODEL, "toml", "You plan one small change"))
    (folder / "brief.toml").write_text(the_one(README, "toml", "[[acceptance.files]]"))
    (folder / "test_double.py").write_text(the_one(README, "python", "def test_double"))
    port = str(free_port())  # 8377 may be taken here
    words = the_one(FAKE_MODEL, "sh", "fake-model").replace("8377", port).split()
    assert words.pop(0) == "bin/lockgate"
    argv = [str(Path(sys.executable).with_name("lockgate")), *words]
    model = subprocess.Popen(argv, cwd=folder, env=station.env, stdout=subprocess.PIPE, text=True)
    try:
        assert model.stdout is not None
        assert model.stdout.readline(), "the fake model did not start"
        station.python(the_one(FAKE_MODEL, "python", "MiniSwe").replace("8377", port))
        yield folder
    finally:
        model.terminate()
        model.wait()


def sums(at: Path) -> Path:
    """The documents' repository. Its lockgate.toml is the README's, without what only services have."""
    settings = the_one(README, "toml", "requirements = ")
    assert ProjectSettings.model_validate(tomllib.loads(settings)).run
    tested = "".join(line for line in settings.splitlines(True) if not line.startswith(("run =", "health =")))
    return repository(at, {**FILES, "lockgate.toml": tested})


def test_the_first_real_task_is_merged_with_the_fake_model(station: Station, desk: Path, tmp_path: Path) -> None:
    at = sums(tmp_path / "sums.git")
    told = desk / "brief.toml"
    told.write_text(told.read_text().replace(AT, str(at)))
    words = the_one(FAKE_MODEL, "sh", "run brief.toml").split()
    done = station.lockgate(words[1], str(told), check=True)
    run_id = done.stdout.split()[1]
    outcome = station.wait(run_id)
    assert outcome.end is End.MERGED, outcome.sentence
    assert "def double(a)" in git(at, "show", "main:sums.py")
    assert outcome.usd > 0, "the model's calls are on the bill"


def test_the_script_of_the_documents_answers_the_platforms_own_prompts() -> None:
    script = tomllib.loads(the_one(FAKE_MODEL, "toml", "You plan one small change"))
    material = Material(prepared(), {})
    with FakeModel(script) as fake:

        def said(prompt: str) -> dict[str, Any]:
            asked = {
                "model": "claude-sonnet-5", "max_tokens": 1000, "messages": [{"role": "user", "content": prompt}],
                "tools": [{"name": "bash", "input_schema": {"type": "object", "properties": {"command": {}}}}],
            }  # fmt: skip
            answer = httpx.post(f"{fake.url}/v1/messages", json=asked, timeout=60).raise_for_status()
            return dict(answer.json()["content"][-1])

        plan = value_of(Plan, said(plan_prompt(material))["text"])
        assert (plan.paths, plan.questions) == (("sums.py",), ())
        edit = said(edit_prompt(material._replace(plan=plan)))
        assert edit["input"]["command"] == GOOD.strip(), "the documents' edit is the one that is known to be good"


def test_the_call_of_the_api_makes_a_run(station: Station, desk: Path, tmp_path: Path) -> None:
    at = sums(tmp_path / "sums.git")
    call = the_one(README, "sh", "create_flow_run")
    for documented, here in (
        ("~/.lockgate", str(station.home)),
        ("127.0.0.1:4200", f"127.0.0.1:{station.port}"),
        (AT, str(at)),
    ):
        assert documented in call
        call = call.replace(documented, here)
    done = subprocess.run(["sh", "-euc", call], env=dict(os.environ), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = re.search(r'"id":"([0-9a-f-]{36})"', done.stdout)
    assert made, done.stdout
    outcome = station.wait(made[1])
    assert outcome.end is End.MERGED, outcome.sentence


def test_every_kind_of_agent_in_the_readme_is_one() -> None:
    from blocks.catalogue import AGENT_KINDS

    named = README.read_text().partition("The kinds are")[2].partition("An agent\n")[0]
    assert set(re.findall(r"`([a-z-]+)`", named)) == set(AGENT_KINDS)
