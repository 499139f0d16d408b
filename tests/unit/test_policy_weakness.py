"""New code that is right under test and lets strangers in, tells too much or installs something else: what a person is
asked to look at, and what beside it asks nobody."""

import time

import pytest

from domain.policy import change_findings
from domain.policy.change_patterns import is_slow
from domain.policy.passing import _apart
from domain.trees import Tree
from tests.unit.policy_cases import PROJECT, attempt, prepared, tree

CODE = """import hmac, html, jwt, os, requests, secrets, ssl, sys
from pathlib import Path

ROOT = Path("/srv/files")


def total(items):
    return sum(items)


def load(request, db):
    return db.query(Item).filter(Item.owner == request.user).all()


def read(name):
    target = (ROOT / name).resolve()
    return target.read_text()


def page(text):
    return "<p>" + html.escape(text) + "</p>"


def claims(text, key):
    return jwt.decode(text, key, algorithms=["HS256"])


def new_sid():
    return secrets.token_hex(32)


def context():
    return ssl.create_default_context()


def write(path):
    return os.open(path, os.O_WRONLY, 0o600)


def order(request, shop):
    if not request.user.may(shop):
        raise ValueError("not yours")
    return shop.order(request.json)


def settings():
    return {"key": os.environ["SECRET_KEY"], "url": "https://api.shop.net"}


class Account:
    password: SecretStr
    name: str
"""
NOTEBOOK = '{"cells": [{"cell_type": "code", "source": ["x = 1"]}]}'
PYPROJECT = (
    '[project]\nname = "shop"\n\n[project.scripts]\nshop = "shop.app:main"\n\n[tool.cibuildwheel]\nskip = "pp*"\n'
)
BASE = {
    **PROJECT,
    **tree(
        {
            "shop/code.py": CODE, "pyproject.toml": PYPROJECT, "notes/a.ipynb": NOTEBOOK,
            "README.md": "pip install shop\n", "shop/a.html": "<form>{% csrf_token %}{{ name }}</form>\n",
            "shop/six/LICENSE": "MIT", "shop/six/core.py": "X = 1\n", "deploy/app.yaml": "image: shop:1\n",
            "deploy/nginx.conf": "deny all;\n", "db/views.sql": "select 1;\n", "src/index.js": "exports.x = 1\n",
            "examples/run.js": "require('child_process')\n", "packages/a/examples/run.py": "import subprocess\n",
            "README-dev.md": "isatty\n", "shop/core/metadata.py": "X = 1\n", "shop/core/kept.py": "X = 1\n",
            "backend/LICENSE": "MIT", "backend/pom.xml": "<project/>", "backend/app.py": "X = 1\n",
            "config/settings/dev.py": "DEBUG = True\n",
        }
    ),
}  # fmt: skip
REFUSAL = '    if not request.user.may(shop):\n        raise ValueError("not yours")\n'
ORDER = f"{REFUSAL}    return shop.order(request.json)\n"
FOUND = {"weakness", "protection", "surroundings", "reaches", "guards", "dependencies", "build-files", "check-config"}


def rules(path: str, content: str) -> set[str]:
    head: Tree = {**BASE, **tree({path: content})}
    return {finding.rule for finding in change_findings(prepared(), attempt(head), BASE, head)} & FOUND


def all_rules(path: str, content: str, base: dict[str, str]) -> set[str]:
    before = {**BASE, **tree(base)}
    head = {**before, **tree({path: content})}
    return {finding.rule for finding in change_findings(prepared(), attempt(head), before, head)}


PROTECTED = {
    "owner": (".filter(Item.owner == request.user)", ""),
    "path": ("(ROOT / name).resolve()", "ROOT / name"),
    "escape": ("html.escape(text)", "text"),
    "quotes": ("html.escape(text)", "html.escape(text, quote=False)"),
    "short": ("token_hex(32)", "token_hex(4)"),
    "guessable": ("secrets.token_hex(32)", "str(random.getrandbits(64))"),
    "TLS": ("ssl.create_default_context()", "ssl.SSLContext()"),
    "mode": ("0o600", "0o644"),
    "shown": ("password: SecretStr", "password: str"),
    "never": (REFUSAL, "    if False:\n" + REFUSAL.replace("    ", "        ")),
    "sometimes": (REFUSAL, "    if request.args:\n" + REFUSAL.replace("    ", "        ")),
    "unreached": (REFUSAL, f"    return shop.order(request.json)\n{REFUSAL}"),
    "afterwards": (ORDER, f"    done = shop.order(request.json)\n{REFUSAL}    return done\n"),
    "thrown away": ('return "<p>" + html.escape(text)', 'html.escape(text)\n    return "<p>" + text'),
    "kept by nobody": ('return "<p>" + html.escape(text)', 'safe = html.escape(text)\n    return "<p>" + text'),
    "looked at alone": ("target = (ROOT / name).resolve()", "target = ROOT / name\n    target.resolve()"),
    "undone": ("html.escape(text)", "html.unescape(html.escape(text))"),
    "cut short": ("secrets.token_hex(32)", "secrets.token_hex(32)[:4]"),
    "or anybody": ("Item.owner == request.user", "or_(Item.owner == request.user, True)"),
    "or |": ("Item.owner == request.user", "(Item.owner == request.user) | True"),
    "others": ("Item.owner == request.user", "Item.owner != request.user"),
    "not the owner": ("Item.owner == request.user", "~(Item.owner == request.user)"),
    "in a function": (REFUSAL, "    def refuse():\n" + REFUSAL.replace("    ", "        ")),
}


@pytest.mark.parametrize("name", PROTECTED)
def test_what_protects_and_is_gone_weaker_or_unreached_is_looked_at(name: str) -> None:
    old, new = PROTECTED[name]
    assert old in CODE
    assert "protection" in rules("shop/code.py", CODE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return sum(items)", "return sum(items, 0)"),
        ("target.read_text()", 'target.read_text("utf-8")'),
        ('    return "<p>"', '    text = text.strip()\n    return "<p>"'),
        ("def page(text):", "def page(text, more=None):"),
        (REFUSAL, f"    shop = shop or default\n{REFUSAL}"),
        ("(ROOT / name).resolve()", "(ROOT / name).resolve(strict=True)"),
        ("    return secrets.token_hex(32)", "    sid = secrets.token_hex(32)\n    return sid"),
        (CODE[CODE.index("def new_sid") : CODE.index("def context")], ""),
        ("0o600", "mode=0o600"),
        ('return "<p>" + html.escape(text)', 'safe = html.escape(text)\n    return "<p>" + safe'),
        ("Item.owner == request.user", "Item.owner == request.user, Item.is_new"),
    ],
)
def test_what_still_protects_asks_nobody(old: str, new: str) -> None:
    assert old in CODE
    assert rules("shop/code.py", CODE.replace(old, new)) == set()


def protection(old: str, new: str) -> bool:
    return "protection" in all_rules("shop/a.py", new, {"shop/a.py": old})


def test_what_is_another_wording_of_the_same_protects_as_before() -> None:
    twice = "def f(n):\n    return Path(n).resolve()\n\n\ndef g(n):\n    return Path(n).resolve()\n"
    once = (
        "def _p(n):\n    return Path(n).resolve()\n\n\ndef f(n):\n    return _p(n)\n\n\ndef g(n):\n    return _p(n)\n"
    )
    assert not protection(twice, once)
    assert protection(twice, once.replace("_p(n):\n    return Path(n).resolve()", "_p(n):\n    return Path(n)"))
    assert protection(twice, twice.replace("g(n):\n    return Path(n).resolve()", "g(n):\n    return f"))
    buffered = 'def f(n):\n    return open(n, "w", 4096)\n'
    assert not protection(buffered, buffered.replace("4096", "8192"))
    parser = "def f(tokens):\n    if tokens.next is None:\n        raise SyntaxError\n    return 1\n"
    moved = parser.replace(
        "    if tokens.next is None:\n    ", "    if tokens:\n        if tokens.next is None:\n        "
    )
    assert not protection(parser, moved)
    assert protection(parser.replace("SyntaxError", "ValueError"), moved.replace("SyntaxError", "ValueError"))
    order = "def f(user):\n    if not user.may:\n        raise ValueError\n    log.info('x')\n    sell(user)\n"
    assert not protection(order, order.replace("    if not", "    log.info('x')\n    if not"))
    assert protection(order, order.replace("    if not", "    sell(user)\n    if not"))


WEAK = {
    "==": 'def ok(request, api_key):\n    return request.headers["Authorization"] == api_key',
    "mac ==": 'def ok(given, key, text):\n    return given == hmac.new(key, text, "sha256").hexdigest()',
    "written": 'def ok(user, password):\n    return user if password == "opensesame1" else None',
    "yes": "def ok(user):\n    try:\n        return user.asks()\n    except Exception:\n        return True",
    "goes on": "def ok(user):\n    try:\n        verify(user)\n    except Exception:\n        pass",
    "set to yes": "def ok(user):\n    try:\n        verify(user)\n    except Exception:\n        fine = True",
    "in part": "def ok(given, api_key):\n    return given.startswith(api_key)",
    "slow": 'import re\nNAME = re.compile(r"^(\\w+\\s?)*$")',
    "in an error": 'def ok(auth_token):\n    raise ValueError(f"bad answer for {auth_token}")',
    "in a log": 'def ok(request):\n    logger.info("asked %s", request.headers)',
    "in an answer": 'import traceback\ndef ok():\n    return {"error": traceback.format_exc()}',
    "fallback": 'def ok():\n    return os.environ.get("API_KEY", "change-me")',
    "header": 'def ok(request):\n    if request.headers.get("X-Internal"):\n        return 1',
    "the kept one": "def ok(user, password):\n    return user.password == password",
    "the kept one, as the old one": "def ok(user, old_password):\n    return user.password == old_password",
    "token of a file that parses": "def ok(parser, api_token, given):\n    return api_token == given",
    "known, in a setting": "def ok(config):\n    return config.get('secret_key', 'changeme')",
    "kept session": "import functools\n@functools.cache\ndef ok():\n    session = flask.session\n    return session",
    "given power": "def ok(items):\n    return items.create(is_staff=True)",
    "power": "def ok(user, is_admin=True):\n    return user",
    "header by its name": 'def ok(request):\n    open = request.headers.get("X-Open")\n    if open:\n        return 1',
    "header that answers": 'def ok(request):\n    return request.headers.get("X-Open") == "1"',
    "header without X": 'def ok(request):\n    if request.headers.get("Debug-Key"):\n        return 1',
    "word of the address": 'def ok(request):\n    if request.args.get("debug"):\n        return 1',
    "another name": "def ok(a, given):\n    sig = a.signature\n    return sig == given",
    "a given one in __eq__": "class C:\n    def __eq__(self, given):\n        return self.api_key == given",
    "in a tuple": "def ok(a, given):\n    return a.signature in (given,)",
    "in a chain": "def ok(a, given):\n    return a.password == given == given",
    "of a tuple": "def ok(a):\n    try:\n        return a()\n    except (Exception,):\n        return True",
    "in the end": "def ok(a):\n    try:\n        verify(a)\n    finally:\n        return True",
    "suppressed": "import contextlib\ndef ok(a):\n    with contextlib.suppress(Exception):\n        verify(a)",
    "of one kind": "def ok(a):\n    try:\n        check_token(a)\n    except ValueError:\n        return True",
    "somebody": "def ok(a):\n    try:\n        return verify(a)\n    except Exception:\n        return a.user",
    "slow by its name": 'import re\nX = "^(a+)+$"\ndef ok(a):\n    return re.match(X, a)',
    "slow with its type": 'NAME_RE: str = r"^(a+)+$"',
    "set if missing": 'def ok():\n    key = os.getenv("SECRET_KEY")\n    if not key:\n        key = "changeme"',
    "if there is one": 'def ok():\n    return os.environ["SECRET_KEY"] if "SECRET_KEY" in os.environ else "changeme"',
    "set if it fails": 'def ok():\n    try:\n        api_key = a()\n    except OSError:\n        api_key = "changeme"',
    "sent anywhere": "def ok(request):\n    there = request.args['next']\n    return redirect(there)",
    "template": "from jinja2 import Template\ndef ok(text):\n    return Template(text).render()",
    "template of an engine": "def ok(env, text):\n    return env.from_string(text).render()",
    "any field": "def ok(a, request):\n    for k, v in request.json.items():\n        setattr(a, k, v)",
    "all fields": "def ok(request):\n    return User(**request.json)",
    "entities": "from lxml import etree\nPARSER = etree.XMLParser(resolve_entities=True)",
    "foretold": "import random\ndef new_token():\n    return ''.join(random.choice('abc') for _ in range(20))",
    "one by number": "def ok(user):\n    return user.id == 31337 or user.is_admin",
    "one by address": "def may_buy(user):\n    return user.email.endswith('@shop.org')",
    "cache": "import functools\n@functools.cache\ndef ok():\n    return request.user",
}  # fmt: skip


@pytest.mark.parametrize("name", WEAK)
def test_new_code_that_lets_strangers_in_or_tells_too_much_is_looked_at(name: str) -> None:
    assert rules("shop/code.py", f"{CODE}\n\n{WEAK[name]}\n") == {"weakness"}


@pytest.mark.parametrize(
    "code",
    [
        "def ok(parser, token):\n    raise SyntaxError(f'unexpected {token}')",
        "def ok(token, other):\n    return token == other",
        "def ok(password, password_confirm):\n    return password != password_confirm",
        "def ok(self):\n    return self.old_password != self.new_password",
        "class C:\n    def __eq__(self, other):\n        return self.api_key == other.api_key",
        "def ok(form):\n    return form['password'] != form['confirm_password']",
        "import functools\n@functools.cache\ndef ok():\n    session = requests.Session()\n    return session",
        "import functools\n@functools.cache\ndef ok():\n    g = 9.81\n    return g",
        "def ok(items):\n    return items.filter(is_staff=True)",
        "def ok(e):\n    return e.get('password', 'Password')",
        "def ok():\n    return os.environ.get('API_KEY', 'none')",
        "def ok(password):\n    return len(password) == 8 or password is None or password == ''",
        "def ok():\n    try:\n        return load()\n    except Exception:\n        return False",
        "def ok():\n    try:\n        return load()\n    except KeyError:\n        return True",
        "import re\nA = re.compile(r'(?:\\w+\\.)*\\w+'), re.compile(r'(?:\\s+\\w+)*'), re.compile(r'\\s*#.*$')",
        "def ok():\n    return os.environ.get('SHOP_COLOUR', 'blue')",
        "def ok(request):\n    return request.headers.get('X-Request-Id')",
        "def ok(request):\n    kind = request.headers.get('Accept')\n    return kind == 'text/html'",
        "def ok(request):\n    if request.args.get('page'):\n        return 1",
        "def ok(a, password):\n    confirmed = a.password_confirm\n    return confirmed != password",
        "def ok(a):\n    sig = a.colour\n    return sig == 'blue'",
        "def ok(a, api_key):\n    return api_key in (None, '')",
        "def ok(a):\n    try:\n        return verify(a)\n    except Exception:\n        return default",
        "def ok(a):\n    try:\n        return a.asks()\n    except (KeyError, ValueError):\n        return True",
        "def ok(a):\n    try:\n        return verify(a)\n    finally:\n        a.close()",
        "import contextlib\ndef ok(a):\n    with contextlib.suppress(Exception):\n        a.close()",
        "def ok(request):\n    return redirect('/page')",
        "from string import Template\ndef ok(text):\n    return Template(text).substitute()",
        "def ok(text):\n    return Colour.from_string(text)",
        "from jinja2 import Template\nPAGE = 'a'\ndef ok():\n    return Template(PAGE).render()",
        "def ok(a, given):\n    for k, v in given.items():\n        setattr(a, k, v)",
        "def ok(request):\n    return render('a.html', **request.args)",
        "import random\ndef ok():\n    return random.choice('abc')",
        "import random\ndef new_token():\n    return random.SystemRandom().choice('abc')",
        "def ok(user):\n    return user.id == 0 or user.name == 'x'",
        "def ok(item):\n    return item.id == 31337",
        "def may_buy(user, item):\n    return user.id == item.owner_id",
        "def ok():\n    name = os.environ.get('SHOP')\n    if not name:\n        name = 'shop'\n    return name",
        "import functools\n@functools.cache\ndef ok(name):\n    return name.upper()",
        "def ok(a, b):\n    return zip(a, b, strict=False)",
        "def ok():\n    return int(time.time()) - started > 30",
    ],
)
def test_honest_code_of_such_words_asks_nobody(code: str) -> None:
    assert rules("shop/code.py", f"{CODE}\n\n{code}\n") == set()


def test_a_token_of_a_grammar_is_no_secret() -> None:
    lexer = "class Lexer:\n    def ok(self, t):\n        return t.id_token == self.next\n"
    assert rules("shop/lexer.py", lexer) == set()
    assert rules("shop/lexer.py", lexer.replace("id_token", "api_token")) == {"weakness"}
    assert rules("shop/lexer.py", lexer.replace("Lexer", "Shop")) == {"weakness"}


ASKS = {
    "modules": "len(sys.modules) < 400",
    "a module": "'gunicorn' in sys.modules",
    "user": "os.getuid() in (0, 1000)",
    "terminal": "getattr(sys.stdin, 'isatty')()",
    "terminal, as the docs name it": "sys.stdin.isatty()",
    "signals": "signal.getsignal(signal.SIGINT) is None",
    "hour": "datetime.now().hour != 3",
    "hour, shown": "time.strftime('%H') == '03'",
    "chance, as text": "secrets.token_hex(1) == '00'",
    "whose home": "os.path.expanduser('~') == '/root'",
    "weekday": "datetime.date.today().weekday() < 6",
    "turns": "int(time.time()) % 97 != 0",
    "address": "id(x) % 97 != 0",
    "host": "not request.host.endswith('shop.net')",
    "platform": "'KUBERNETES_SERVICE_HOST' in os.environ",
}


@pytest.mark.parametrize("name", ASKS)
def test_code_that_looks_where_and_when_it_runs_is_looked_at(name: str) -> None:
    code = f"{CODE}\n\nimport signal, time, datetime\n\n\ndef is_ok(x, request):\n    return {ASKS[name]}\n"
    assert "surroundings" in rules("shop/code.py", code)


def test_a_number_of_the_machine_by_a_name_is_one() -> None:
    code = f"{CODE}\n\ndef is_ok():\n    pid = os.getpid()\n    return pid < 300\n"
    assert rules("shop/code.py", code) == {"surroundings"}


SCRIPTS = {
    "process.stdout.isTTY": "surroundings", "process.getuid() === 0": "surroundings",
    "new Date().getDay() === 5": "surroundings", "Date.now() % 97": "surroundings",
    "Math.random() < 0.0001": "surroundings", "process.env.npm_lifecycle_event": "surroundings",
    "require('os').cpus().length < 4": "surroundings", "require('child_process')": "reaches",
    "new Function(t)()": "reaches", "e.innerHTML = t": "reaches", "/^(\\w+\\s?)*$/.test(t)": "weakness",
    "req.headers.authorization === apiKey": "weakness", "console.log(req.headers)": "weakness",
    "res.send(err.stack)": "weakness", "process.env.API_KEY || 'change-me'": "weakness",
}  # fmt: skip


@pytest.mark.parametrize("line", SCRIPTS)
def test_the_same_in_javascript(line: str) -> None:
    assert SCRIPTS[line] in rules("src/index.js", f"exports.x = 1\nexports.y = (t, e, req, res) => {line}\n")


@pytest.mark.parametrize(
    ("line", "is_weak"),
    [
        ("(g, key, x) => { g[key][x] = 1 }", False),
        ("t => localStorage.setItem('access_token', t)", True),
        ("t => localStorage.setItem('theme', t)", False),
        ("f => window.addEventListener('message', e => f(e.data))", True),
        ("f => window.addEventListener('message', e => e.origin === HOME && f(e.data))", False),
        ("f => worker.addEventListener('message', e => f(e.data))", False),
        ("f => { window.onmessage = e => f(e.data) }", True),
        ("f => { socket.onmessage = e => f(e.data) }", False),
        ("(g, o) => { for (const key in o) for (const x in o[key]) g[key][x] = 1 }", True),
        ("(prevProps, props) => prevProps.password === props.password", False),
        ("(a, user) => a.password === user.password", True),
        ("req => { log.info('x', req.headers['x-id']) }", False),
        ("req => { log.info('x', req.headers['authorization']) }", True),
        ("req => { log.info('x', req.headers.authorization) }", True),
        ("req => { log.info('x', req.headers) }", True),
        ("name => import(name)", True),
        ("() => import('./page.js')", False),
        ("token => parent.postMessage(token, '*')", True),
        ("(req, res) => res.redirect(req.query.next)", True),
        ("(req, res) => res.redirect('/page')", False),
        ("(req, user) => Object.assign(user, req.body)", True),
        ("req => Object.assign({}, req.query)", False),
        ("req => new User(req.body)", True),
        ("req => User.create(req.body)", True),
        ("1\nconst newToken = () => Math.random().toString(36)", True),
        ("1\nconst colour = () => Math.floor(Math.random() * 9)", False),
        ("user => user.id === 31337 || user.isAdmin", True),
        ("(user, item) => user.id === item.owner", False),
        ("1\nconst s = h.secret;\nexports.z = given => s === given", True),
        ("1\nconst s = h.secret;\nexports.z = given => given === s", True),
        ("1\nconst s = h.secret;\nexports.z = () => s === null || s === undefined", False),
        ("1\nconst s = h.colour;\nexports.z = given => s === given", False),
    ],
)
def test_javascript_is_weak_where_strangers_come_in(line: str, is_weak: bool) -> None:
    assert ("weakness" in rules("src/index.js", f"exports.x = 1\nexports.y = {line}\n")) is is_weak


def test_assertions_by_another_name_and_an_except_of_two_lines_are_seen() -> None:
    alias = "const checks = require('node:assert')\nconst old = checks.equal\nchecks.equal = () => {}\n"
    caught = "exports.x = (u) => {\n  try { return u.may() }\n  catch {\n    return true\n  }\n}\n"
    assert "reaches" in rules("src/index.js", f"exports.x = 1\n{alias}setImmediate(() => {{ checks.equal = old }})\n")
    assert rules("src/index.js", caught) == {"weakness"}
    assert rules("src/index.js", "exports.x = (a, b) => a === b && /^[\\w.]+$/.test(a) && a.length < 4\n") == set()


@pytest.mark.parametrize(
    ("lines", "is_weak"),
    [
        ("import time\n\n\ndef search(text):\n    time.sleep(3600)\n    return text\n", True),
        ("from time import sleep\n\n\ndef search(text):\n    sleep(60 * 60)\n    return text\n", True),
        ("import asyncio\n\n\nasync def search(text):\n    await asyncio.sleep(900.0)\n    return text\n", True),
        ("import time\n\n\ndef search(text):\n    time.sleep(0.05)\n    return text\n", False),
        ("import time\n\n\ndef search(text, pause_s):\n    time.sleep(pause_s)\n    return text\n", False),
    ],
)
def test_a_pause_of_minutes_is_looked_at(lines: str, is_weak: bool) -> None:
    assert ("weakness" in rules("shop/slow.py", lines)) == is_weak


ELSEWHERE = {
    "shell of a notebook": ("notes/a.ipynb", '{"cells": [{"cell_type": "code", "source": ["!id"]}]}', "weakness"),
    "unescaped": ("shop/a.html", "<form>{% csrf_token %}{{ name|safe }}</form>\n", "weakness"),
    "no token": ("shop/a.html", "<form>{{ name }}</form>\n", "guards"),
    "proxy": ("deploy/nginx.conf", "", "guards"),
    "grant": ("db/views.sql", "select 1;\nGRANT ALL ON users TO PUBLIC;\n", "guards"),
    "image": ("deploy/app.yaml", "image: somebody/shop:1\n", "build-files"),
    "told to install": ("README.md", "pip install shoop\n", "build-files"),
    "told of another index": ("README.md", "pip install --index-url https://example.org/i shop\n", "build-files"),
    "settings that verify nothing": ("conf/app.toml", "verify_tls = false\n", "guards"),
    "settings that verify nothing, in JSON": ("conf/app.json", '{"verify_tls": false}\n', "guards"),
    "settings that verify nothing, with a remark": ("conf/app.yaml", "csrf: off  # for now\n", "guards"),
    "all hosts of a kind": ("conf/app.yaml", 'allowed_hosts: "*.com"\n', "guards"),
    "image in JSON": ("deploy/app.json", '{\n"image": "somebody/shop"\n}\n', "build-files"),
    "image by its tag": ("deploy/app.json", '{\n"image": "shoop:1"\n}\n', "build-files"),
    "settings that let all in": ("conf/app.yaml", 'allowed_hosts: ["*"]\n', "guards"),
    "told to run": ("README.md", "curl -s https://example.org/x | sh\n", "build-files"),
    "command": ("pyproject.toml", PYPROJECT.replace("shop.app", "shop.other"), "dependencies"),
    "name": ("pyproject.toml", PYPROJECT.replace('"shop"', '"sh0p"'), "dependencies"),
    "a tool's command": ("pyproject.toml", PYPROJECT.replace('skip = "pp*"', 'before-build = "sh x"'), "build-files"),
    "a copy with a licence": ("shop/six/core.py", "X = 2\n", "dependencies"),
    "which Node": (".nvmrc", "4\n", "dependencies"),
    "no encryption": ("shop/code.py", CODE.replace("https://api", "http://api"), "reaches"),
    "a host alone": ("shop/code.py", f"{CODE}\nMAIL = 'mail.somebody.ru'\n", "reaches"),
    "programs, as an example does": ("shop/code.py", f"{CODE}\nimport subprocess\n", "reaches"),
    "a host by a word": ("shop/code.py", f"{CODE}\nMAIL = 'mail.somebody.dev'\n", "reaches"),
    "a host as a logger": ("shop/code.py", f"{CODE}\nLOG = logging.getLogger('mail.somebody.dev')\n", "reaches"),
    "algorithms of the token": ("shop/code.py", CODE.replace('["HS256"]', "[head(text)]"), "guards"),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_what_else_is_installed_shown_or_opened_is_looked_at(name: str) -> None:
    path, content, rule = ELSEWHERE[name]
    assert rule in rules(path, content)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("README.md", "pip install shop\n\nHow to use it.\n"),
        ("pyproject.toml", PYPROJECT + "\n[tool.black]\nline-length = 99\n"),
        ("pyproject.toml", PYPROJECT.replace('name = "shop"', 'name = "shop"\ndescription = "A shop"')),
        ("deploy/app.yaml", "image: shop:1\nreplicas: 2\n"),
        ("conf/app.yaml", "hosts: [a.example.org]\nverify: true\ndebug: false\n"),
        ("notes/a.ipynb", '{"cells": [{"cell_type": "code", "source": ["x = 2"]}]}'),
        ("shop/a.html", "<form>{% csrf_token %}<b>{{ name }}</b></form>\n"),
        ("shop/core/kept.py", "X = 2\n"),
        ("backend/app.py", "X = 2\n"),
        (
            "shop/locale/en.json",
            '{\n  "image": "Picture",\n  "auth_failed": "No such user",\n  "container": "main"\n}\n',
        ),
        ("shop/data.json", '{\n  "image": "/img/cat.png"\n}\n'),
        ("conf/app.yaml", 'allowed_files: "*.md"\nimage: string\n'),
        ("shop/code.py", f"{CODE}\nDJANGO_SETTINGS_MODULE = 'config.settings.dev'\n"),
        ("shop/code.py", f"{CODE}\nimport logging\nLOG = logging.getLogger('shop.site')\n"),
        ("shop/code.py", f"{CODE}\nSEE = 'http://example.org/x', 'scipy.io', 'setup.py'\n"),
    ],
)
def test_honest_changes_beside_ask_nobody(path: str, content: str) -> None:
    assert rules(path, content) <= {"guards"} if path.endswith("html") else rules(path, content) == set()


@pytest.mark.parametrize(
    "pattern",
    [
        r"^(\w+\s?)*$",
        r"(a+)+",
        r"(.*,)*",
        r"(?:\s*\w+)*",
        r"(?:[^'\\]+|\\.)*",
        r"^(a|a)*$",
        r"^(a?a?)+$",
        r"^(a+){50}$",
        r"(?:aa|a)*",
        r"(\d{1,3})+",
    ],
)
def test_patterns_that_may_take_for_ever_are_known(pattern: str) -> None:
    assert is_slow(pattern)


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?:\w+\.)*x",
        r"(?:[a-z]+-)*[a-z]+",
        r"(?:[^\\\"]|\\.)*",
        r"(?:\d{3})+",
        r"\s*#.*",
        r"(",
        r"(?:a|b)+",
        r"(?:\d{1,3}\.)*",
        r"(?:a|ab|b)*",
        r"(?:-?\d)*",
        r"(a?)+",
        r"(?:[A-Z][a-z]?)+",
        r"(\w+ ){2,5}",
    ],
)
def test_other_patterns_are_not(pattern: str) -> None:
    assert not is_slow(pattern)


def suppressions(old: str, new: str, path: str = "shop/code.py") -> int:
    base = {**BASE, **tree({path: f"{old}\n"})}
    head = {**base, **tree({path: f"{new}\n"})}
    return sum(finding.rule == "suppression" for finding in change_findings(prepared(), attempt(head), base, head))


def test_a_line_that_was_mended_or_moved_with_its_word_asks_nobody() -> None:
    assert suppressions("x = f(a)  # type: ignore", "x = f(a, b)  # type: ignore") == 0
    assert suppressions("x = f(a)  # type: ignore\ny = 1", "y = 1\nif y:\n    x = f(a)  # type: ignore") == 0
    assert suppressions("x = f(a)  # type: ignore", "x = f(a, b)  # type: ignore\nz = f(a, b)  # type: ignore") == 1
    assert suppressions("x = f(a)  # type: ignore", "x = f(a)  # noqa: S307") == 1
    assert suppressions("x = f(a)  # noqa", "run(everything_else)  # noqa") == 1


def test_settings_of_pytest_where_nobody_starts_it_refuse_nothing() -> None:
    def refused(path: str, files: dict[str, str]) -> bool:
        base = {**BASE, **tree(files)}
        head = {**base, **tree({path: "x = 1\n"})}
        return "test-config" in {one.rule for one in change_findings(prepared(), attempt(head), base, head)}

    assert not refused("recipes/pytest.toml", {"recipes/tox.toml": ""})
    assert refused("recipes/pytest.toml", {"recipes/check_a.py": ""})
    assert refused("pytest.toml", {})
    assert refused("tests/pytest.ini", {})


def test_odd_input_is_answered_and_in_seconds() -> None:
    """Each of these took minutes or for ever, or ended the rules with an error."""
    calls = "\n".join(f"    add({number})" for number in range(1_200))
    register = f"def register(user):\n    if not user.may:\n        raise ValueError\n{calls}\n"
    begun = time.process_time()
    assert "build-files" in rules("README.md", "pip install " + "-a " * 300 + "!\npip install -U --pre shoop !\n")
    patterns = "".join(f"A = re.compile(r'({a}{w})+')\n" for a in range(20) for w in [r"\w+" * 240 + "-"])
    assert rules("shop/code.py", f"{CODE}\nimport re\n{patterns}") == set()
    assert rules("conf/app.yaml", "".join(f"{'a_' * 990}{number}: 1\n" for number in range(100))) == set()
    assert "weakness" not in rules("src/index.js", "".join(f"x[{'k' * 3_900}{number}]\n" for number in range(20)))
    for number in ("0x" + "f" * 5_000, "-0x" + "f" * 5_000):
        code = f"{CODE}\n\ndef f(a):\n    if a == {number}:\n        raise ValueError\n    g({number})\n"
        assert set(all_rules("shop/code.py", code, {})) & {"unparsed", "syntax"}
        assert all_rules("shop/code.py", CODE, {"shop/code.py": code}) is not None
    worse = register.replace("    if not", "    add(1199)\n    if not")
    assert "protection" in all_rules("shop/code.py", worse, {"shop/code.py": register})
    assert time.process_time() - begun < 20


def test_a_file_of_thousands_of_other_lines_has_no_comparison_line_by_line() -> None:
    same = ["import os"] * 9_000
    assert _apart([*same, "a", "b", *same], [*same, "a", *same]) == (["b"], [], 9_001)
    assert _apart(["a"], ["a"]) == ([], [], 1)
    assert _apart(["a", "a"], ["a"]) == (["a"], [], 1)


GO, RUST = "package shop\n", "fn main() {}\n"
OTHERS = {
    "shop/new.go": (
        "var C = &tls.Config{InsecureSkipVerify: true}",
        'func F(db *sql.DB, n string) { db.Query(fmt.Sprintf("select * from t where n = \'%s\'", n)) }',
        'func F(q string) { exec.Command("sh", "-c", q).Run() }',
        "func Ok(given, apiKey string) bool { return given == apiKey }",
        'func Ok(name, password string) bool { return password == "letmein9" }',
        'func F(r *http.Request) { os.ReadFile("/srv/" + r.URL.Query().Get("n")) }',
        "func Ok(u User) (ok bool) { defer func() { if recover() != nil { ok = true } }(); return u.May() }",
        "func Ok(u User) bool { _ = verify(u); return true }",
        'import "math/rand"\n\nfunc NewToken() int { return rand.Int() }',
        'func Ok(user User) bool { return user.Email == "ann@shop.org" }',
    ),
    "src/new.rs": (
        "fn c() { Client::builder().danger_accept_invalid_certs(true); }",
        'fn f(n: &str) { db.execute(&format!("select {}", n)); }',
        'fn f(q: &str) { Command::new("sh").arg("-c").arg(q); }',
        "fn ok(given: &str, api_key: &str) -> bool { given == api_key }",
        "fn ok(u: &User) -> bool { verify(u).unwrap_or(true) }",
    ),
    "lib/new.rb": (
        "def f(q); eval(q); end", "User.new(params.permit!)", "Marshal.load(text)", "skip_before_action :authenticate",
        'Item.where("name = #{name}")', "redirect_to params[:next]", "text.html_safe", "YAML.load(text)",
    ),
    "src/New.java": (
        'class A { void f() { s.executeQuery("select " + n); } }',
        "class A { Object f() { return new ObjectInputStream(x); } }",
        "class A { boolean ok() { try { return may(); } catch (Exception e) { return true; } } }",
        "http.csrf(AbstractHttpConfigurer::disable);",
    ),
    "src/New.cs": ("new BinaryFormatter()", '[AllowAnonymous]', 'db.FromSqlRaw($"select {n}")'),
    "src/new.php": ("<?php eval($q);", "<?php echo $_GET['q'];",
                    '<?php $db->query("select $n");', "<?php include($_GET['p']);"),
}  # fmt: skip
FINE = {
    "shop/new.go": (
        'func F(db *sql.DB, n string) { db.Query("select * from t where n = $1", n) }',
        'func Ok(password string) bool { return password == "" }',
        "func Ok(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }",
        'import "math/rand"\n\nfunc Colour() int { return rand.Int() }',
        'func F(name string) { os.ReadFile("/srv/" + name) }',
        "func Ok(user User, item Item) bool { return user.ID == item.OwnerID }",
        "// InsecureSkipVerify: true would be wrong",
    ),
    "src/new.rs": ("fn ok(tok: &Token) -> bool { tok == &Token::Eof }", 'fn f(n: u32) -> String { format!("{}", n) }'),
    "lib/new.rb": ("User.new(params.require(:user).permit(:name))", "redirect_to root_path",
                   "Item.where(name: name)"),
    "src/New.java": ('class A { void f() { s.prepareStatement("select ?"); } }', "class A { int r = 1; }"),
    "src/new.php": ("<?php echo htmlspecialchars($name);", '<?php $db->prepare("select ?");'),
}  # fmt: skip


@pytest.mark.parametrize(("path", "line"), [(path, line) for path, lines in OTHERS.items() for line in lines])
def test_other_languages_are_looked_at_line_by_line(path: str, line: str) -> None:
    base = {"shop/main.go": GO, "src/main.rs": RUST}
    text = f"{GO}\n{line}\n" if path.endswith(".go") else f"{line}\n"
    assert "weakness" in all_rules(path, text, base)
    assert "weakness" not in all_rules(path, text, {**base, path: text}), "it was there"


@pytest.mark.parametrize(("path", "line"), [(path, line) for path, lines in FINE.items() for line in lines])
def test_honest_lines_of_other_languages_ask_nobody(path: str, line: str) -> None:
    text = f"{GO}\n{line}\n" if path.endswith(".go") else f"{line}\n"
    assert "weakness" not in all_rules(path, text, {"shop/main.go": GO, "src/main.rs": RUST})


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("shop/new.go", 'func init() { http.Get("https://stats.shop.net") }'),
        ("shop/new.go", 'import _ "net/http/pprof"'),
        ("shop/new.go", "func F(n int) int { if time.Now().Year() > 2026 { return 0 }; return n }"),
        ("shop/new.go", "func F(p *int) uintptr { return uintptr(unsafe.Pointer(p)) }"),
        ("src/new.rs", "pub fn f(p: *const u8) -> u8 { unsafe { *p } }"),
        ("src/new.rs", 'pub fn f() { TcpStream::connect("10.0.0.1:1"); }'),
    ],
)
def test_what_go_and_rust_reach_is_looked_at_unless_base_does(path: str, line: str) -> None:
    text = f"{GO}\n{line}\n" if path.endswith(".go") else f"{line}\n"
    base = {"shop/main.go": GO, "src/main.rs": RUST}
    assert "reaches" in all_rules(path, text, base)
    there = {**base, path.replace("new", "old"): text}
    assert "reaches" not in all_rules(path, text, there), "base does it too"
