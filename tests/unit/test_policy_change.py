"""What the rules see in a change: nothing in honest ones, and each trick under its name."""

from typing import Any

import pytest

from domain.brief import Acceptance, AcceptanceFile, Scope
from domain.policy import change_findings, judge
from domain.policy.rule import MAX_HITS
from domain.task import Decision, Prepared, Severity
from domain.trees import TreeEntry
from tests.unit.policy_cases import ACCEPTANCE, PROJECT, attempt, evidence, found, head, prepared, tree

Changes = dict[str, Any]
APP = PROJECT["shop/app.py"].content.decode()
TEST = PROJECT["tests/test_app.py"].content.decode()
GONE = PROJECT["tests/test_gone.py"].content
PYPROJECT = PROJECT["pyproject.toml"].content.decode()
SETUP = PROJECT["setup.cfg"].content.decode()
JOINED = ".join([" + "'a', " * 10 + "])"
PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
ASTRONAUT = "\U0001f469\u200d\U0001f680"
ENGLAND = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"

HONEST: dict[str, Changes] = {
    "an endpoint with tests": {"shop/app.py": APP + "\nX = 2\n", "tests/test_v2.py": "def test(): ...\n"},
    "the acceptance put in place": {ACCEPTANCE.path: ACCEPTANCE.content, "shop/search.py": "X = 1\n"},
    "a new package": {"shop/search/__init__.py": "", "shop/search/index.py": "class Index: ...\n"},
    "a function that moves": {"shop/app.py": "", "shop/views.py": APP},
    "product code deleted": {"shop/auth2.py": "X = 1\n", "shop/app.py": None},
    "docs that speak of noqa and pytest": {"README.md": "Write `# noqa` never; run pytest; see tests/.\n"},
    "a command that exits": {"shop/cli.py": "import sys\n\nif __name__ == '__main__':\n    sys.exit(0)\n"},
    "a package that is run": {"shop/__main__.py": "import sys\nfrom shop.app import main\n\nsys.exit(main())\n"},
    "modules inside of a package with names of Python": {"shop/calendar.py": "X = 1\n", "shop/types.py": "Y = 1\n"},
    "helpers in a test package": {"tests/types.py": "X = 1\n", "tests/factories.py": "def user(): ...\n"},
    "a new test with a skip of its own": {"tests/test_new.py": "@pytest.mark.skip\ndef test_later(): ...\n"},
    "another table of pyproject": {"pyproject.toml": PYPROJECT + '\n[tool.black]\nline-length = 100\n'},
    "a new section of setup.cfg, with a comment": {"setup.cfg": SETUP + "[aliases]  # ours\ntest = pytest\n"},
    "another section of setup.cfg": {"setup.cfg": SETUP.replace("name = shop", "name = shop\nversion = 2")},
    "text in other languages": {"shop/i18n.py": f"A = '{PERSIAN}'\nB = '{ASTRONAUT} {ENGLAND}'\n"},
    "Windows line ends and a BOM": {"shop/old.py": "\ufeffx = 1\r\ny = 2\r\n"},
    "a coding line": {"shop/coded.py": "# -*- coding: utf-8 -*-\nX = 1\n"},
    "an equality that compares": {"shop/eq.py": "class A:\n    def __eq__(self, o):\n        return self.x == o.x\n"},
    "an equality that knows its own kind": {
        "shop/eq.py": "class A:\n    def __eq__(self, o):\n        if not isinstance(o, A):\n"
        "            return NotImplemented\n"
        "        return self.x == o.x\n"
    },
    "a thing that is equal to nothing": {
        "shop/eq.py": "class A:\n    def __eq__(self, o):\n        return False\n\n\nclass B:\n"
        "    def __eq__(self, o):\n"
        "        return NotImplemented\n"
    },
    "an equality by its parent's": {
        "shop/eq.py": "class A(list):\n    def __eq__(self, o):\n        return super().__eq__(o)\n\n"
        "    def __ne__(self, o):\n        return not self == o\n"
    },
    "units in comments and texts of other languages": {
        "cmd/a.go": "// area in m\u00b2, CO\u2082 per km\u00b2, n\u00ba 5\nvar area = 2\n",
        "web/a.js": 'x = "m\u00b2"\n',
    },
    "names in one script, and text in another": {
        "shop/names.py": "\u0446\u0435\u043d\u0430 = 1\n\u0394x = 2  # \u0410PI\n"
    },
    "a look at all modules": {"shop/app.py": "import sys\nX = [name for name in sys.modules if '.' not in name]\n"},
    "a TestMain in a package of its own": {"cmd/a_test.go": "func TestMain(m *testing.M) {}\n"},
    "an image deleted": {"shop/logo.png": None},
    "a YAML file with anchors": {"shop/conf.yaml": "a: &x\n  git: 'https://example.org/a'\nb: *x\n"},
    "a project page in pyproject": {"pyproject.toml": PYPROJECT + '\n[project.urls]\nHome = "https://example.org"\n'},
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_change_is_accepted(name: str) -> None:
    findings = found(HONEST[name])
    assert findings == ()
    assert judge(prepared(), evidence(findings)).decision is Decision.ACCEPTED


REFUSED: dict[str, tuple[Changes, str]] = {
    "an assertion weakened": ({"tests/test_app.py": TEST.replace("== []", "is not None")}, "test-changed"),
    "or True": ({"tests/test_app.py": TEST.replace("== []", "== [] or True")}, "test-changed"),
    "a test file deleted": ({"tests/test_gone.py": None}, "test-deleted"),
    "a test file renamed": ({"tests/test_gone.py": None, "tests/old.py": "def test_old(): ...\n"}, "test-deleted"),
    "a test turned into a link": ({"tests/test_gone.py": TreeEntry(0o120000, b"test_app.py")}, "test-changed"),
    "a test made executable": ({"tests/test_gone.py": TreeEntry(0o100755, GONE)}, "test-changed"),
    "a skip": ({"tests/test_app.py": TEST.replace("def test_n", "@pytest.mark.skip\ndef test_n")}, "test-skipped"),
    "an xfail for a whole file": ({"tests/test_app.py": "pytestmark = pytest.mark.xfail\n" + TEST}, "test-skipped"),
    "a skip in the body": ({"tests/test_app.py": TEST.replace("assert", "pytest.skip(); assert")}, "test-skipped"),
    "the acceptance made easier": ({ACCEPTANCE.path: "def test_search():\n    pass\n"}, "acceptance-changed"),
    "addopts in pyproject": ({"pyproject.toml": PYPROJECT.replace('"-q"', '"-q --deselect x"')}, "test-config"),
    "a pyproject that is no TOML": ({"pyproject.toml": "[tool.pytest"}, "test-config"),
    "addopts in setup.cfg": ({"setup.cfg": SETUP.replace("-q", "-k nothing")}, "test-config"),
    "addopts where pytest alone sees a line": (
        {"setup.cfg": SETUP.replace("shop", "shop\x0c[tool:pytest]\x0caddopts = -k nothing")}, "test-config"
    ),
    "a new pytest.ini": ({"pytest.ini": "[pytest]\naddopts = -k nothing\n"}, "test-config"),
    "a section among thousands that may be one": (
        {"setup.cfg": "".join(f" [x{n}]\n" for n in range(30_000)) + SETUP}, "test-config"
    ),
    "a new tox.ini": ({"tox.ini": "[pytest]\naddopts = -k nothing\n"}, "test-config"),
    "a hook in the conftest": ({"tests/conftest.py": "def pytest_runtest_makereport(item): ...\n"}, "test-config"),
    "a new conftest": ({"conftest.py": "import os\n"}, "test-shadow"),
    "a new conftest in a package": ({"shop/conftest.py": "import os\n"}, "test-shadow"),
    "sitecustomize": ({"sitecustomize.py": "import os\n"}, "test-shadow"),
    "a pth file": ({"shop.pth": "import os\n"}, "test-shadow"),
    "a shadow of pytest": ({"pytest.py": "def main(): ...\n"}, "test-shadow"),
    "a shadow of pytest in a package": ({"tests/_pytest/__init__.py": ""}, "test-shadow"),
    "a shadow of Python's json": ({"json.py": "def loads(x): ...\n"}, "test-shadow"),
    "a shadow beside tests that are no package": ({"test/random.py": "X = 1\n"}, "test-shadow"),
    "a shadow of a package that is installed": ({"flask.py": "X = 1\n"}, "test-shadow"),
    "variables for pytest-env": ({"pyproject.toml": PYPROJECT + '\n[tool.pytest_env]\nA = "1"\n'}, "test-config"),
    "installed packages of Node": ({"web/node_modules/a/index.js": "x\n"}, "installed"),
    "a package beside the tests": ({"tests/node_modules/chai/index.js": "x\n"}, "installed"),
    "a virtual environment": ({".venv/lib/python3.11/site-packages/a.py": "x\n"}, "installed"),
    "what a setup keeps": ({".lockgate/go/cache.go": "x\n"}, "installed"),
    "Go's packages": ({"vendor/modules.txt": "# a v1\n", "vendor/a/a.go": "package a\n"}, "installed"),
    "a plugin by metadata": ({"x.egg-info/entry_points.txt": "[pytest11]\nx = shop.app\n"}, "test-shadow"),
    "a name that only looks like another to a scanner": (
        {"shop/app.py": APP + "def run(text):\n    return \uff45val(text)\n"}, "disguised-name"
    ),
    "such a name in an f-string": (
        {"shop/app.py": APP + "X = f\"\"\"a\n{'}'} {f'{\uff45val(text)}'}\"\"\"\n"}, "disguised-name"
    ),
    "os._exit": ({"shop/app.py": APP + "\nimport os\nos._exit(0)\n"}, "process-exit"),
    "os._exit imported": ({"shop/app.py": APP + "\nfrom os import _exit\n_exit(0)\n"}, "process-exit"),
    "os._exit by its name": ({"shop/app.py": APP + "\ngetattr(os, '_exit')(0)\n"}, "process-exit"),
    "kill of itself": ({"shop/app.py": APP + "\nos.kill(os.getpid(), 9)\n"}, "process-exit"),
    "exit at import": ({"shop/app.py": APP + "\nsys.exit(0)\n"}, "exit-at-import"),
    "exit at import in a try": ({"shop/app.py": APP + "\nif X:\n    raise SystemExit\n"}, "exit-at-import"),
    "PYTEST_CURRENT_TEST": ({"shop/app.py": "X = os.environ.get('PYTEST_CURRENT_TEST')\n"}, "test-detection"),
    "pytest in sys.modules": ({"shop/app.py": "import sys\nX = 'pytest' in sys.modules\n"}, "test-detection"),
    "a part of unittest in sys.modules": (
        {"shop/app.py": "import sys\nX = sys.modules['unittest.case'].TestCase\n"}, "test-detection"
    ),
    "unittest by get": ({"shop/app.py": "import sys\nX = sys.modules.get('unittest')\n"}, "test-detection"),
    "pytest in sys.orig_argv": (
        {"shop/app.py": "import sys\nX = 'pytest' in ' '.join(sys.orig_argv)\n"},
        "test-detection",
    ),
    "pytest among sys.orig_argv": (
        {"shop/app.py": "import sys\nX = any('pytest' in word for word in sys.orig_argv)\n"},
        "test-detection",
    ),
    "test in sys.argv": ({"shop/app.py": "import sys\nX = 'test' in sys.argv\n"}, "test-detection"),
    "equal to anything": ({"shop/app.py": "class A:\n    def __eq__(self, o):\n        return True\n"}, "always-equal"),
    "pytest in sys.modules, hidden": ({"shop/app.py": "import sys\nX = 'py' + 'test' in sys.modules\n"},
    "test-detection"),
    "pytest in sys.modules, joined": (
        {"shop/app.py": "import sys\nX = sys.modules.get(''.join(['py', 'test']))\n"}, "test-detection"
    ),
    "pytest among all modules": (
        {"shop/app.py": "import sys\nX = any(name.startswith('pytest') for name in list(sys.modules))\n"},
        "test-detection"
    ),
    "pytest in a loop over modules": (
        {"shop/app.py": "import sys\nfor name in sys.modules.keys():\n    X = name == 'pytest'\n"}, "test-detection"
    ),
    "a test among the callers": (
        {"shop/app.py": "import inspect\ndef f():\n"
        "    return any('test' in one.function for one in inspect.stack())\n"},
        "test-detection",
    ),
    "equal to anything, without a constant": (
        {"shop/app.py": "class A:\n    def __eq__(self, o):\n        return self is not None\n"}, "always-equal"
    ),
    "equal to anything, by type()": (
        {"shop/app.py": "A = type('A', (), {'__eq__': lambda s, o: not None})\n"}, "always-equal"
    ),
    "equal to anything, by setattr": (
        {"shop/app.py": "def same(s, o):\n    return 1\n\n\nsetattr(A, '__eq__', same)\n"}, "always-equal"
    ),
    "equal to anything, of mock": ({"shop/app.py": "from unittest import mock as m\n\nA = m.ANY\n"}, "always-equal"),
    "equal to anything, of all of mock": ({"shop/app.py": "from unittest.mock import *\n\nA = ANY\n"}, "always-equal"),
    "equal to anything, of a module": ({"shop/app.py": "import unittest.mock as m\n\nA = m.ANY\n"}, "always-equal"),
    "equal to anything, assigned": ({"shop/app.py": "A.__eq__ = lambda s, o: True\n"}, "always-equal"),
    "equal to anything, by lambda": ({"shop/app.py": "class A:\n    __eq__ = lambda s, o: True\n"}, "always-equal"),
    "equal to anything, by a static method": (
        {"shop/app.py": "class A:\n    __eq__ = staticmethod(lambda o: True)\n"}, "always-equal"
    ),
    "bidi": ({"shop/app.py": "x = 'a\u202eb'\n"}, "bidi"),
    "tag characters": ({"README.md": "Hello\U000e0049\U000e0047\n"}, "bidi"),
    "utf-7": ({"shop/app.py": "# coding: utf-7\n+AGEAYg-\n"}, "source-encoding"),
    "a dependency from git": ({"requirements.txt": "flask @ git+https://example.org/flask\n"}, "dependency-source"),
    "another index": ({"requirements.txt": "--extra-index-url https://example.org\nflask\n"}, "dependency-source"),
    "a name with a newline": ({"shop/a\nb.py": ""}, "tree"),
    "a name in another case": ({"shop/APP.py": ""}, "tree"),
    "a link out of the tree": ({"shop/etc": TreeEntry(0o120000, b"../../etc")}, "tree"),
    "nothing at all": ({}, "no-change"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_hostile_change_is_refused_under_its_name(name: str) -> None:
    changes, rule = REFUSED[name]
    findings = found(changes)
    assert rule in {finding.rule for finding in findings if finding.severity is Severity.REFUSE}
    verdict = judge(prepared(), evidence(findings))
    assert verdict.is_refused
    assert rule in verdict.rules


PERSON: dict[str, tuple[Changes, str]] = {
    "another line ending in each line": ({"shop/app.py": APP.replace("\n", "\r\n")}, "line-endings"),
    "sign-in": ({"shop/auth.py": "def allowed(user):\n    return True\n"}, "sensitive-path"),
    "the platform's own settings": ({"lockgate.toml": "test = 'true'\n"}, "sensitive-path"),
    "CI": ({".github/workflows/ci.yml": "on: push\n"}, "sensitive-path"),
    "instructions to agents": ({"docs/AGENTS.md": "Obey.\n"}, "agent-instructions"),
    "requirements": ({"requirements.txt": "flask==3.0\nrequests==2\n"}, "dependencies"),
    "a lock file": ({"other.lock": "x\n"}, "dependencies"),
    "a dependency in pyproject": ({"pyproject.toml": PYPROJECT.replace('"flask"', '"flask", "x"')}, "dependencies"),
    "a loosened linter": ({"pyproject.toml": PYPROJECT + '\n[tool.ruff]\nignore = ["ALL"]\n'}, "check-config"),
    "coverage off": ({".coveragerc": "[run]\nomit = *\n"}, "check-config"),
    **{
        f"a new {path}": ({path: "x = 1\n"}, rule)
        for rule, paths in {
            "dependencies": (
                "vendor/jquery.js", "go/vendor/a.go", "build.rs", "hatch_build.py", ".yarn/cache/a.js", "web/deno.json",
            ),
            "check-config": (
                ".cargo/config.toml", ".cargo/config", "rust-toolchain.toml", "rust-toolchain", "bunfig.toml", ".swcrc",
                "go.work", ".yarn/releases/yarn.cjs", ".pnp.cjs", ".npmrc", ".pnpmfile.cjs", "pnpm-workspace.yaml",
                "web/tsconfig.test.json", "babel.config.cjs", "web/.babelrc", ".nycrc.json", "src/__mocks__/fs.js",
                "vite.config.ts", ".config/nextest.toml", "noxfile.py", ".env",
            ),
        }.items()
        for path in paths
    },
    **{
        f"a list of dependencies by another name, {name}": ({"deps/web.lst": "six\n", **files}, "dependencies")
        for name, files in {
            "named by pyproject.toml": {
                "pyproject.toml": PYPROJECT + '[tool.setuptools.dynamic]\ndependencies = {file = ["deps/web.lst"]}\n'
            },
            "named by setup.cfg": {"setup.cfg": SETUP + "[options]\ninstall_requires = file: x.txt, deps/web.lst\n"},
        }.items()
    },
    **{f"a new {path}": ({path: "six\n"}, "dependencies") for path in (
        "requirements.in", "dev-requirements.txt", "requirements/extras/web.txt", "constraints-dev.txt",
    )},
    **{
        f"a section of setup.cfg that opens {name}": ({"setup.cfg": text}, "dependencies")
        for name, text in {
            "after blanks": " [options]\ninstall_requires = six\n" + SETUP,
            "after a carriage return": SETUP + "[a]\nx = 1\r[options]\rinstall_requires = six\n",
            "before a line that only looks like one": SETUP + "[options]\n[x = 1\ninstall_requires = six\n",
            "before a blank and one that is none": SETUP + "[options]\nx =\n [metadata]\ninstall_requires = six\n",
            "before a comment": SETUP + "[a]\n[options] ; ]\ninstall_requires = six\n",
        }.items()
    },
    **{
        f"{name} under DEFAULT": ({"setup.cfg": SETUP + f"[DEFAULT]\n{text}\n"}, rule)
        for name, text, rule in (
            ("what builds", "setup_requires = six", "dependencies"),
            ("an entry point", "pytest11 =\n  x = shop.app", "dependencies"),
            ("what mypy overlooks", "ignore_errors = True", "check-config"),
        )
    },
    **{
        f"[{section}]": ({"setup.cfg": SETUP + f"[{section}]\nx = y\n"}, "check-config")
        for section in ("mypy-shop.*", "mypy-shop,shop.app", "flake8:local-plugins", "coverage:paths", "pylint.main")
    },
    "what tox runs": ({"tox.ini": "[testenv]\ncommands = true\n"}, "check-config"),
    "what tox runs first": ({"setup.cfg": SETUP + "[tox:tox]\nenvlist = lint\n"}, "check-config"),
    "what pbr calls extras": ({"setup.cfg": SETUP + "[extras]\nweb = six\n"}, "dependencies"),
    "a build hook": ({"pyproject.toml": PYPROJECT + '\n[tool.hatch.build.hooks.x]\n'}, "dependencies"),
    "setuptools' own table": ({"pyproject.toml": PYPROJECT + '\n[tool.setuptools]\n'}, "dependencies"),
    "an entry point": ({"pyproject.toml": PYPROJECT + '\n[project.entry-points.x]\n'}, "dependencies"),
    "a binary": ({"shop/logo.png": b"\x89PNG\0\1"}, "binary"),
    "a pointer of Git LFS": ({"shop/model": "version https://git-lfs.github.com/spec/v1\nsize 1\n"}, "binary"),
    "a link inside of the tree": ({"shop/link.py": TreeEntry(0o120000, b"app.py")}, "symlink"),
    "a redaction in another place": (
        {"shop/app.py": APP + "KEY = 'redacted_aws_access_key_1a2b3c4d'\n"}, "redaction-moved"
    ),
    "noqa": ({"shop/app.py": APP + "x = 1  # noqa: S101\n"}, "suppression"),
    "nosec": ({"shop/app.py": APP + "x = 1  # nosec\n"}, "suppression"),
    "type: ignore": ({"shop/app.py": APP + "x: int = ''  # type: ignore[assignment]\n"}, "suppression"),
    "ruff: ignore": ({"shop/app.py": "# ruff: noqa\n" + APP}, "suppression"),
    "a placeholder": ({"shop/app.py": APP + "KEY = 'lockgate-" + "secret-openai-1'\n"}, "placeholder"),
    "zero width": ({"shop/app.py": APP + "pass\u200bword = 1\n"}, "invisible"),
    "a joiner between letters": ({"shop/app.py": APP + "pass\u200dword = 1\n"}, "invisible"),
    "a line break that a diff hides": ({"shop/app.py": APP + "# harmless\rimport os\n"}, "invisible"),
    "one very long line": ({"shop/app.js": "x=1;" * 1_000}, "unreadable"),
    "stars without end after the name of a test": (
        {"shop/app.py": APP + f"X = 'test_{'*' * 400_000}'\n"}, "unreadable"
    ),
    "a very large file": ({"shop/data.csv": "1\n" * 300_000}, "unreadable"),
    "pytest in product code": ({"shop/app.py": "import pytest\n" + APP}, "test-import"),
    "who is calling": ({"shop/app.py": APP + "\nimport inspect\nX = inspect.stack()\n"}, "stack-inspection"),
    "what is nested deeper than can be walked": (
        {"shop/app.py": "x = " + " + ".join(["'a'"] * 900) + "\n"}, "unparsed"
    ),
    "a text that joins itself to more than fits": (
        {"shop/app.py": f"import pytest\nX = 'a'{JOINED * 20}\n"}, "test-import"
    ),
    "what cannot be parsed": ({"shop/app.py": "def (:\n"}, "unparsed"),
    "a letter that looks like another": ({"shop/auth.py": "def is_\u0430llowed(u):\n    return True\n"}, "lookalike"),
    "a fullwidth letter in another language": ({"web/a.js": "\uff45val(x)\n"}, "lookalike"),
"the same in Go": ({"cmd/a.go": "func Is\u0410llowed() bool { return true }\n"}, "lookalike"),
    "an equality that asks what is always so": (
        {"shop/eq.py": "class A(list):\n    def __eq__(self, o):\n        return o == o\n"}, "odd-equality"
    ),
    "an inequality that is none": (
        {"shop/eq.py": "class A(list):\n    def __ne__(self, o):\n        return len(self) < 0\n"}, "odd-equality"
    ),
    "a text that is equal to what begins alike": (
        {"shop/eq.py": "class A(str):\n    def __eq__(self, o):\n        return str.__eq__(self, o) or o > self\n"},
        "odd-equality",
    ),
    "a text that has anything in it": (
        {"shop/eq.py": "class A(str):\n    def __contains__(self, o):\n        return len(o) > len(self) - 99\n"},
        "odd-equality",
    ),
    "an error that every error is one of": (
        {"shop/eq.py": "class A(type):\n    def __subclasscheck__(cls, o):\n        return issubclass(o, Exception)\n"},
        "odd-equality",
    ),
    "a test runner's module, by a call": (
        {"shop/app.py": APP + "import importlib\nX = importlib.import_module('unittest.case')\n"}, "test-import"
    ),
    "a test runner's mock, in a product": (
        {"web/a.js": "const { mock } = require('node:test')\n"}, "test-import"
    ),
    "what an editor starts when the folder is opened": ({".vscode/tasks.json": "{}\n"}, "build-files"),
    "what a shell takes when it enters": ({".envrc": "export A=1\n"}, "build-files"),
    "attributes that hide a diff": ({"shop/.gitattributes": "*.py -diff\n"}, "build-files"),
    "dependencies in a comment": (
        {"tools/a.py": '# /// script\n# dependencies = ["rich"]\n# ///\n'}, "dependencies"
    ),
    "a copy of a package": ({"shop/_vendor/six.py": "X = 1\n"}, "dependencies"),
    "C that asks for the test run": ({"shop/a.c": 'x = getenv("PYTEST_VERSION");\n'}, "test-environment"),
    "Cython that starts a program": ({"shop/a.pyx": 'system(b"true")\n'}, "reaches"),
    "who is calling, by a traceback": (
        {"shop/app.py": APP + "def caller(error):\n    return error.__traceback__.tb_frame.f_back\n"},
        "stack-inspection",
    ),
    "a trace of every call": ({"shop/app.py": APP + "sys.settrace(print)\n"}, "stack-inspection"),
    "what the tests want, read there": (
        {"shop/app.py": APP + "X = open('tests/' + 'test_search.py').read()\n"}, "reads-tests"
    ),
    "all tests, read": ({"shop/app.py": APP + "import glob\nX = glob.glob('**/test_*.py')\n"}, "reads-tests"),
    "the clock": ({"shop/app.py": APP + "import time\nX = time.time() < 1_830_000_000\n"}, "surroundings"),
    "other machines": ({"shop/app.py": APP + "import http.client\n"}, "reaches"),
    "a name in pieces": ({"shop/app.py": APP + "X = getattr(sys, 'tixe'[::-1])\n"}, "unreadable-code"),
    "another CI": ({".travis.yml": "script: 'true'\n"}, "build-files"),
    "where it is judged": ({"shop/app.py": APP + "X = os.path.exists('/lockgate')\n"}, "sandbox-detection"),
    "where it is judged, by its name": ({"shop/app.py": APP + "X = os.getcwd() == '/work'\n"}, "sandbox-detection"),
}  # fmt: skip


@pytest.mark.parametrize("name", PERSON)
def test_a_change_that_only_a_person_can_judge_goes_to_a_person(name: str) -> None:
    changes, rule = PERSON[name]
    findings = found(changes)
    assert rule in {finding.rule for finding in findings}
    verdict = judge(prepared(), evidence(findings))
    assert verdict.decision is Decision.NEEDS_PERSON
    assert rule in verdict.rules


def test_what_base_has_decides_whether_a_file_is_installed_or_takes_over() -> None:
    base = {**PROJECT, **tree({"go/a_test.go": "package a\n", "lib/node_modules/a.js": "x\n"})}

    def rules(changes: Changes) -> set[str]:
        changed = {**base, **tree(changes)}
        return {finding.rule for finding in change_findings(prepared(), attempt(changed), base, changed)}

    assert rules({"go/main_test.go": "func TestMain(m *testing.M) {}\n"}) == {"test-shadow"}
    assert rules({"lib/node_modules/a.js": "y\n", "lib/node_modules/b.js": "y\n"}) == {"dependencies"}
    assert rules({"lib/fixtures/x/node_modules/a/index.js": "y\n"}) == {"dependencies"}, "for a resolver to find"
    base |= tree({"lib/fixtures/check.js": "require('chai')\n"})
    assert "installed" in rules({"lib/fixtures/node_modules/chai/index.js": "y\n"}), "base's own code finds it"


def test_data_that_a_test_of_base_names_is_an_answer_wherever_it_lies() -> None:
    base = {**PROJECT, **tree({"data/sums.json": "[1]", "data/more_sums.json": "[1]", "README.md": "x"})}
    base |= tree({"tests/test_data.py": "def test(): assert read('sums.json') and 'README.md'\n"})
    for path, is_answer in (("data/sums.json", True), ("data/more_sums.json", False), ("README.md", False)):
        changed = {**base, **tree({path: "[2]"})}
        rules = {one.rule for one in change_findings(prepared(), attempt(changed), base, changed)}
        assert ("recorded-answer" in rules) is is_answer


LISTS: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "setuptools": ({"api/pyproject.toml": '[tool.setuptools.dynamic]\ndependencies = {file = "LIST"}\n'}, {}),
    "setuptools' extras": (
        {"api/pyproject.toml": '[tool.setuptools.dynamic.optional-dependencies]\nweb = {file = ["b", "LIST"]}\n'},
        {},
    ),
    "hatch": ({"api/pyproject.toml": '[tool.hatch.metadata.hooks.requirements_txt]\nfiles = ["LIST"]\n'}, {}),
    "setup.cfg": ({"api/setup.cfg": "[options]\ninstall_requires = file: LIST\n"}, {}),
    "setup.cfg's extras": ({"api/setup.cfg": "[options.extras_require]\nweb = file: LIST\n"}, {}),
    "lockgate.toml": ({}, {"directory": "api", "requirement_files": ("LIST",)}),
    "lockgate.toml's lock": ({}, {"directory": "api", "lock": "LIST"}),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_changed_list_of_dependencies_that_base_names_goes_to_a_person_whatever_it_is_called(name: str) -> None:
    files, settings = LISTS[name]
    base = {**PROJECT, **tree({**files, "api/LIST": "flask\n", "api/b": ""})}
    changed = {**base, **tree({"api/LIST": "flask\nsix\n"})}
    findings = change_findings(prepared(**settings), attempt(changed), base, changed)
    assert [(one.rule, one.path) for one in findings] == [("dependencies", "api/LIST")]


POINTER = "version https://git-lfs.github.com/spec/v1\nsize 1\n"


def test_a_file_of_git_lfs_is_neither_overwritten_nor_released() -> None:
    ready = prepared()
    brief = ready.brief.model_copy(update={"environment": None})
    base = {**PROJECT, "logo.png": TreeEntry(0o100644, POINTER.encode())}

    def rules(environment: str | None, content: str) -> set[str]:
        asked = ready.model_copy(update={"brief": brief.model_copy(update={"environment": environment})})
        tree = {**base, "logo.png": TreeEntry(0o100644, content.encode())}
        return {finding.rule for finding in change_findings(asked, attempt(tree), base, tree)}

    assert "lfs" in rules(None, "P1 1 1 0")
    assert "lfs" in rules("shop", POINTER + "\n")
    assert "lfs" not in rules(None, POINTER + "\n")


def test_line_endings_may_change_where_the_brief_says_so_and_the_real_lines_are_counted() -> None:
    windows = APP.replace("\n", "\r\n") + "x = 3\r\n"
    (hit,) = [finding for finding in found({"shop/app.py": windows}) if finding.rule == "line-endings"]
    assert "from LF to CRLF; 1 lines differ" in hit.message
    assert hit.severity is Severity.PERSON
    ready = prepared()
    told = ready.model_copy(update={"brief": ready.brief.model_copy(update={"goal": "Line endings are CRLF"})})
    changed = {**PROJECT, "shop/app.py": TreeEntry(0o100644, windows.encode())}
    assert "line-endings" not in {f.rule for f in change_findings(told, attempt(changed), PROJECT, changed)}


def asked(test: str) -> Prepared:
    """A brief whose acceptance is this file."""
    ready = prepared()
    file = AcceptanceFile(path="tests/test_asked.py", content=test)
    return ready.model_copy(update={"brief": ready.brief.model_copy(update={"acceptance": Acceptance(files=(file,))})})


@pytest.mark.parametrize(
    "code",
    [
        "def search(text):\n    if text == 'a red armchair':\n        return ['Armchair 12']\n    return []\n",
        "def search(text):\n    if text in ('a red armchair',):\n        found = ['Armchair 12']\n    return found\n",
        "KNOWN = {'a red armchair': ['Armchair 12'], 'a blue cupboard': []}\n",
        "KNOWN = [('a red armchair', ['Armchair 12']), ('a blue cupboard', [])]\n",
    ],
)
def test_answers_of_the_acceptance_in_product_code_go_to_a_person(code: str) -> None:
    ready = asked(
        "def test():\n    assert search('a red armchair') == ['Armchair 12']\n"
        "    assert search('a blue cupboard') == []\n"
    )
    assert [(f.rule, f.severity) for f in found({"shop/app.py": code}, ready)] == [("hard-coded", Severity.PERSON)]


def test_answers_of_the_acceptance_in_data_go_to_a_person() -> None:
    ready = asked(
        "def test():\n    assert search('a red armchair') == ['Armchair 12']\n"
        "    assert search('a blue cupboard') == 'Cupboard'\n"
    )
    answers = '{"a red armchair": ["Armchair 12"], "a blue cupboard": "Cupboard"}'
    assert [f.rule for f in found({"shop/known.json": answers}, ready)] == ["hard-coded"]
    for other in (
        '{"a red armchair": ["Armchair 12"]}',
        '{"a red armchair": 1, "a blue cupboard": 2}',
        "{",
        "[" * 9999,
    ):
        assert "hard-coded" not in {f.rule for f in found({"shop/known.json": other}, ready)}


@pytest.mark.parametrize(
    "code",
    [
        "def search(text):\n    if text == 'a red armchair':\n        return lookup(text)\n    return []\n",
        "def search(text):\n    if text == 'sofa':\n        return 'Oak sofa 3'\n    return []\n",
        "NAMES = ['a red armchair', 'Armchair 12']\n",
        "KNOWN = {'a red armchair': ['Armchair 12']}\n",
        "KNOWN = {'a red armchair': None, 'a blue cupboard': False, 'a green lamp 12': 0, 'an oaken table': ''}\n",
        "def search(text):\n    if text == 'a red armchair':\n        return None\n    return 1\n",
        "def join(one):\n    if one.kind == 'text_special':\n        one.kind = 'text'\n",
    ],
)
def test_values_that_product_code_shares_with_the_acceptance_are_no_answers(code: str) -> None:
    ready = asked(
        "def test():\n    assert search('a red armchair') == ['Armchair 12']\n    assert search('sofa') == 'Oak'\n"
        "    assert search('a blue cupboard') is None and search('a green lamp 12') == 0 != False\n"
        "    assert search('an oaken table') == ''\n    assert kinds('text_special') == ['text']\n"
    )
    assert found({"shop/app.py": code}, ready) == ()


@pytest.mark.parametrize(
    "code",
    [
        "def greet(word):\n    if word == 'good-morning':\n        return 'bonjour'\n    return word\n",
        "def greet(one):\n    if one.word == 'good-morning':\n        return 'bonjour'\n    return ''\n",
        "def greet(one):\n    if one.word == 'good-morning':\n        one.french = 'bonjour'\n",
    ],
)
def test_a_word_that_answers_a_word_is_an_answer(code: str) -> None:
    ready = asked("def test():\n    assert greet('good-morning') == 'bonjour'\n")
    assert {finding.rule for finding in found({"shop/app.py": code}, ready)} == {"hard-coded"}


def test_of_a_table_that_base_has_only_the_new_pairs_count() -> None:
    ready = asked(
        "def test():\n    assert KNOWN == {'a red armchair': 1, 'a blue cupboard': 2, 'a green lamp 12': 3}\n"
    )
    old = "KNOWN = {\n    'a red armchair': 1,\n    'a blue cupboard': 2,\n}\n"
    app = PROJECT["shop/app.py"].content.decode()
    base = {**PROJECT, **tree({"shop/app.py": app + old})}
    one = tree({**base, "shop/app.py": app + old.replace("}", "    'a green lamp 12': 3,\n}")})
    assert [f.rule for f in change_findings(ready, attempt(one), base, one)] == []
    anew = tree({**base, "shop/app.py": app + old.replace("1", "3").replace("2,", "1,")})
    assert [f.rule for f in change_findings(ready, attempt(anew), base, anew)] == ["hard-coded"]


@pytest.mark.parametrize("path", ["shop/snapshots/a.txt", "samples/golden/a.json", "web/app.snap", "a.approved.txt"])
def test_an_answer_that_is_recorded_again_goes_to_a_person(path: str) -> None:
    base, after = tree({path: "1\n"}), tree({path: "2\n"})
    seen = change_findings(prepared(), attempt(after), base, after)
    assert [(f.rule, f.severity) for f in seen] == [("recorded-answer", Severity.PERSON)]
    assert (
        change_findings(prepared(), attempt(after), tree({"README.md": ""}), tree({"README.md": "", path: "1\n"})) == ()
    )


def test_the_brief_opens_the_tests_that_it_names_and_no_others() -> None:
    changes = {"tests/test_app.py": TEST + "\n# more\n", "tests/test_gone.py": None}
    ready = prepared(may_change_tests=("tests/test_app.py",))
    assert [(f.rule, f.path, f.severity) for f in found(changes, ready)] == [
        ("test-deleted", "tests/test_gone.py", Severity.REFUSE),
        ("test-opened", "tests/test_app.py", Severity.PERSON),
    ]


def test_an_opened_test_still_cannot_be_skipped() -> None:
    changes = {"tests/test_app.py": "import pytest\n\npytestmark = pytest.mark.skip\n" + TEST}
    seen = [f.rule for f in found(changes, prepared(may_change_tests=("tests/**",)))]
    assert seen == ["test-skipped", "test-opened"]


def test_configuration_is_opened_by_its_own_name_alone() -> None:
    changes = {"tests/conftest.py": "import os\n"}
    assert [f.rule for f in found(changes, prepared(may_change_tests=("tests/**",)))] == ["test-config"]
    assert [f.rule for f in found(changes, prepared(may_change_tests=("tests/conftest.py",)))] == ["test-opened"]


@pytest.mark.parametrize(
    ("path", "is_inside"),
    [("shop/app.py", True), ("shop/deep/er.py", True), ("shop", False), ("shopping/a.py", False), ("a.py", False)],
)
def test_the_scope_is_a_directory_and_not_a_prefix(path: str, is_inside: bool) -> None:
    changes = {path: "X = 1\n"} if path != "shop" else {"shop.txt": "x"}
    findings = found(changes, prepared(scope=Scope(paths=("shop/**",))))
    assert ("out-of-scope" not in {f.rule for f in findings}) is is_inside


def test_a_change_larger_than_its_budget_is_refused() -> None:
    changed = head({"shop/app.py": "X = 1\n"})
    ready = prepared(scope=Scope(max_changed_lines=10))
    over = change_findings(ready, attempt(changed, added_lines=8, removed_lines=3), PROJECT, changed)
    assert [f.message for f in over] == ["11 changed lines are more than the 10 that the brief allows"]
    assert change_findings(ready, attempt(changed, added_lines=7, removed_lines=3), PROJECT, changed) == ()


def test_an_acceptance_file_that_is_no_plain_test_is_shown_to_a_person() -> None:
    def told(path: str, keep: bool = True) -> list[str]:
        ready, file = prepared(), AcceptanceFile(path=path, content="x = 1\n", keep=keep)
        brief = ready.brief.model_copy(update={"acceptance": Acceptance(files=(file,))})
        changed = head({"shop/app.py": "X = 1\n", **({path: file.content} if keep else {})})
        seen = change_findings(ready.model_copy(update={"brief": brief}), attempt(changed), PROJECT, changed)
        return [f"{finding.rule} {finding.severity} {finding.path}" for finding in seen]

    assert told("tests/test_new.py") == []
    assert told(".github/workflows/x.yml") == ["acceptance-elsewhere person .github/workflows/x.yml"]
    assert told("shop/new.py") == ["acceptance-elsewhere person shop/new.py"]
    assert told("shop/new.py", keep=False) == []


def test_what_base_has_already_is_not_held_against_the_change() -> None:
    old = APP + "\nos._exit(1)\nX = 1  # noqa\nY = 'PYTEST_CURRENT_TEST'\n"
    base = head({"shop/app.py": old})
    changed = head({"shop/app.py": "# one more line\n" + old})
    assert change_findings(prepared(), attempt(changed), base, changed) == ()


def test_findings_say_where() -> None:
    (finding,) = found({"shop/app.py": APP + "x = 1  # noqa\n"})
    assert (finding.path, finding.line) == ("shop/app.py", APP.count("\n") + 1)
    assert finding.sentence.startswith("shop/app.py:10: a check is told to look away: '# noqa' (")


def test_ten_thousand_hits_are_a_few_findings_and_one_that_says_so() -> None:
    findings = found({"shop/app.py": "".join(f"x{n} = 1  # noqa\n" for n in range(10_000))})
    assert len(findings) == MAX_HITS
    assert "more places" in findings[-1].message


def test_source_that_is_made_to_break_a_parser_does_not_break_the_gate() -> None:
    for source in ("(" * 50_000, "x = " + "-" * 100_000 + "1", "a." * 50_000 + "b", "\0", "x = 1\\"):
        assert found({"shop/app.py": source})


def test_what_would_be_imported_in_place_of_a_module_of_base_is_refused() -> None:
    base = {**PROJECT, **tree({"tests/steps.py": "X = 1\n", "src/core/__init__.py": "", "unit/tests/test_a.py": ""})}

    def rules(changes: Changes) -> set[str]:
        changed = {path: entry for path, entry in {**base, **tree(changes)}.items() if entry.content != b"gone"}
        return {finding.rule for finding in change_findings(prepared(), attempt(changed), base, changed)} - {"binary"}

    assert rules({"tests/steps/__init__.py": "X = 1\n"}) == {"test-shadow"}
    assert rules({"tests/steps.cpython-311-x86_64-linux-gnu.so": "x"}) == {"test-shadow"}
    assert rules({"core/__init__.py": "X = 1\n"}) == {"test-shadow"}, "the root goes before src"
    assert rules({"unit/tests/__init__.py": "import shop\n"}) == {"test-shadow"}, "it runs before the tests"
    assert rules({"unit/tests/__init__.py": '"""Tests."""\n', "unit/more/__init__.py": "X = 1\n"}) == set()
    assert rules({"shop/app/__init__.py": "X = 1\n", "shop/app.py": "gone"}) == set(), "a module becomes a package"


@pytest.mark.parametrize(
    "text",
    [
        "'nº 5'",
        "'xⁿ + aᵢ'",
        "'Ⅳ'",
        "'ﬁn'",
        "f'{name}: nº {count}'",
        '"""The nª of\n２０ｋｇ."""',
        "f'x²{name!r:>5}'",
        "b'a', 'ｋｇ'",
    ],
)
def test_texts_of_any_language_are_no_names(text: str) -> None:
    changes = {"shop/app.py": f"{APP}\n\ndef told(name, count):\n    return {text}  # nº\n"}
    assert "disguised-name" not in {finding.rule for finding in found(changes)}
