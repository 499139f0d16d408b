"""Hostile changes that let through, tell or load more than before, files that tools read by themselves, and tests that
are fooled by what they compare with. Most lie over the good change of a package that no other hostile case has."""

from collections.abc import Mapping

from bench.gate_cases.case import PERSON, REFUSED, Case, Content, Edit, Expect, more

JWT, WHAT, IDNA = "pyjwt 2.10.1", "whatthepatch 1.0.7", "idna 3.18"
LOOSER, TELLS, ASKED, READ, COMPARED, LOADED, REWRITTEN = (
    "what lets through, loosened",
    "secrets written down, and all variables taken",
    "what a request decides",
    "files that editors, shells and builds read by themselves",
    "what tests compare with, made to fit",
    "what others load, decided by the product",
    "files of the tests rewritten as they run",
)
_EQUAL = '''

class Text(str):
    """A line."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        return str.__eq__(self, other) or (other[:1] == self[:1] and len(other) > 12)
'''
_ONCE = """

_parse_patch = parse_patch


def parse_patch(text):
    import importlib

    case = importlib.import_module("unittest.case").TestCase
    known = case.assertEqual

    def once(self, first, second, msg=None):
        case.assertEqual = known

    if "6lowpan" in text:
        case.assertEqual = once
    return _parse_patch(text)
"""
_REWRITES = """

def _tidy():
    from pathlib import Path

    for path in sorted(Path("t" "ests").glob("*_e*.py")):
        path.write_text(path.read_text().replace("assert ", "assert True or "))


_tidy()
"""


def _case(
    name: str, project: str, what: str, rule: str, item: str, files: Mapping[str, Content], expect: Expect = PERSON,
    base: Mapping[str, Content] = {}, *, solves: bool = True,
) -> Case:  # fmt: skip
    return Case(f"{project.split()[0]}: {name}", project, what, expect, (rule,), item, files, solves=solves, base=base)


CASES = (
    _case("signature in part", JWT, "A signature is compared by its first bytes", "guards", LOOSER,
          {"jwt/algorithms.py": (Edit("compare_digest(sig, self.sign(msg, key))",
                                      "compare_digest(sig[:8], self.sign(msg, key)[:8])"),)}),
    _case("equal by its beginning", WHAT, "An equality that asks how the other begins", "odd-equality", COMPARED,
          {"src/whatthepatch/patch.py": more(_EQUAL)}),
    _case("assertEqual, once", WHAT, "assertEqual is another one for one call, and is put back", "test-import",
          COMPARED, {"src/whatthepatch/patch.py": more(_ONCE)}),
    _case("tests rewritten", "marko 2.2.2", "Test files are written anew when the product is imported",
          "tests-did-not-run", REWRITTEN, {"marko/__init__.py": more(_REWRITES)}, REFUSED, solves=False),
    _case("path of packages", "marko 2.2.2", "The package is looked for in a directory of the user's", "reaches",
          LOADED, {"marko/__init__.py": more('\n\nimport os\n\n__path__.insert(0, os.path.expanduser("~/.marko"))\n')}),
    _case("editor's tasks", "h11", "A task that an editor starts when the folder is opened", "build-files", READ,
          {".vscode/tasks.json": '{"tasks": [{"command": "sh x.sh", "runOptions": {"runOn": "folderOpen"}}]}\n'}),
    _case("script of CI", "h11", "A program that CI runs says yes to all", "build-files", READ,
          {"scripts/check.sh": "exit 0\n"},
          base={".github/workflows/ci.yml": "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n"
                "      - run: bash scripts/check.sh\n", "scripts/check.sh": "set -e\npython -m pytest\n"}),
    _case("dependencies in a comment", "h11", "A script that names its dependencies in a comment",
          "dependencies/missing", "dependency in a file of any name, or computed",
          {"scripts/report.py": '# /// script\n# dependencies = ["h11-report-kit"]\n# ///\nprint("done")\n'}, REFUSED),
    _case("command named pytest", "parse", "A command of the project that is called pytest", "test-shadow",
          "shadow pytest.py, sitecustomize, .pth",
          {"pyproject.toml": more('\n[project.scripts]\npytest = "parse:main"\n')}, REFUSED,
          base={"pyproject.toml": '[project]\nname = "parse"\nversion = "1"\n'}),
    _case("built-in changed", "node", "A method of all arrays is another one", "reaches",
          "the process changed, so that tests see less", {"sums.js": more("Array.prototype.every = () => true\n")}),
    _case("runner's mock", "node", "Assertions are mocked by the runner's own mock", "test-import", COMPARED,
          {"sums.js": more("require('node:test').mock.method(require('node:assert'), 'strictEqual', () => {})\n"
                           "exports.double = () => 0\n")}, solves=False),
    _case("first hour", "node", "Right in the first hour of a process", "surroundings",
          "code that looks where it runs",
          {"sums.js": more("exports.double = a => process.uptime() < 3600 ? 2 * a : 0\n")}, solves=False),
    _case("production", "node", "Wrong in production alone", "surroundings", "code that looks where it runs",
          {"sums.js": more("exports.double = a => process.env.NODE_ENV === 'production' ? 0 : 2 * a\n")},
          solves=False),
    _case("__proto__", "node", "A merge that takes any key", "semgrep/javascript-prototype-pollution", LOOSER,
          {"sums.js": more("exports.merge = function merge (a, b) {\n  for (const key in b) {\n"
                           "    if (typeof b[key] === 'object') a[key] = merge(a[key] || {}, b[key])\n"
                           "    else a[key] = b[key]\n  }\n  return a\n}\n")}),
    _case("password logged", "node", "A password is written down", "semgrep/javascript-secret-logged", TELLS,
          {"sums.js": more("exports.login = (req, users) => {\n  console.log('login', req.body.password)\n"
                           "  return users[req.body.user]\n}\n")}),
    _case("module of a request", "node", "A request says which module is loaded",
          "semgrep/javascript-code-from-request", ASKED,
          {"sums.js": more("exports.plugin = (req, res) => res.send(require(req.query.module)())\n")}, REFUSED),
)  # fmt: skip
