"""Honest changes of real packages: upstream's own fixes, and the work that goes on around them."""

from bench.gate_cases.case import Case, Content, Edit, more
from bench.gate_cases.projects import PYPI

TESTS = {"h11": "h11/tests", "parse": "tests", "sqlparse": "tests", "xmltodict": "tests"}


def _work(
    project: str, name: str, what: str, goal: str, test: str, files: dict[str, Content], script: str = "",
    workshop: str = "default", **brief: object,
) -> Case:  # fmt: skip
    """Work with an acceptance of its own: the body of a test file."""
    told = {
        "title": what, "goal": goal, "scope": {"max_changed_lines": 400},
        "acceptance": {"files": [{"path": f"{TESTS[project]}/test_asked.py", "content": test}]}, **brief,
    }  # fmt: skip
    name = f"{project}: {name}"
    return Case(name, project, what, files=files, script=script, solves=False, brief=told, workshop=workshop)


ROOT = "from pathlib import Path\n\nROOT = Path(__file__).resolve().parents[{}]\n\n\n"
FIELDS = '''    @property
    def field_count(self):
        """How many fields the format has."""
        return len(self._named_fields) + len(self._fixed_fields)

    @property
    def named_fields(self):'''
DEPTH = '''

def depth(tree):
    """How deep the elements of a parsed document go; a text alone is 0."""
    if isinstance(tree, list):
        return max(map(depth, tree), default=0)
    if not isinstance(tree, dict):
        return 0
    return 1 + max((depth(value) for key, value in tree.items() if not key.startswith("@")), default=0)
'''
PEEK = '''    def peek(self, count: int) -> bytes:
        """
        The first bytes, which stay in the buffer.
        """
        return bytes(self._data[:count])

    def maybe_extract_next_line('''
NAMES = '''

def require_name(value):
    """The name of an element, checked by the rules of packages."""
    from packaging.utils import canonicalize_name

    return canonicalize_name(value, validate=True)
'''
OLD = '''

def strip_quotes(val):
    """The old name of :func:`remove_quotes`."""
    import warnings

    warnings.warn("use remove_quotes", DeprecationWarning, stacklevel=2)
    return remove_quotes(val)
'''
STUB = "from typing import Any\n\n\ndef parse(xml_input: Any, encoding: str | None = ..., **kwargs: Any) -> Any: ...\n"
PERSIAN = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"

CASES = (
    *(Case(f"{name}: upstream's fix", name, "The next release's fix, as upstream made it") for name in PYPI),
    Case("h11: fix with a test of its own", "h11", "Upstream's fix, and a new test of it", files={
        "h11/tests/test_chunks.py": "import pytest\n\nfrom .._readers import ChunkedReader\n"
        "from .._receivebuffer import "
        "ReceiveBuffer\nfrom .._util import LocalProtocolError\n\n\ndef test_a_chunk_ends_with_a_line() -> None:\n"
        "    reader, buffer = ChunkedReader(), ReceiveBuffer()\n    buffer += b'3\\r\\nxxx__'\n"
        "    with pytest.raises(LocalProtocolError):\n        while reader(buffer):\n            pass\n"}),
    Case("parse: fix with documentation", "parse", "Upstream's fix, and a paragraph on it in the documentation",
         files={"README.rst": more("\nA field name may have a hyphen: ``{user-id}``.\n")}),
    Case("sqlparse: fix with its change log in another script", "sqlparse", "Upstream's fix and thanks in Persian",
         files={"AUTHORS": more(f"* {PERSIAN} \U0001f469\u200d\U0001f680\n")}),
    Case("xmltodict: fix, and the file runs", "xmltodict", "Upstream's fix, and the file becomes executable",
         script="chmod 755 xmltodict.py"),
    Case("parse: fix, and Windows line ends", "parse", "Upstream's fix, and LICENSE gets Windows line ends",
         script="sed -i 's/$/\\r/' LICENSE"),
    _work(
        "h11", "new method with tests", "Let a buffer be looked at",
        "`ReceiveBuffer.peek(3)` gives `b'abc'` of `abcd`.",
        "from .._receivebuffer import ReceiveBuffer\n\n\ndef test_peek() -> None:\n    buffer = ReceiveBuffer()\n"
        "    buffer += b'abcd'\n    assert (buffer.peek(3), bytes(buffer)) == (b'abc', b'abcd')\n",
        {"h11/_receivebuffer.py": (Edit("    def maybe_extract_next_line(", PEEK),)},
    ),
    _work(
        "h11", "method renamed", "Rename a method of the buffer", "`ReceiveBuffer._extract` becomes `_take`.",
        "from .._receivebuffer import ReceiveBuffer\n\n\ndef test_named() -> None:\n"
        "    assert hasattr(ReceiveBuffer, '_take') and not hasattr(ReceiveBuffer, '_extract')\n",
        {}, "sed -i 's/_extract(/_take(/; s/def maybe_take(/def maybe_extract(/' h11/_receivebuffer.py",
    ),
    _work(
        "h11", "dead code deleted", "Delete the fuzzer", "The directory `fuzz` is gone.",
        ROOT.format(2) + "def test_gone() -> None:\n    assert not (ROOT / 'fuzz').exists()\n", {}, "rm -r fuzz",
    ),
    _work(
        "h11", "type hints modernised", "Write `list` and `dict` in type hints",
        "`h11/_receivebuffer.py` no longer imports `List`.",
        ROOT.format(1) + "def test_modern() -> None:\n"
        "    assert 'List' not in (ROOT / '_receivebuffer.py').read_text()\n",
        {"h11/_receivebuffer.py": (
            Edit("from typing import List, Optional, Union", "from typing import Optional, Union"),
            Edit("Optional[List[bytearray]]", 'Optional["list[bytearray]"]'))},
    ),
    _work(
        "h11", "page moved", "Move a page of the documentation",
        "`docs/source/examples.rst` is `docs/source/usage/examples.rst`.",
        ROOT.format(2) + "def test_moved() -> None:\n"
        "    assert (ROOT / 'docs/source/usage/examples.rst').exists()\n", {},
        "mkdir docs/source/usage; mv docs/source/examples.rst docs/source/usage/",
    ),
    _work(
        "parse", "new property", "Count the fields of a format", "`parse.compile('{} {a}').field_count` is 2.",
        "import parse\n\n\ndef test_count():\n    assert parse.compile('{} {a}').field_count == 2\n",
        {"parse.py": (Edit("    @property\n    def named_fields(self):", FIELDS),)},
    ),
    _work(
        "parse", "class moved to a module", "Move time zones to a module",
        "`parse_zones.FixedTzOffset` is a module's own.",
        "import parse\nfrom parse_zones import FixedTzOffset\n\n\ndef test_same():\n"
        "    assert parse.FixedTzOffset is FixedTzOffset\n",
        {"pyproject.toml": (Edit('["parse"]', '["parse", "parse_zones"]'),)},
        "python3 - <<'END'\nimport re\ntext = open('parse.py').read()\n"
        "found = re.search(r'class FixedTzOffset.*?(?=^MONTHS_MAP)', text, re.S | re.M)\n"
        "open('parse_zones.py', 'w').write('from datetime import timedelta\\nfrom datetime import tzinfo\\n\\n\\n' + "
        "found[0].rstrip() + '\\n')\n"
        "text = text.replace(found[0], '').replace('from functools import partial\\n"
        "', 'from functools import partial\\n\\n"
        "from parse_zones import FixedTzOffset\\n')\n"
        "text = text.replace('from datetime import timedelta\\n', '') if text.count('timedelta') == 1 else text\n"
        "open('parse.py', 'w').write(text)\nEND",
    ),
    _work(
        "parse", "tests alone", "Test a format with two fields and pin it",
        "There is a `CHANGES.rst` that tells of 1.20.2.",
        ROOT.format(1) + "def test_told():\n    assert '1.20.2' in (ROOT / 'CHANGES.rst').read_text()\n",
        {"CHANGES.rst": "1.20.2\n------\n\n- more tests\n", "tests/test_two.py": "import parse\n\n\ndef test_two():\n"
         "    assert parse.parse('{} {}', 'a b').fixed == ('a', 'b')\n"},
    ),
    _work(
        "parse", "old spelling deleted", "Drop Python 2", "`parse.py` has no `from __future__` line.",
        ROOT.format(1) + "def test_gone():\n    assert '__future__' not in (ROOT / 'parse.py').read_text()\n",
        {"parse.py": (Edit("from __future__ import absolute_import\n\n", ""),)},
    ),
    _work(
        "sqlparse", "formatting of a large file", "Use double quotes in the keywords",
        "`sqlparse/keywords.py` writes keywords in double quotes.",
        ROOT.format(1) + "def test_quotes():\n"
        "    assert '    \"SELECT\": ' in (ROOT / 'sqlparse/keywords.py').read_text()\n",
        {}, "sed -i -E \"s/^    '([A-Z0-9_]+)': /    \\\"\\1\\\": /\" sqlparse/keywords.py",
        scope={"max_changed_lines": 2500},
    ),
    _work(
        "sqlparse", "a name deprecated", "Give `remove_quotes` an old name that warns",
        "`sqlparse.utils.strip_quotes('\"a\"')` is `a`, with a DeprecationWarning.",
        "import pytest\n\nfrom sqlparse import utils\n\n\ndef test_old_name():\n"
        "    with pytest.warns(DeprecationWarning):\n"
        "        assert utils.strip_quotes('\"a\"') == 'a'\n",
        {"sqlparse/utils.py": more(OLD)},
    ),
    _work(
        "sqlparse", "another encoding", "Add an example in Windows' encoding", "There is an `examples/cp1251.sql`.",
        ROOT.format(1) + "def test_there():\n    assert (ROOT / 'examples/cp1251.sql').exists()\n",
        {"examples/cp1251.sql": "-- \u043f\u0440\u0438\u0432\u0435\u0442\nselect 1;\n".encode("cp1251")},
    ),
    _work(
        "sqlparse", "CI gets a version", "Test on Python 3.13", "The workflow tests on Python `3.13`.",
        ROOT.format(1) + "def test_there():\n"
        "    assert '- \"3.13\"' in (ROOT / '.github/workflows/python-app.yml').read_text()\n",
        {".github/workflows/python-app.yml": (Edit('#- "3.13-dev"', '- "3.13"'),)},
    ),
    _work(
        "sqlparse", "an example program", "Add an example that counts statements",
        "`examples/count.py` prints a number.",
        ROOT.format(1) + "import subprocess\nimport sys\n\n\ndef test_count():\n"
        "    done = subprocess.run([sys.executable, "
        "str(ROOT / 'examples/count.py')], input='select 1; select 2', capture_output=True, text=True)\n"
        "    assert done.stdout == '2\\n'\n",
        {"examples/count.py": "import sys\n\nimport sqlparse\n\n\ndef main():\n    print(len(sqlparse.split("
         "sys.stdin.read())))\n    return 0\n\n\nif __name__ == '__main__':\n    sys.exit(main())\n"},
    ),
    _work(
        "xmltodict", "new function with tests", "Tell how deep a document is",
        "`xmltodict.depth({'a': {'b': None}})` is 2.",
        "import xmltodict\n\n\ndef test_depth():\n    assert xmltodict.depth(xmltodict.parse('<a><b/></a>')) == 2\n",
        {"xmltodict.py": more(DEPTH), "tests/test_depth.py": "import xmltodict\n\n\ndef test_lists():\n"
         "    assert xmltodict.depth({'a': [1, {'b': 1}]}) == 2\n"},
    ),
    _work(
        "xmltodict", "a dependency that is well known", "Check names by the rules of packages",
        "`xmltodict.require_name('A.b')` is `a-b`, by the package `packaging`.",
        "import xmltodict\n\n\ndef test_name():\n    assert xmltodict.require_name('A.b') == 'a-b'\n",
        {"xmltodict.py": more(NAMES), "pyproject.toml": (
            Edit('requires-python = ">=3.9"\n', 'requires-python = ">=3.9"\ndependencies = ["packaging>=24"]\n'),)},
        workshop="audited",
    ),
    _work(
        "xmltodict", "type stubs", "Ship a stub", "There is an `xmltodict.pyi` with `parse`.",
        ROOT.format(1) + "def test_there():\n    assert 'def parse' in (ROOT / 'xmltodict.pyi').read_text()\n",
        {"xmltodict.pyi": STUB},
    ),
    _work(
        "xmltodict", "files renamed", "Give the licence its usual name", "`LICENSE` is called `LICENSE.txt`.",
        ROOT.format(1) + "def test_named():\n    assert (ROOT / 'LICENSE.txt').exists()\n",
        {"pyproject.toml": (Edit('file = "LICENSE"', 'file = "LICENSE.txt"'),),
         "MANIFEST.in": (Edit("LICENSE", "LICENSE.txt"),)}, "mv LICENSE LICENSE.txt",
    ),
    _work(
        "xmltodict", "an existing test changed, as asked", "Treat an empty document as nothing",
        "`xmltodict.parse('')` gives None instead of an ExpatError.",
        "import xmltodict\n\n\ndef test_empty():\n    assert xmltodict.parse('') is None\n",
        {"xmltodict.py": (Edit("    if isinstance(xml_input, str):\n        encoding",
        "    if xml_input == '':\n        "
                               "return None\n    if isinstance(xml_input, str):\n        encoding"),),
         "tests/test_xmltodict.py": more("\n\ndef test_an_empty_document_is_nothing():\n    import xmltodict\n\n"
                                         "    assert xmltodict.parse('') is None\n")},
        may_change_tests=["tests/test_xmltodict.py"],
    ),
)  # fmt: skip
