"""How Python projects are detected, and what their files ask for: as data, with nothing run."""

from typing import Any

import pytest

from domain.detect import detect
from domain.detect.asked import AskedRequirements, asked, uv_words
from domain.detect.metadata import read
from domain.detect.pip_files import Local
from domain.detect.reading import View
from domain.errors import InputError
from domain.project import ProjectSettings
from tests.unit.policy_cases import tree

HASH = "sha256:" + "a" * 64
TEST = {"tests/test_a.py": ""}
BUILD = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
SHOP = '[project]\nname = "shop"\nversion = "1"\n'

FOUND: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "tests at the root": ({"test_a.py": ""}, {}),
    "a requirements file": ({"requirements.txt": "flask"}, {"lock": "requirements.txt"}),
    "a folder of requirements": (
        {f"requirements/{name}": "" for name in ("base.txt", "dev.txt", "tests.txt", "tests.in")},
        {"lock": "requirements/base.txt", "requirement_files": ("requirements/tests.txt",)},
    ),
    "requirements for development where none is for tests": (
        {"requirements-dev.txt": "", "requirements-docs.txt": ""}, {"requirement_files": ("requirements-dev.txt",)}
    ),
    "uv's lock, and its dev group": (
        {"uv.lock": "", "requirements.txt": "",
         "pyproject.toml": SHOP + '[dependency-groups]\ndev = ["pytest"]\ndocs = []'},
        {"lock": "uv.lock", "groups": ("dev",)},
    ),
    "poetry's lock": ({"poetry.lock": "", "pyproject.toml": SHOP}, {"lock": "poetry.lock"}),
    "an extra for tests": (
        {"pyproject.toml": SHOP + '[project.optional-dependencies]\ntest = ["x"]\ndocs = ["y"]'}, {"extras": ("test",)}
    ),
    "a package": ({"pyproject.toml": SHOP + BUILD}, {"install": True}),
    "uv's virtual project": ({"pyproject.toml": SHOP + BUILD + "[tool.uv]\npackage = false"}, {}),
    "the oldest Python": ({"pyproject.toml": SHOP + 'requires-python = ">= 3.10, <4"'}, {"python": ">=3.10,<4"}),
    "the pinned Python": (
        {".python-version": "3.12.4\n", "pyproject.toml": SHOP + 'requires-python = ">=3.10"'}, {"python": "3.12"}
    ),
    "setup.cfg": (
        {"setup.cfg": "[metadata]\nname = shop\n[options]\npython_requires = >=3.9\n"
         "[options.extras_require]\ntests = x\n"},
        {"install": True, "extras": ("tests",), "python": ">=3.9"},
    ),
    "setup.py, read and not run": (
        {"setup.py": "1/0\nfrom setuptools import setup\nneeds = ['x']\n"
         "setup(name='shop', extras_require={'test': needs + ['y']}, python_requires='>=3.8')"},
        {"install": True, "extras": ("test",), "python": ">=3.8"},
    ),
    "tox": (
        {"tox.ini": "[testenv]\nextras = tests\ndeps =\n  -r needs.txt\n  py39: old\n  mock>=1  # why\n"
         "setenv = MODE=test\ncommands = pytest --cov=shop -n auto -m 'not slow' {posargs:tests}",
         "needs.txt": "", "pyproject.toml": SHOP + BUILD + "[project.optional-dependencies]\ntests = []"},
        {"install": True, "extras": ("tests",), "requirement_files": ("needs.txt",),
         "requirements": ("old ; python_version == '3.9'", "mock>=1"),
         "test": "python -m pytest -m 'not slow' tests", "environment": {"MODE": "test"}},
    ),
    "nox, read and not run": (
        {"noxfile.py": "import nox\n@nox.session\ndef docs(session): session.install('sphinx')\n@nox.session\n"
         "def tests(session):\n  session.install('-e', '.[test]', '-r', 'needs.txt', 'mock')\n"
         "  session.run('pytest', 'tests', *session.posargs)", "needs.txt": "",
         "pyproject.toml": SHOP + BUILD + "[project.optional-dependencies]\ntest = []"},
        {"install": True, "extras": ("test",), "requirement_files": ("needs.txt",), "requirements": ("mock",),
         "test": "python -m pytest tests"},
    ),
    "tox that runs what it has installed": (
        {"tox.ini": "[testenv]\ncommands = pytest --doctest-modules {env_site_packages_dir}/shop {tox_root}/tests",
         "src/shop/__init__.py": "", **TEST},
        {"test": "python -m pytest --doctest-modules src/shop tests"},
    ),
    "tox that runs a package of tests, and one file by pytest": (
        {"pyproject.toml": '[tool.tox.env_run_base]\ncommands = [["python", "-m", "shop.tests.all_tests"], ["pytest", '
         '"tests/test_a.py"]]', **TEST},
        {},
    ),
    "tox that runs unittest": (
        {"tox.ini": "[testenv]\ncommands = {envpython} -m unittest discover -v -s tests {posargs}"},
        {"test": "python -m unittest discover -s tests"},
    ),
    "tox in TOML that runs unittest, with what may be passed on": (
        {"tox.toml": 'env_run_base.commands = [["python", "-m", "unittest", {replace = "posargs", extend = true}]]'},
        {"test": "python -m unittest"},
    ),
    "tox in TOML that runs pytest, with what is passed on by default": (
        {"tox.toml": 'env_run_base.commands = [["pytest", "-q", {replace = "posargs", default = ["tests/test_a.py"]}]]',
         **TEST, "tests/test_b.py": ""},
        {"test": "python -m pytest tests/test_a.py"},
    ),
    "tox that runs a script of the project's own, in a directory": (
        {"tox.ini": "[testenv]\nchangedir = tests\ndeps = -rtests/needs.txt\n"
         "commands =\n  {envpython} runtests.py {posargs}",
         "tests/runtests.py": "", "tests/needs.txt": ""},
        {"test": "cd tests && python runtests.py", "requirement_files": ("tests/needs.txt",)},
    ),
    "tox that runs a script by its own name, with what the first environment needs": (
        {"tox.ini": "[tox]\nenvlist =\n  py{310,311}-dj{42,52}-{sqlite,postgres}\n[testenv]\n"
         "commands = ./runtests.py --noinput {posargs}\ndeps =\n  dj42: django~=4.2.0\n  dj52: django~=5.2.0\n"
         "  postgres: psycopg>=3.1\n", "runtests.py": ""},
        {"test": "python runtests.py --noinput", "requirements": ("django~=4.2.0",)},
    ),
    **{
        f"tox that runs a script in {place}": (
            {"tox.ini": f"[testenv]\nchangedir = {place}\ncommands = python {script}\n", "tests/runtests.py": ""},
            {"test": test},
        )
        for place, script, test in (
            ("{toxinidir}/tests", "runtests.py", "cd tests && python runtests.py"),
            ("{tox_root}/tests/", "runtests.py", "cd tests && python runtests.py"),
            ("{toxinidir}", "tests/runtests.py", "python tests/runtests.py"),
        )
    },
    "tox that runs a package of tests": (
        {"tox.ini": "[testenv]\ncommands =\n  python -bb -m shop.test {posargs:}\n  full: python -O -m shop.test\n",
         "shop/test/__main__.py": ""},
        {"test": "python -bb -m shop.test"},
    ),
    "tox that gives many options, which are read in one way alone": (
        {"tox.ini": "[testenv]\ncommands = python" + " -W -W" * 40 + " !"}, {},
    ),
    "a project of Django": (
        {"manage.py": "import django", "requirements.txt": "django"},
        {"test": "python manage.py test", "lock": "requirements.txt"},
    ),
    "a project of Django with pytest": (
        {"manage.py": "import django", "requirements.txt": "django", "requirements-dev.txt": "pytest-django"},
        {"lock": "requirements.txt", "requirement_files": ("requirements-dev.txt",)},
    ),
    "the first environment of tox's list that runs tests, with what its factors bring": (
        {"tox.ini": "[tox]\nenvlist = lint, py3{10-12}-{crypto,plain}  # all\n[testenv]\ndeps =\n  lint: ruff\n"
         "  crypto,other: c\n  plain: p\n  !plain: n\n  pypy3: q\n  py3{9-10}-crypto: o>1\n  {py311}: -r n.txt\n"
         "extras = crypto: crypto\ncommands =\n  lint: ruff check\n  crypto: {env:RUN:pytest} --cov src src/a.py .",
         "n.txt": "", "src/a.py": "", "pyproject.toml": SHOP + "[project.optional-dependencies]\ncrypto = ['pytest']"},
        {"extras": ("crypto",), "requirement_files": ("n.txt",), "test": "python -m pytest src/a.py .",
         "requirements": ("c", "n", "o>1 ; python_version == '3.9' or python_version == '3.10'")},
    ),
    "a tool that names all but pytest: the group for tests too": (
        {"tox.ini": "[testenv]\ndeps = coverage\ncommands = coverage run -m pytest",
         "pyproject.toml": SHOP + "[dependency-groups]\ntest = ['pytest', 'mock']"},
        {"requirements": ("coverage",), "groups": ("test",)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FOUND)
def test_a_python_project_is_detected_by_its_files(name: str) -> None:
    files, wanted = FOUND[name]
    detected = detect(tree({**TEST, **files}))
    assert detected.settings.model_dump(exclude_defaults=True) == wanted
    assert all(found.path in {**TEST, **files} for found in detected.found), detected.found
    own = not detected.settings.test.startswith(("python -m pytest", "python -m unittest"))
    assert [one.what for one in detected.missing] == (["tests one by one"] if own else [])


def test_tests_of_any_name_are_tests_where_a_tool_says_what_runs_them() -> None:
    script = "test = 'python -m unittest discover -s shop -p \"*tests.py\"'\n"
    hatch = f'[tool.hatch.envs.test]\nfeatures = ["x"]\n[tool.hatch.envs.test.scripts]\n{script}'
    files = {"shop/tests/build_tests.py": "", "pyproject.toml": SHOP + BUILD}
    assert not detect(tree(files)).kind
    detected = detect(tree({**files, "pyproject.toml": SHOP + BUILD + hatch}))
    assert detected.settings.test == "python -m unittest discover -s shop -p '*tests.py'"
    assert not detect(tree({"pyproject.toml": SHOP + BUILD + hatch})).kind, "an archive without its tests"


def test_a_project_in_a_directory_is_detected_there_with_the_lock_of_its_workspace() -> None:
    files = {"uv.lock": "", "services/api/tests/test_a.py": "", "services/api/pyproject.toml": SHOP + BUILD}
    settings = detect(tree(files), "services/api").settings
    assert (settings.directory, settings.lock, settings.install) == ("services/api", "../../uv.lock", True)
    assert asked(tree(files), settings).uv_lock == "uv.lock"
    assert uv_words(settings) == ["--directory", "services/api"]


def test_where_nothing_tells_how_it_is_tested_it_is_said_how_to_name_it() -> None:
    (missing,) = detect(tree({"latest.py": ""})).missing
    assert "test = " in missing.how


POETRY = f"""
[[package]]
name = "flask"
version = "3.0"
optional = false
groups = ["main"]
files = [{{file = "f.whl", hash = "{HASH}"}}]
[[package]]
name = "win"
version = "1"
optional = false
groups = ["main"]
markers = "sys_platform == 'win32'"
files = []
[[package]]
name = "pytest"
version = "9"
optional = false
groups = ["dev"]
files = []
[[package]]
name = "sphinx"
version = "8"
optional = false
groups = ["docs"]
files = []
[[package]]
name = "redis"
version = "5"
optional = true
groups = ["main"]
markers = 'extra == "cache"'
files = []
[extras]
cache = ["redis"]
"""
POETRY_PROJECT = '[tool.poetry]\nname = "shop"\n[tool.poetry.group.dev.dependencies]\npytest = "^9"\n' \
    '[tool.poetry.group.docs]\noptional = true\n[tool.poetry.group.docs.dependencies]\nsphinx = "*"\n'  # fmt: skip
OLD_POETRY = """
[[package]]
name = "flask"
version = "3.0"
category = "main"
optional = false
[[package]]
name = "pytest"
version = "9"
category = "dev"
optional = false
[metadata.files]
flask = [{file = "f.whl", hash = "HASH"}]
pytest = []
""".replace("HASH", HASH)
PDM = f"""
[[package]]
name = "flask"
version = "3.0"
groups = ["default"]
files = [{{file = "f.whl", hash = "{HASH}"}}]
[[package]]
name = "pytest"
version = "9"
groups = ["test"]
marker = "python_version >= '3.9'"
[[package]]
name = "sphinx"
version = "8"
groups = ["docs"]
"""
PYLOCK = f"""
lock-version = "1.0"
created-by = "a tool"
default-groups = ["dev"]
[[packages]]
name = "flask"
version = "3.0"
wheels = [{{url = "https://x/f.whl", hashes = {{sha256 = "{"a" * 64}"}}}}]
[[packages]]
name = "pytest"
version = "9"
marker = "'dev' in dependency_groups"
[[packages]]
name = "sphinx"
version = "8"
marker = "'docs' in extras"
[[packages]]
name = "shop"
directory = {{path = "."}}
"""
PIPFILE = f'{{"default": {{"flask": {{"version": "==3.0", "hashes": ["{HASH}"]}}}}, ' \
    '"develop": {"pytest": {"version": "==9", "markers": "python_version >= \'3.9\'"}, ' \
    '"shop": {"path": "."}}}'  # fmt: skip
GROUPS = """
[dependency-groups]
test = ["pytest", {include-group = "types"}]
types = ["mypy"]
[project.optional-dependencies]
http = ["httpx ; python_version >= '3.9'"]
test = ["shop[http]", "shop[more] ; sys_platform == 'linux'", "hypothesis"]
more = ["attrs"]
"""
ASKED: dict[str, tuple[dict[str, str], dict[str, Any], AskedRequirements]] = {
    "poetry": (
        {"poetry.lock": POETRY, "pyproject.toml": POETRY_PROJECT}, {"lock": "poetry.lock"},
        AskedRequirements((f"flask==3.0 --hash={HASH}", "win==1 ; sys_platform == 'win32'", "pytest==9"),
                          is_whole=True),
    ),
    "poetry with a group and an extra": (
        {"poetry.lock": POETRY, "pyproject.toml": POETRY_PROJECT},
        {"lock": "poetry.lock", "groups": ("docs",), "extras": ("cache",)},
        AskedRequirements((f"flask==3.0 --hash={HASH}", "win==1 ; sys_platform == 'win32'", "pytest==9", "sphinx==8",
                           "redis==5"), is_whole=True),
    ),
    "an old poetry": (
        {"poetry.lock": OLD_POETRY, "pyproject.toml": '[tool.poetry]\nname = "shop"'}, {"lock": "poetry.lock"},
        AskedRequirements((f"flask==3.0 --hash={HASH}",), is_whole=True),
    ),
    "pdm": (
        {"pdm.lock": PDM, "pyproject.toml": SHOP}, {"lock": "pdm.lock", "groups": ("test",)},
        AskedRequirements((f"flask==3.0 --hash={HASH}", "pytest==9 ; python_version >= '3.9'"), is_whole=True),
    ),
    "pylock": (
        {"pylock.toml": PYLOCK}, {"lock": "pylock.toml"},
        AskedRequirements((f"flask==3.0 --hash={HASH}", "pytest==9"), is_whole=True),
    ),
    "Pipfile": (
        {"Pipfile.lock": PIPFILE}, {"lock": "Pipfile.lock"},
        AskedRequirements(("pytest==9 ; python_version >= '3.9'", f"flask==3.0 --hash={HASH}"), is_whole=True),
    ),
    "requirements that include others": (
        {"requirements/dev.txt": "-r base.txt\n-c ../limits.txt\n--no-binary :all:\n-e .\n./lib[x]\nb>=1 # why\n",
         "requirements/base.txt": "a==1", "limits.txt": "b<2", "setup.py": "", "lib/setup.py": ""},
        {"requirement_files": ("requirements/dev.txt",)},
        AskedRequirements(("a==1", "b>=1"), ("b<2",), (Local("."), Local("lib", ("x",)))),
    ),
    "extras that name the project, and groups that include others": (
        {"pyproject.toml": SHOP + GROUPS}, {"extras": ("test",), "groups": ("test",)},
        AskedRequirements(("httpx ; python_version >= '3.9'", 'attrs ; sys_platform == "linux"', "hypothesis", "pytest",
                           "mypy")),
    ),
    "groups of poetry without a lock": (
        {"pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.9"\na = "~1.2"\n'
         'b = {version = "^0.3.1", extras = ["x"]}\n'
         '[tool.poetry.group.test.dependencies]\nc = "1.*"\nd = "*"\n'},
        {"groups": ("test",)},
        AskedRequirements(("a>=1.2,<1.3", "b[x]>=0.3.1,<0.4", "c==1.*", "d")),
    ),
    "the project itself": ({"pyproject.toml": SHOP + BUILD}, {"install": True}, AskedRequirements(local=(Local("."),))),
}  # fmt: skip


@pytest.mark.parametrize("name", ASKED)
def test_what_is_installed_is_what_the_files_say(name: str) -> None:
    files, settings, wanted = ASKED[name]
    assert asked(tree(files), ProjectSettings(**settings)) == wanted


REFUSED: dict[str, tuple[dict[str, str], dict[str, Any], str]] = {
    "links of its own": ({"r.txt": "--find-links https://x"}, {"lock": "r.txt"}, "r.txt has --find-links"),
    "an unknown option": ({"r.txt": "--frobnicate"}, {"lock": "r.txt"}, "'--frobnicate' is not known here"),
    "a file that is not there": ({"r.txt": "-r gone.txt"}, {"lock": "r.txt"}, "r.txt names gone.txt, which is not in"),
    "an address that is included": ({"r.txt": "-r https://x/r.txt"}, {"lock": "r.txt"}, "an address"),
    "a project that is not there": ({"r.txt": "-e ./gone"}, {"lock": "r.txt"}, "names no project of the repository"),
    "half of the hashes": ({"r.txt": f"a==1 --hash={HASH}\nb==1"}, {"lock": "r.txt"}, "'b==1' has no --hash"),
    "an unknown group": (
        {"pyproject.toml": SHOP},
        {"groups": ("test",)},
        "no dependency group 'test' in pyproject.toml",
    ),
    "a group that includes itself": (
        {"pyproject.toml": '[dependency-groups]\na = [{include-group = "a"}]'},
        {"groups": ("a",)},
        "includes itself",
    ),
    "an unknown extra": ({"pyproject.toml": SHOP}, {"extras": ("x",)}, "no extra 'x' in pyproject.toml"),
    "an empty lock": ({"poetry.lock": ""}, {"lock": "poetry.lock"}, "poetry.lock is empty"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_the_file(name: str) -> None:
    files, settings, told = REFUSED[name]
    with pytest.raises(InputError, match=told):
        asked(tree(files), ProjectSettings(**settings))


@pytest.mark.parametrize("directory", ["/etc", "../other", "a/../../b"])
def test_a_directory_outside_of_the_repository_is_refused(directory: str) -> None:
    with pytest.raises(ValueError, match="must be a directory of the repository"):
        ProjectSettings(directory=directory)


HERE, THERE = "https://packages.example.org/simple", "https://pypi.org/simple"
INDEXES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "requirements": (
        {"r.txt": f"-i https://ci:pw@packages.example.org/simple\n--extra-index-url={THERE}\nx"}, {"lock": "r.txt"}
    ),
    "uv": ({"pyproject.toml": SHOP + f'[[tool.uv.index]]\nname = "a"\nurl = "{HERE}"\n'}, {}),
    "uv, for a package that names it": (
        {"pyproject.toml": SHOP + f'[[tool.uv.index]]\nname = "a"\nurl = "{HERE}"\nexplicit = true\n'
         '[tool.uv.sources]\nx = { index = "a" }'}, {}
    ),
    "uv's older way": ({"pyproject.toml": SHOP + f'[tool.uv]\nextra-index-url = ["{HERE}"]'}, {}),
    "uv's lock": (
        {"uv.lock": f'[[package]]\nname = "x"\nsource = {{ registry = "{HERE}" }}\n'
         f'[[package]]\nname = "y"\nsource = {{ registry = "{THERE}" }}'}, {"lock": "uv.lock"}
    ),
    "poetry": (
        {"pyproject.toml": '[tool.poetry]\nname = "shop"\n[[tool.poetry.source]]\nname = "a"\n'
         f'url = "{HERE}"\npriority = "supplemental"'}, {}
    ),
    "poetry's lock": (
        {"poetry.lock": '[[package]]\nname = "x"\nversion = "1"\n[package.source]\ntype = "legacy"\n'
         f'url = "{HERE}"'}, {"lock": "poetry.lock"}
    ),
    "pdm": ({"pyproject.toml": SHOP + f'[[tool.pdm.source]]\nname = "a"\nurl = "{HERE}"'}, {}),
    "Pipenv": (
        {"Pipfile.lock": f'{{"_meta": {{"sources": [{{"url": "{HERE}"}}]}}}}'}, {"lock": "Pipfile.lock"}
    ),
    "pip": ({"pip.conf": f"[global]\nextra-index-url =\n  {THERE}\n  {HERE}", "r.txt": "x"}, {"lock": "r.txt"}),
}  # fmt: skip


@pytest.mark.parametrize("name", INDEXES)
def test_an_index_that_a_project_names_is_known_without_its_login(name: str) -> None:
    files, settings = INDEXES[name]
    (index,) = asked(tree(files), ProjectSettings(**settings)).indexes
    assert (index.url, index.path in files) == (HERE, True)


def test_an_index_that_only_publishing_uses_is_not_one_that_packages_come_from() -> None:
    files = {"pyproject.toml": SHOP + f'[[tool.uv.index]]\nname = "a"\nurl = "{HERE}"\nexplicit = true\n'}
    assert not asked(tree(files), ProjectSettings()).indexes


DYNAMIC = '[project]\nname = "shop"\ndynamic = ["dependencies", "optional-dependencies"]\n'
ELSEWHERE: dict[str, tuple[dict[str, str], list[str], dict[str, list[str]], bool]] = {
    "files that setuptools reads": (
        {"pyproject.toml": DYNAMIC + '[tool.setuptools.dynamic]\ndependencies = {file = ["a.lst", "b.lst"]}\n'
         'optional-dependencies.web = {file = "w.lst"}\n',
         "a.lst": "# why\nsix>=1 \\\n  ,<2  # so\n", "b.lst": "x ; python_version > '3'\n", "w.lst": "flask\n"},
        ["six>=1    ,<2", "x ; python_version > '3'"], {"web": ["flask"]}, False,
    ),
    "a file that is not there": (
        {"pyproject.toml": DYNAMIC + '[tool.setuptools.dynamic]\ndependencies = {file = "a.lst"}\n'}, [], {}, True
    ),
    "a file that hatch reads": (
        {"pyproject.toml": '[project]\nname = "shop"\ndynamic = ["dependencies"]\n'
         '[tool.hatch.metadata.hooks.requirements_txt]\nfilename = "a.lst"\n', "a.lst": "--pre\nsix\n"},
        ["six"], {}, False,
    ),
    "setup.py beside pyproject.toml": (
        {"pyproject.toml": DYNAMIC,
         "setup.py": "X = ['six']\nsetup(install_requires=X + ['x'], extras_require={'w': 'y'})"},
        ["six", "x"], {"w": ["y"]}, False,
    ),
    "setup.py that computes some": (
        {"pyproject.toml": DYNAMIC, "setup.py": "setup(install_requires=['six', read('x')])"}, ["six"], {}, True
    ),
    "setup.cfg beside pyproject.toml": (
        {"pyproject.toml": DYNAMIC,
         "setup.cfg": "[metadata]\nname = s\n[options]\ninstall_requires = file: a.lst, b.lst\n"
         "[options.extras_require]\nw = file: b.lst\n", "a.lst": "six\n", "b.lst": "x\n"},
        ["six", "x"], {"w": ["x"]}, False,
    ),
    "setup.cfg that asks code": (
        {"setup.cfg": "[metadata]\nname = s\n[options]\ninstall_requires = attr: shop.needs\n"}, [], {}, True
    ),
    "pbr's extras": (
        {"setup.cfg": "[metadata]\nname = s\n[extras]\nw =\n  six>=1 # MIT\n  x:(python_version<'3')\n"},
        [], {"w": ["six>=1", "x ; python_version<'3'"]}, False,
    ),
    "a value that doubles itself": (
        {"setup.py": "x = ['six']\n" + "x = x + x\n" * 60 + "setup(install_requires=x)"}, [], {}, True
    ),
    "a key that is a list of lists that doubles itself": (
        {"setup.py": "x = []\n" + "x = [x, x]\n" * 60 + "setup(extras_require={x: 'six'})"}, [], {}, True
    ),
    "a key that is a deep list": (
        {"setup.py": "x = []\n" + "x = [x]\n" * 3000 + "setup(extras_require={x: 'six'})"}, [], {}, True
    ),
    "a value that is too deep": ({"setup.py": f"setup(install_requires={'+'.join(['[]'] * 900)})"}, [], {}, True),
}  # fmt: skip


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_is_depended_on_is_read_where_it_is_written(name: str) -> None:
    files, dependencies, extras, is_computed = ELSEWHERE[name]
    about = read(View(tree(files)))
    told = (list(about.dependencies), {extra: list(lines) for extra, lines in about.extras.items()}, about.is_computed)
    assert told == (dependencies, extras, is_computed)
