"""Acceptance tests that agents propose: which are believed, which are red by themselves, and what approves one."""

import time

import pytest

from domain.brief import Brief
from domain.policy.proposals import red_on_base, why_unfit
from domain.project import ProjectSettings
from domain.proposal import MOST_CHARS, Proposal, digest_for, said_in
from domain.task import CaseOutcome, Suite
from domain.trees import Tree, TreeEntry
from kits.briefs import brief

PATH = "tests/acceptance/test_new.py"
TREE: Tree = {
    path: TreeEntry(0o100644, b"")
    for path in (
        "src/shop/__init__.py", "src/shop/search.py", "app.py", "bin/tool.sh", "tests/conftest.py", "tests/test_old.py",
        "README.md", "lockgate.toml",
    )
}  # fmt: skip
SETTINGS = ProjectSettings()


def of(content: str, path: str = PATH) -> Proposal:
    return Proposal(path=path, content=content, why="the goal says so")


GOOD = {
    "a call": "from shop import search\n\ndef test_it():\n    assert search.find('x') == ['x']\n",
    "a new module": "from shop.rank import rank\n\ndef test_it():\n    assert rank([2, 1]) == [1, 2]\n",
    "through names": "import app\n\ndef test_it():\n    made = app.make()\n    a = str(made)\n    assert a == 'a'\n",
    "raises": "import app, pytest\n\ndef test_it():\n    with pytest.raises(ValueError) as err:\n        app.run(-1)\n"
    "    assert 'negative' in str(err.value)\n",
    "must not raise": "import app\n\ndef test_it():\n    app.run('é')\n",
    "a fixture of the project": "def test_it(client):\n    answer = client.get('/x')\n    assert answer.ok\n",
    "a fixture of its own": "import pytest\nfrom app import App\n\n@pytest.fixture\ndef it():\n    return App()\n\n"
    "def test_it(it):\n    assert it.name == 'x'\n",
    "what is printed": "import app\n\ndef test_it(capsys):\n    app.main(['--x'])\n    out = capsys.readouterr().out\n"
    "    assert 'x' in out\n",
    "a command": "import subprocess, sys\n\ndef test_it():\n    done = subprocess.run([sys.executable, '-m', 'app'])\n"
    "    assert done.returncode == 0\n",
    "a file": "from pathlib import Path\n\ndef test_it():\n    assert 'usage' in Path('README.md').read_text()\n",
    "a class": "import unittest\nfrom app import total\n\nclass TestIt(unittest.TestCase):\n    def setUp(self):\n"
    "        self.made = total(1)\n\n    def test_it(self):\n        self.assertEqual(self.made, 2)\n",
    "a try": "import app\n\ndef test_it():\n    try:\n        app.run()\n    except KeyError:\n"
    "        raise AssertionError('it raised')\n",
    "parameters": "import app, pytest\n\n@pytest.mark.parametrize('given, due', [(1, 2)])\ndef test_it(given, due):\n"
    "    assert app.double(given) == due\n",
    "a helper": "import app\n\ndef made(x):\n    return app.make(x)\n\ndef test_it():\n    assert made(1)\n",
    "what was filled": "import app\n\ndef test_it():\n    found = []\n    app.fill(found)\n    assert found == [1]\n",
    "a callback": "import app\n\ndef test_it():\n    seen = []\n    app.each(lambda one: seen.append(one))\n"
    "    assert seen == [1]\n",
    "a patch": "from unittest import mock\nimport app\n\n@mock.patch('app.send')\ndef test_it(send):\n    app.run()\n"
    "    send.assert_called_once()\n    assert send.call_count == 1\n",
    "a loop": "import app\n\ndef test_it():\n    for one in app.all():\n        assert one\n",
    "async": "import app\n\nasync def test_it():\n    assert await app.go() == 1\n",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_test_that_asks_the_product_is_fit(name: str) -> None:
    assert why_unfit(of(GOOD[name]), TREE, SETTINGS) == ()


BAD = {
    "false": ("import app\n\ndef test_it():\n    app.run()\n    assert False\n", "asks nothing"),
    "zero": ("import app\n\ndef test_it():\n    assert app.x\n    assert 0, app.x\n", "asks nothing"),
    "not true": ("import app\n\ndef test_it():\n    app.run()\n    assert not True\n", "asks nothing"),
    "constants": ("import app\n\ndef test_it():\n    app.run()\n    a = 1\n    assert a == 2\n", "asks nothing"),
    "a number that is passed": (
        "import app\n\ndef test_it():\n    a = 1\n    app.run(a)\n    assert a == 2\n", "asks nothing",
    ),
    "and false": ("import app\n\ndef test_it():\n    assert app.run() and False\n", "asks nothing"),
    "the module": ("import app\n\ndef test_it():\n    app.run()\n    assert app is None\n", "asks nothing"),
    "fail": ("import app, pytest\n\ndef test_it():\n    app.run()\n    pytest.fail('todo')\n", "asks nothing"),
    "raise": ("import app\n\ndef test_it():\n    app.run()\n    raise AssertionError\n", "whatever the product does"),
    "self.fail": (
        "import unittest, app\n\nclass TestIt(unittest.TestCase):\n    def test_it(self):\n        app.run()\n"
        "        self.fail('x')\n", "asks nothing",
    ),
    "assertEqual": (
        "import unittest, app\n\nclass TestIt(unittest.TestCase):\n    def test_it(self):\n        app.run()\n"
        "        self.assertEqual(1, 2)\n", "asks nothing",
    ),
    "without the product": ("def test_it():\n    assert sum([1, 2]) == 4\n", "nothing of the product"),
    "the standard library": ("import json\n\ndef test_it():\n    assert json.loads('1') == 2\n", "nothing of"),
    "what is not there": ("import nowhere\n\ndef test_it():\n    assert nowhere.x() == 2\n", "nothing of the product"),
    "no parse": ("def test_it(:\n    pass\n", "cannot be read"),
    "too deep": ("(\n" * 5000, "cannot be read"),
    "a null": ("def test_it():\n    pass\0\n", "hide text"),
    "hidden": ("import app\n\ndef test_it():\n    assert app.run() # \u202e\n", "hide text"),
    "no test": ("import app\n\ndef it():\n    assert app.run()\n", "no test in it"),
    "empty": ("", "no test in it"),
    "skipped": ("import app, pytest\n\n@pytest.mark.skip\ndef test_it():\n    assert app.run()\n", "say nothing"),
    "strict xfail": (
        "import app, pytest\n\n@pytest.mark.xfail(strict=True)\ndef test_it():\n    assert app.run()\n", "say nothing",
    ),
    "outside": ("import app\n\nassert app.x\n\ndef test_it():\n    assert app.run()\n", "outside of any test"),
    "exit": ("import app, sys\nsys.exit(1)\n\ndef test_it():\n    assert app.run()\n", "outside of any test"),
    "raises nothing": (
        "import app, pytest\n\ndef test_it():\n    app.run()\n    with pytest.raises(ValueError):\n        int('1')\n",
        "asks nothing",
    ),
    "long": ("#" * (MOST_CHARS + 1), "characters"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_test_that_is_red_by_itself_is_unfit(name: str) -> None:
    content, why = BAD[name]
    assert why in " ".join(why_unfit(of(content), TREE, SETTINGS))


LOOKS_OTHERWISE = {
    "behind many blanks": ("    assert app.f() == 3" + " " * 100 + "or True", "line 4 has more than 40 blanks"),
    "behind tabs": ("    assert app.f() == 3" + "\t" * 12 + "or True", "line 4 has more than 40 blanks"),
    "far to the right": ("    assert app.f() == 3 or (" + "- " * 100 + "1)", "columns, and 200 are shown"),
    "far below": ("    assert app.f() == 3 or (" + "\n" * 30 + "1)", "empty lines in a row"),
    "far below lines of blanks": ("    assert app.f() == 3 or (" + "\n    " * 30 + "1)", "empty lines in a row"),
    **{
        f"U+{code:04X}": (f"    ok = ok{chr(code)} or app.f()", f"line 4 holds U+{code:04X}")
        for code in (
            0x1B, 0x0D, 0x0C, 0x85, 0xA0, 0xAD, 0x34F, 0x61C, 0x115F, 0x1160, 0x180E, 0x200B, 0x2028, 0x2029, 0x202E,
            0x2064, 0x3000, 0x3164, 0xFE0F, 0xFEFF, 0xFFA0, 0xE0041, 0xE0100,
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", LOOKS_OTHERWISE)
def test_what_a_person_may_see_otherwise_than_it_is_is_unfit(name: str) -> None:
    line, why = LOOKS_OTHERWISE[name]
    assert why in " ".join(why_unfit(of(f"import app\n\ndef test_it():\n{line}\n"), TREE, SETTINGS))


def test_words_of_any_language_and_spaced_code_are_fit() -> None:
    content = "import app\n\n\n\n\ndef test_it():\n" + " " * 36 + "assert app.f('größer 日本語 Ελλάδα हिन्दी 🙂')\n"
    assert why_unfit(of(content), TREE, SETTINGS) == ()


BODY = "import app\n\ndef test_it():\n"
INTRICATE = {
    "a long chain of attributes": BODY + "    assert (app" + "\n.a" * 900 + ")",
    "not not": BODY + "    assert (" + "not\n" * 900 + "app.x)",
    "names that lead backwards": BODY + "".join(f"    a{n} = a{n + 1}\n" for n in range(1000)) + "    a1000 = app.x",
    "many nodes": BODY + "    app.x\n    assert " + "f(" * 40 + ("\n" + "1," * 60) * 130 + ")" * 40,
}


@pytest.mark.parametrize("name", INTRICATE)
def test_a_test_that_would_take_long_to_judge_is_refused_at_once(name: str) -> None:
    began = time.process_time()
    assert "it cannot be judged" in " ".join(why_unfit(of(INTRICATE[name]), TREE, SETTINGS))
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("src/shop/test_new.txt", "no test file"),
        ("tests/conftest.py", "no test file"),
        ("tests/acceptance/conftest.py", "no test file"),
        ("pytest.ini", "no test file"),
        ("app.py", "no test file"),
        ("tests/acceptance/helper.py", "no test file"),
        ("tests/test_old.py", "there already"),
        ("tests/Test_Old.py", "no test file"),
        ("tests/test_OLD.py", "there already"),
        ("README.md/test_a.py", "nothing can be below"),
        ("../test_a.py", "no path"),
        ("/tests/test_a.py", "no path"),
        (".git/test_a.py", "no path"),
        ("tests/.GIT/test_a.py", "no path"),
        ("tests\\test_a.py", "no path"),
        ("", "no path"),
    ],
)
def test_a_proposal_is_one_new_test_file(path: str, why: str) -> None:
    assert why in " ".join(why_unfit(of(GOOD["a call"], path), TREE, SETTINGS))


def test_tests_are_where_base_says() -> None:
    elsewhere = ProjectSettings(test_paths=("checks/**",))
    assert "not where tests are" in " ".join(why_unfit(of(GOOD["a call"]), TREE, elsewhere))


def told(message: str, *, test: str = f"{PATH}::test_it", outcome: CaseOutcome = CaseOutcome.FAILED) -> Suite:
    return Suite(
        cases={test: outcome, "tests/test_old.py::test_a": CaseOutcome.FAILED}, messages={test: message}, exit_code=1
    )


@pytest.mark.parametrize(
    ("content", "message", "why"),
    [
        (GOOD["a call"], f"E       AssertionError: assert [] == ['x']\n\n{PATH}:4: AssertionError", ""),
        (GOOD["a call"], f"{PATH}:4: \nE   AttributeError: no find\nsrc/shop/search.py:3: AttributeError", ""),
        (GOOD["a new module"], f"{PATH}:1: in <module>\nE   ModuleNotFoundError: No module named 'shop.rank'", ""),
        (GOOD["a call"], "E   ImportError: cannot import name 'search' from 'shop' (/work/src/shop/__init__.py)", ""),
        (GOOD["a call"], f"{PATH}:1: in <module>\nE   ModuleNotFoundError: No module named 'x'", "neither installed"),
        (GOOD["a call"], "E     File \"test_new.py\", line 2\nE   SyntaxError: invalid syntax", "SyntaxError"),
        (GOOD["a fixture of the project"], "E       fixture 'client' not found", "no fixture 'client'"),
        (GOOD["a call"] + "    assert nothere\n", f"E   NameError: no\n\n{PATH}:5: NameError", "NameError"),
        (GOOD["a call"] + "    x = 1 / 0\n", f"E   ZeroDivisionError: b\n\n{PATH}:5: ZeroDivisionError", "asks n"),
        (
            "import app\n\ndef test_it():\n    x = int('a')\n    assert app.run(x)\n",
            f"E   ValueError: invalid literal\n\n{PATH}:4: ValueError", "line 4 asks nothing",
        ),
        (
            GOOD["a call"] + "    x = int('a')\n",
            f"{PATH}:5: \n/usr/lib/python3/x.py:3: ValueError\nE   ValueError: invalid literal", "line 5 asks nothing",
        ),
    ],
)  # fmt: skip
def test_why_it_is_red_has_to_be_the_product(content: str, message: str, why: str) -> None:
    red, wrong = red_on_base(of(content), told(message), TREE, SETTINGS)
    assert len(red) == 1
    assert (why in " ".join(wrong)) if why else not wrong


def test_a_file_that_cannot_be_imported_is_judged_by_its_error() -> None:
    suite = told("E   ModuleNotFoundError: No module named 'nowhere'", test=PATH, outcome=CaseOutcome.ERROR)
    assert "neither installed" in red_on_base(of(GOOD["a call"]), suite, TREE, SETTINGS)[1][0]


def test_an_approval_names_exactly_one_text() -> None:
    digest = digest_for("run", 1, of(GOOD["a call"]))
    others = (
        digest_for("run", 2, of(GOOD["a call"])), digest_for("other", 1, of(GOOD["a call"])),
        digest_for("run", 1, of(GOOD["a call"] + "#")), digest_for("run", 1, of(GOOD["a call"], "tests/test_b.py")),
    )  # fmt: skip
    assert digest not in others and len(digest) == 16
    for text in (f"accept {digest}", f"/lockgate accept {digest}\n", f"  ACCEPT {digest.upper()}"):
        said = said_in(text)
        assert said and said.accepts and said.digest == digest
    for text in (
        "accept", "yes", f"accept {digest[:15]}", f"accept {digest}0", f"accept {digest} but rename it", "",
        f"do not accept {digest}", f"accept {digest}\nif it is green", f"accept\n{digest}",
        f"> /lockgate accept {digest}",
    ):  # fmt: skip
        assert said_in(text) is None, text
    no = said_in(f"/lockgate refuse {digest}: it guesses\nask for the sum")
    assert no and not no.accepts and no.why == "it guesses\nask for the sum"


def test_a_brief_that_proposes_needs_no_acceptance_and_others_keep_their_digest() -> None:
    from pathlib import Path

    given = brief(Path("/x"), "command/mine")
    plain = Brief.model_validate(given)
    assert "propose_acceptance" not in given and not plain.is_to_propose
    without = {name: value for name, value in given.items() if name != "acceptance"}
    assert Brief.model_validate({**without, "propose_acceptance": True}).is_to_propose
    with pytest.raises(ValueError, match="acceptance"):
        Brief.model_validate(without)
    assert plain.model_copy(update={"propose_acceptance": True}).digest != plain.digest
    assert not Brief.model_validate({**given, "propose_acceptance": True}).is_to_propose


REAL = {
    # jmoiron/humanize#186, #116 and #220, alvinwan/timefhuman#26 and #20, arrow-py/arrow#26, hellerbarde/stapler#81,
    # quarkslab/qbindiff#4, MetPX/sarracenia#1358, edreamleo/make-stub-files#13: what they ask for, as tests
    "humanize": (
        "import datetime as dt\nimport humanize\n\n\ndef test_three_months():\n"
        "    made = humanize.naturaldelta(dt.timedelta(days=90))\n    assert made == '3 months'\n",
        "import humanize\n\n\ndef test_five_months():\n    assert humanize.naturaldelta(13140015) == '5 months'\n",
        "from datetime import date\n\nfrom humanize import precisedelta\n\n\ndef test_days():\n"
        "    between = date(2021, 7, 27) - date(2020, 12, 14)\n"
        "    assert precisedelta(between) == '7 months and 13 days'\n",
    ),
    "timefhuman": (
        "import datetime\nfrom timefhuman import timefhuman\n\n\ndef test_a_comma():\n"
        "    assert timefhuman('September 30 , 2019.') == datetime.datetime(2019, 9, 30)\n",
        "import pytest\nfrom timefhuman import timefhuman\n\n\n@pytest.mark.parametrize('text', ['last week'])\n"
        "def test_it_is_read(text):\n    timefhuman(text, now=None)\n",
    ),
    "arrow": (
        "import arrow\n\n\nclass TestHumanize:\n    def test_seven(self):\n        now = arrow.get(2013, 8, 1)\n"
        "        then = now.shift(months=-7)\n        assert then.humanize(now) == '7 months ago'\n",
    ),
    "stapler": (
        "import subprocess\nimport sys\n\n\ndef run(*words):\n    told = [sys.executable, '-m', 'stapler', *words]\n"
        "    return subprocess.run(told, capture_output=True, text=True)\n\n\ndef test_version():\n"
        "    done = run('--version')\n    assert done.returncode == 0\n    assert done.stdout.strip()\n",
    ),
    "qbindiff": (
        "from click.testing import CliRunner\nfrom qbindiff.__main__ import main\n\n\ndef test_an_option():\n"
        "    result = CliRunner().invoke(main, ['--feature-option', 'wlgk:max_passes=2', '--help'])\n"
        "    assert result.exit_code == 0, result.output\n",
    ),
    "sarracenia": (
        "import unittest\n\nimport sarracenia\n\n\nclass TestIt(unittest.TestCase):\n    def test_a_month(self):\n"
        "        self.assertIn('m', sarracenia.durationToString(2681007.9))\n",
    ),
    "make_stub_files": (
        "import importlib\n\n\ndef test_none():\n    module = importlib.import_module('make_stub_files')\n"
        "    assert module.ReduceTypes(['None', 'str']).reduce_types() == 'Optional[str]'\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REAL)
def test_what_real_issues_ask_for_is_fit(name: str) -> None:
    tree = {path: TreeEntry(0o100644, b"") for path in (f"src/{name}/__init__.py", f"src/{name}/time.py")}
    for content in REAL[name]:
        assert why_unfit(of(content), tree, SETTINGS) == (), content
