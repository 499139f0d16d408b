"""How runners are called and what their reports say. The outputs are those of the real programs, shortened."""

import json
from typing import Any

import pytest

from domain.errors import InputError
from domain.project import ProjectSettings
from domain.reports import Report, by_file, by_id, read_jest, read_junit, read_tap
from domain.task import CaseOutcome
from tasks.running.runners import run_of
from tests.unit.policy_cases import tree

PASSED, FAILED, ERROR, SKIPPED = CaseOutcome.PASSED, CaseOutcome.FAILED, CaseOutcome.ERROR, CaseOutcome.SKIPPED


@pytest.mark.parametrize(
    "command", ["make test", "npm test", "go test ./...", "./node_modules/.bin/vitest", "node x.js"]
)
def test_whatever_a_command_starts_is_asked_for_its_report(command: str) -> None:
    run = run_of({}, ProjectSettings(test=command, environment={"NODE_OPTIONS": "--no-warnings"}), beside="")
    assert run.argv == ("sh", "/lockgate/platform/start", *command.split())
    assert run.env["NODE_OPTIONS"] == "--no-warnings --require /lockgate/platform/bin/node_loaded.cjs"
    asked = {"node", "go", "cargo", "node_loaded.cjs", "node_reporter.cjs"}
    assert asked == {path.removeprefix("/lockgate/platform/bin/") for path in run.files if "/bin/" in path}
    assert "/lockgate/reports/of" in run.files, "a directory of reports that is not there was taken away"


def test_a_line_for_the_shell_gets_one() -> None:
    run = run_of({}, ProjectSettings(test="cd web && CI=1 npm test"), beside="")
    assert run.argv[2:] == ("sh", "-c", "cd web && CI=1 npm test")


def test_unittest_is_run_by_our_program() -> None:
    run = run_of({}, ProjectSettings(test="python3 -m unittest discover -v"), beside="")
    assert run.argv == ("python3", "/lockgate/platform/lockgate_inside.py", "discover", "-v")


def test_pytest_gets_canaries_beside_the_tests_and_the_files_to_run_or_leave_out() -> None:
    run = run_of({}, ProjectSettings(test="pytest tests"), beside="tests/unit", only=["a.py"], without=["b.py"])
    assert "--ignore=/work/b.py" in run.argv
    told = json.loads(run.files["/lockgate/platform/told.json"])
    assert told["only"] == ["/work/a.py"]
    assert (told["first"], told["last"]) == tuple(f"/work/tests/unit/test_{told['nonce']}{which}.py" for which in "ab")
    assert {told["first"], told["last"]} < run.files.keys()
    assert run_of({}, ProjectSettings(), beside="").canaries != run.canaries, "nobody knows the next names"


@pytest.mark.parametrize(
    ("test", "files", "environment", "is_early"),
    [
        ("pytest -p tests.plugin", {"tests/plugin.py": ""}, {}, True),
        ("pytest -ptests.plugin", {"tests/plugin.py": ""}, {}, True),
        ("pytest", {"pytest.ini": "[pytest]\naddopts = -q -p shop\n", "src/shop/__init__.py": ""}, {}, True),
        ("pytest", {"pyproject.toml": 'addopts = ["-p", "plugin"]', "plugin.py": ""}, {}, True),
        ("pytest", {"plugin.py": ""}, {"PYTEST_PLUGINS": "xdist,plugin"}, True),
        ("pytest -p xdist -p no:randomly", {"tests/plugin.py": "", "no.py": ""}, {}, False),
        ("python -m pytest --strict-p tests", {"tests/__init__.py": ""}, {}, False),
    ],
)
def test_the_tree_is_importable_from_the_start_only_for_a_plugin_of_its_own(
    test: str, files: dict[str, str], environment: dict[str, str], is_early: bool
) -> None:
    run = run_of(tree(files), ProjectSettings(test=test, environment=environment), beside="")
    assert ("/work" in run.env["PYTHONPATH"].split(":")) is is_early


def test_settings_may_name_a_report_and_it_must_not_be_in_the_tree() -> None:
    settings = ProjectSettings(test="make test", report="junit:out/report.xml")
    assert run_of({}, settings, beside="").name == "junit"
    with pytest.raises(InputError, match=r"out/report\.xml is a file of the repository"):
        run_of(tree({"out/report.xml": ""}), settings, beside="")
    assert run_of({}, ProjectSettings(test="prove", report="tap"), beside="").name == "tap"
    for wrong in ("xml", "junit:", "junit:/etc/passwd", "gotest"):
        with pytest.raises(ValueError, match="report"):
            ProjectSettings(report=wrong)


# --- JUnit

NODE = """<testsuites>
<testcase name="fine" classname="test" file="/work/a.test.js"/>
<testcase name="bad" classname="test" file="/work/a.test.js" failure="1 == 2"><failure message="1 == 2">
[Error]</failure></testcase>
<testcase name="later" classname="test" file="/work/a.test.js"><skipped message="true"/></testcase>
<testsuite name="group"><testsuite name="sub"><testcase name="inner" classname="test" file="/work/a.test.js"/>
</testsuite></testsuite>
<testcase name="c.test.js" classname="test" file="/work/c.test.js"><failure message="test failed"/></testcase>
</testsuites>"""


def test_junit_as_node_writes_it() -> None:
    report = read_junit(NODE.encode(), by_file)
    assert report.cases == {
        "a.test.js::fine": PASSED,
        "a.test.js::bad": FAILED,
        "a.test.js::later": SKIPPED,
        "a.test.js::group::sub::inner": PASSED,
        "c.test.js": FAILED,
    }
    assert report.messages["a.test.js::bad"].startswith("1 == 2")


def test_junit_as_others_write_it() -> None:
    xml = b'<testsuite name="com.Shop"><testcase classname="com.Shop" name="t"><error/></testcase></testsuite>'
    assert read_junit(xml, by_file).cases == {"com.Shop::t": ERROR}
    assert read_junit(b'<testcase classname="Shop" name="t"/>', by_file).cases == {"Shop::t": PASSED}


def test_a_deep_document_is_read_without_recursion() -> None:
    deep = b"<testsuite>" * 3000 + b'<testcase name="t"/>' + b"</testsuite>" * 3000
    assert read_junit(deep, by_file).cases == {"t": PASSED}


def test_a_test_has_the_id_that_the_plugin_gave_it_and_one_that_never_ended_has_none() -> None:
    xml = b'<x><testcase id="tests/a.py::t[1]" classname="a" name="t[1]"/><testcase/><testcase name="internal"/></x>'
    assert list(read_junit(xml, by_id).cases) == ["tests/a.py::t[1]", "internal"]


# --- TAP

TAP = """TAP version 13
ok 1 - fine
not ok 2 - bad
  ---
  found: 1
  ...
ok 3 - later # SKIP no network
not ok 4 - someday # TODO write it
    ok 1 - inside of a subtest
ok
1..5
"""


def test_a_line_of_tap_that_is_made_to_be_slow_is_cut() -> None:
    assert list(read_tap("ok 1 - a" + " " * 500_000 + "b\n1..1\n").cases) == ["a"]


def test_tap_is_read_at_its_top_level() -> None:
    report = read_tap(TAP)
    assert report.cases == {"fine": PASSED, "bad": FAILED, "later": SKIPPED, "someday": PASSED, "test 5": PASSED}
    assert "found: 1" in report.messages["bad"]


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "plan says nothing"), ("ok 1\n", "plan says nothing"), ("1..2\nok 1\n", "plan says 2"),
     ("1..1\nok 1\nok 2\n", "plan says 1"), ("1..1\nBail out! no database\n", "no database")],
)  # fmt: skip
def test_tap_that_is_not_whole_is_not_believed(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_tap(text)


# --- jest and vitest


def jest(success: bool = False, **file: Any) -> bytes:
    cases = [
        {"fullName": "fine", "status": "passed", "failureMessages": []},
        {"fullName": "group bad", "status": "failed", "failureMessages": ["Error: 1"]},
        {"fullName": "later", "status": "pending"},
    ]
    files = [
        {"name": "/work/a.test.js", "status": "failed", "message": "", "assertionResults": cases, **file},
        {"name": "/work/c.test.js", "status": "failed", "message": "no import", "assertionResults": []},
    ]
    return json.dumps({"success": success, "testResults": files}).encode()


def test_jests_json() -> None:
    assert read_jest(jest()) == Report(
        {
            "a.test.js::fine": PASSED,
            "a.test.js::group bad": FAILED,
            "a.test.js::later": SKIPPED,
            "c.test.js": ERROR,
        },
        {"a.test.js::group bad": "Error: 1", "c.test.js": "no import"},
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"[]", b"{}", b'{"testResults": [3]}', b'{"testResults": [], "success": false}', b"\xff",
     b'{"testResults": 3, "success": true}', b'{"testResults": []}', jest(assertionResults=[{}]), b"[" * 100_000],
)  # fmt: skip
def test_json_that_is_not_jests_is_not_believed(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_jest(content)


def test_a_project_that_is_a_plugin_of_pytest_is_importable_when_pytest_starts() -> None:
    plugin = tree({"pyproject.toml": '[project.entry-points.pytest11]\nshop = "shop.plugin"', "src/shop/plugin.py": ""})
    for install, seen in ((True, "/lockgate/platform:/work:/work/src"), (False, "/lockgate/platform")):
        assert run_of(plugin, ProjectSettings(install=install), beside="").env["PYTHONPATH"] == seen


def test_a_project_that_pytest_itself_needs_is_importable_when_pytest_starts() -> None:
    for name, seen in (("Pluggy", "/lockgate/platform:/work:/work/src"), ("shop", "/lockgate/platform")):
        needed = tree({"pyproject.toml": f'[project]\nname = "{name}"', "src/x.py": ""})
        assert run_of(needed, ProjectSettings(install=True), beside="").env["PYTHONPATH"] == seen


def test_base_says_whether_the_project_is_a_plugin_of_pytest() -> None:
    settings, base = ProjectSettings(install=True), tree({"pyproject.toml": "[project]", "shop.py": ""})
    head = {**base, **tree({"pyproject.toml": "[project] # pytest11", "pytest.ini": "[pytest]\naddopts = -p shop"})}
    assert run_of(head, settings, beside="").env["PYTHONPATH"] == "/lockgate/platform:/work"
    assert run_of(head, settings, beside="", base=base).env["PYTHONPATH"] == "/lockgate/platform"
