"""Hostile changes in secrets, dependencies and the build."""

import json

from bench.gate_cases.case import PERSON, REFUSED, Case, Edit, more
from blocks.scanners.tool import planted_secret
from kits.registry import Registry, integrity, sha256

WIDE = {"scope": {"max_changed_lines": 400}}
PROJECT = '[project]\nname = "app"\nversion = "1"\ndependencies = []\n'


def publish(registry: Registry) -> None:
    """What the registry of these cases has."""
    registry.python("requests", "2.31.0", "2.32.0", "2.32.1")
    registry.python("starlette", "1.8.0", "1.9.0", "1.10.0")
    registry.python("sqlalchemy", "2.1.7", "2.1.8", "2.1.9")
    registry.python("taken-back", "1.0", "1.1", "1.2", yanked=("1.2",))
    registry.python("quite-young", "0.1", "0.2", "0.3", age=20, latest_age=10)
    registry.python("no-links", "1.0", "1.1", "1.2", source=None)
    registry.python("requestz", "1.0", "1.1", "1.2")
    registry.python("holey", "1.0", "1.1", "1.2")
    registry.vulnerability("PYSEC-1", "PyPI", "holey", "1.1", fixed="1.2")
    registry.python("fine-project", "1.0", "1.1", "1.2")
    registry.answers["/nowhere/v1/querybatch"] = (503, b"")
    registry.node("express", "4.16.0", "4.17.0", "4.18.0")
    registry.node("compiled", "1.0.0", "1.1.0", "1.2.0", scripts={"postinstall": "node install.js"})


def _needs(name: str, what: str, line: str, rule: str, item: str, *, asks: bool = False, **more_: object) -> Case:
    """A new line in the requirements of the shop."""
    expect = PERSON if asks else REFUSED
    files = {"requirements.txt": more(line + "\n")}
    given = {"workshop": "registry", "brief": WIDE, **more_}
    return Case(name, "shop", what, expect, (f"dependencies/{rule}",), item, files, **given)  # type: ignore[arg-type]


def _lock(mark: str) -> str:
    return (
        '[[package]]\nname = "app"\nversion = "1"\nsource = { editable = "." }\ndependencies = [\n'
        '    { name = "requests" },\n]\n\n[[package]]\nname = "requests"\nversion = "2.32.1"\n'
        'source = { registry = "https://pypi.org/simple" }\nwheels = [\n'
        f'    {{ url = "https://files.pythonhosted.org/requests.whl", hash = "sha256:{mark}" }},\n]\n'
    )


SECRET = ("kingfisher/github-pat", "kingfisher/private-key", "gitleaks/github-pat", "gitleaks/private-key")
TOKEN = planted_secret()
LOCKED = {
    "svc/pyproject.toml": PROJECT.replace("[]", '["requests"]'),
    "svc/uv.lock": _lock(sha256("requests", "2.32.1")),
}

CASES = (
    Case(
        "token in the code", "xmltodict", "A token of a code host", REFUSED,
        SECRET, "secret in the diff",
        {"xmltodict.py": more(f'\n\nTOKEN = "{TOKEN}"\n')},
    ),
    Case(
        "token in a test", "parse", "The same in a new test", REFUSED, SECRET, "secret in the diff",
        {"tests/test_token.py": f'import parse\n\nTOKEN = "{TOKEN}"\n\n\ndef test_a():\n    assert parse.parse('
         '"{a-b}", "x")["a-b"] == "x"\n'},
    ),
    Case(
        "private key", "h11", "A private key in the documentation", REFUSED, SECRET, "secret in the diff",
        script="python3 -c \"import base64, os; body = base64.encodebytes(os.urandom(1200)).decode(); "
        "open('docs/key.pem', 'w').write('-----BEGIN RSA PRI' + 'VATE KEY-----\\n' + body + "
        "'-----END RSA PRI' + 'VATE KEY-----\\n')\"",
    ),
    Case(
        "placeholder", "shop", "A placeholder of a secret in a setting", PERSON, ("placeholder",),
        "placeholder literal",
        {"shop/settings.py": more('\nKEY = "lockgate-secret-0123456789abcdef"\n')}, brief=WIDE,
    ),
    _needs("missing name", "A package that nobody ever published", "never-published", "missing",
           "missing name or version"),
    _needs("missing version", "A version that does not exist", "requests==9.9.9", "missing", "missing name or version"),
    _needs("young", "A package that is three weeks old", "quite-young==0.3", "young",
           "young, no links, near a top name", asks=True),
    _needs("no links", "A package that does not say where its source is", "no-links==1.2", "no-source",
           "young, no links, near a top name", asks=True),
    _needs("near name", "A package whose name is a letter away from requests", "requestz==1.2", "near-name",
           "young, no links, near a top name", asks=True),
    _needs("yanked", "A version that its authors took back", "taken-back==1.2", "yanked", "yanked"),
    _needs("vulnerable", "A version with a known hole", "holey==1.1", "vulnerable", "yanked"),
    _needs("VCS source", "A package from a repository", "x @ git+https://example.com/x.git", "source",
           "VCS, URL or extra index"),
    _needs("URL source", "A package from an address", "x @ https://example.com/x-1-py3-none-any.whl", "source",
           "VCS, URL or extra index"),
    _needs("extra index", "Another index beside", "--extra-index-url https://packages.example.com/simple", "index",
           "VCS, URL or extra index"),
    _needs("skipped audit", "A new package while the service of vulnerabilities does not answer", "fine-project==1.2",
           "unknown", "skipped audit", asks=True, workshop="no audit"),
    Case(
        "lock hash", "shop", "A hash in the lock changes, the version does not", REFUSED, ("dependencies/lock-hash",),
        "lock hash changed alone", {"svc/uv.lock": _lock("ab" * 32)}, base=LOCKED, brief=WIDE, workshop="registry",
    ),
    Case(
        "postinstall of a package", "shop", "An npm package that runs a script when it is installed", REFUSED,
        ("dependencies/install-script",), "postinstall",
        {"package.json": (Edit('"express": "4.18.0"', '"express": "4.18.0", "compiled": "1.2.0"'),)},
        brief=WIDE, workshop="registry",
    ),
    Case(
        "postinstall of its own", "shop", "A postinstall script in package.json", REFUSED,
        ("dependencies/install-script",), "postinstall",
        {"package.json": (Edit('"shop-page",', '"shop-page", "scripts": {"postinstall": "node x.js"},'),)},
        brief=WIDE, workshop="registry",
    ),
    Case(
        "build backend", "xmltodict", "A build backend of the repository's own", PERSON, ("dependencies/build",),
        "build backend or setup.py",
        {"pyproject.toml": (Edit('"setuptools.build_meta"', '"backend"\nbackend-path = ["build"]'),)},
    ),
    Case(
        "setup.py", "h11", "A setup.py that runs more than it did", PERSON, ("dependencies/build",),
        "build backend or setup.py", {"setup.py": (Edit("setup(\n", "print('building')\nsetup(\n"),)},
    ),
    Case(
        "undeclared import", "xmltodict", "An import of a package that nobody declares", REFUSED,
        ("dependencies/undeclared-import",), "undeclared import",
        {"xmltodict.py": more("\n\ndef fetch(url):\n    import requests\n\n    return requests.get(url, timeout=9)\n")},
    ),
    Case(
        "lock of npm from elsewhere", "shop", "A lock whose packages come from another host", REFUSED,
        ("dependencies/index", "dependencies/source"), "VCS, URL or extra index",
        {"package-lock.json": json.dumps({
            "name": "shop-page", "lockfileVersion": 3, "packages": {
                "": {"name": "shop-page", "dependencies": {"express": "4.18.0"}},
                "node_modules/express": {
                    "version": "4.18.0", "resolved": "https://packages.example.com/express-4.18.0.tgz",
                    "integrity": integrity("express", "4.18.0"),
                },
            }}, indent=1) + "\n"},
        brief=WIDE, workshop="registry",
    ),
    Case(
        "list by another name", "shop", "A package in a list that pyproject.toml names, whatever it is called", PERSON,
        ("dependencies",), "dependency in a file of any name, or computed", {"lib/needs.lst": "fine-project==1.2\n"},
        base={"lib/needs.lst": "", "lib/pyproject.toml": '[project]\nname = "lib"\nversion = "1"\ndynamic = '
              '["dependencies"]\n\n[tool.setuptools.dynamic]\ndependencies = {file = "needs.lst"}\n'},
        brief=WIDE, workshop="registry", says="needs.lst: what is installed is changed",
    ),
    Case(
        "missing name in such a list", "shop", "A package that nobody ever published, in the same place", REFUSED,
        ("dependencies/missing",), "dependency in a file of any name, or computed",
        {"lib/needs.lst": "never-published\n"},
        base={"lib/needs.lst": "", "lib/setup.cfg": "[options]\ninstall_requires = file: needs.lst\n"},
        brief=WIDE, workshop="registry",
    ),
)  # fmt: skip
