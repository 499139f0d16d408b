"""What product code asks of the machine, of chance and of its own past, and what it does to its whole process: many
spellings of each, and honest code beside it."""

import pytest

from domain.policy import change_findings
from domain.trees import Tree
from tests.unit.policy_cases import PROJECT, attempt, prepared, tree

KINDS = {"surroundings", "reaches", "guards", "stack-inspection", "process-exit"}


def rules(changes: dict[str, str | None], base: Tree = PROJECT) -> set[str]:
    there = {path: content for path, content in changes.items() if content is not None}
    changed = {path: entry for path, entry in base.items() if changes.get(path, "") is not None} | tree(there)
    found = {finding.rule for finding in change_findings(prepared(), attempt(changed), base, changed)}
    return found & KINDS


NEW: dict[str, tuple[str, ...]] = {
    "surroundings": (
        "import os\nX = os.getpid() < 300",
        "from os import getuid\nX = getuid() == 0",
        "import os\nif os.getgroups():\n    pass",
        "import os\nX = os.cpu_count() <= 2",
        "import resource\nX = resource.getrlimit(resource.RLIMIT_NPROC)[0] != -1",
        "from pathlib import Path\nX = Path('/').joinpath('proc', 'self', 'cgroup').exists()",
        "from pathlib import Path\nX = (Path('/') / 'proc').exists()",
        "import os\nX = os.path.join('/', 'sys', 'class', 'net')",
        "import os\nX = os.path.exists('/.dockerenv')",
        "import os\nX = len(os.listdir('/sys/class/net')) == 1",
        "import os\nX = os.path.isdir(os.path.expanduser('~'))",
        "from pathlib import Path\nX = Path.home().exists()",
        "import os\nX = os.path.getmtime(__file__)",
        "from pathlib import Path\nX = Path(__file__).stat()",
        "import sys\nX = sys.stdin.isatty()",
        "import random\nX = random.random() > 1e-6",
        "import os\nLOW = 300\n\n\ndef f():\n    return os.getpid() < LOW",
        "import os\nfrom typing import Final\nLOW: Final = 3 * 10**2\nX = os.getpid() < LOW",
        "import os\n\n\ndef f():\n    low = 300\n    return os.getpid() < low",
        "import random\nRATE = 1e-6\nX = random.random() > RATE",
        "import random\nX = random.random() > 1 / 10**6",
        "import itertools\nMOST = 5000\nN = itertools.count()\n\n\ndef f():\n    return next(N) < MOST",
        "C = []\n\n\ndef f(q):\n    C.append(q)\n    if len(C) > 512:\n        C.clear()\n        return 1",
        "import uuid\nX = uuid.uuid4().int % 1000 == 7",
        "import warnings\nX = warnings.showwarning.__module__",
        "import itertools\nN = itertools.count()\n\n\ndef f():\n    return next(N) < 5000",
        "SEEN = []\n\n\ndef f(q):\n    SEEN.append(q)\n    return len(SEEN) < 5000",
        "def f(q):\n    f.calls = getattr(f, 'calls', 0) + 1\n    return f.calls < 5000",
        "class S:\n    n = 0\n\n\ndef f(q):\n    S.n += 1\n    return S.n < 5000",
    ),
    "stack-inspection": (
        "import traceback\nX = len(traceback.format_stack()) > 30",
        "X = [k for k in object.__subclasses__() if k.__name__ == 'Case']",
    ),
    "reaches": (
        "import threading\nthreading.Timer(600, print).start()",
        "import threading\n\n\ndef f():\n    t = threading.Timer(9, print)\n    t.start()\n    yield\n    t.cancel()",
        "import threading\n\n\ndef f(x):\n    t = threading.Timer(9, x)\n    t.start()\n    if x:\n        t.cancel()",
        "from threading import Timer\n\n\ndef f():\n    t = Timer(9, f)\n    t.cancel()\n    Timer(9, f).start()",
        "from threading import Thread\n\n\nclass Later(Thread):\n    pass",
        "import atexit\n\n\n@atexit.register\ndef f():\n    pass",
        "import signal\nsignal.signal(signal.SIGALRM, print)",
        "import os\n\n\nclass T:\n    def __reduce__(self):\n        return os.system, ('true',)",
        "import codecs\ncodecs.register(lambda name: None)",
        "import json\njson.JSONEncoder.default = lambda self, o: str(o)",
        "import builtins\nbuiltins.open = open",
        "import os\nos.environ['PATH'] = '/x'",
        "import os\nos.environ.pop('HTTPS_PROXY', None)",
        "import sys\nsys.setrecursionlimit(10**9)",
        "from pathlib import Path\nX = Path.home().joinpath('.ssh', 'authorized_keys')",
        "X = '/etc/crontab'",
        "from pathlib import Path\nX = Path('/') / 'etc' / 'crontab'",
        "from pathlib import Path\nX = Path('/').joinpath('etc', 'crontab')",
        "X = open('/home/x/.netrc').read()",
        "X = '~/.config/autostart/x.desktop'",
    ),
}
HONEST = (
    "import threading\nfrom contextlib import contextmanager\n\n\n@contextmanager\ndef f():\n"
    "    t = threading.Timer(9, print)\n    t.start()\n    yield\n    t.cancel()",
    "from threading import Thread\n\n\ndef f():\n    t = Thread(target=print)\n"
    "    try:\n        t.start()\n    finally:\n        t.join()",
    "import os\n\n\nclass Lock:\n    def is_forked(self):\n        return self.pid != os.getpid()",
    "C = {}\n\n\ndef f(q):\n    C.update({q: 1})\n    if len(C) > 512:\n        C.clear()\n    return q",
    "SEEN = []\n\n\ndef f(q):\n    SEEN = [q]\n    SEEN.append(q)\n    return len(SEEN) > 512",
    "import random\nSHARE = 0.1\n\n\ndef f():\n    return random.random() < SHARE or random.random() < 0.5",
    "BEAT = {'schedule': 'crontab'}",
    "import os\nWORKERS = min(32, (os.cpu_count() or 1) + 4)",
    "import random\n\n\ndef pick(rate):\n    return random.random() < rate",
    "class Reader:\n    def step(self):\n        self.count += 1\n        return self.count < 5000",
    "def f(items):\n    n = 0\n    for item in items:\n        n += 1\n    return n > 3",
    "import importlib\n\n\ndef __getattr__(name):\n    return importlib.import_module(f'.{name}', __name__)",
    "from pathlib import Path\nX = (Path(__file__).parent / 'data.json').read_text()",
    "import json\n\n\nclass E(json.JSONEncoder):\n    def default(self, o):\n        return str(o)",
    "URL = '/run/{id}'\nALSO = 'proc/sys'",
)
GUARDED: tuple[tuple[str, str], ...] = (
    ("MAX_AGE = 1\nALLOWED_PROTOCOLS = ('http',)\n", "MAX_AGE = 1\nALLOWED_PROTOCOLS = ('http', 'javascript')\n"),
    ("class S:\n    key_derivation = 'hmac'\n", "class S:\n    key_derivation = 'none'\n"),
    ("def get(url, verify=True):\n    return url\n", "def get(url, verify=False):\n    return url\n"),
    ("def get(url, *, autoescape=True):\n    return url\n", "def get(url, *, autoescape=False):\n    return url\n"),
    (
        "class Signer:\n    def s(self):\n        return '.'\n",
        "class Signer:\n    def s(self):\n        return ''\n",
    ),
    ("def f(n):\n    if n < 0:\n        raise ValueError(n)\n    return n\n", "def f(n):\n    return n\n"),
    ("def f():\n    return {'verify_exp': True}\n", "def f():\n    return {'verify_exp': False}\n"),
    ("def f():\n    return g(httponly=True)\n", "def f():\n    return g(httponly=False)\n"),
    ("def only(r):\n    if not r.ok:\n        raise E(status_code=403)\n", "def only(r):\n    return r\n"),
    ("class V(View):\n    permission_classes = [IsAdminUser]\n    x = 1\n", "class V(View):\n    x = 1\n"),
    ("class V(View):\n    authentication_classes = [T]\n    x = 1\n", "class V(View):\n    x = 1\n"),
    ("DEBUG = 1\nSESSION_COOKIE_SECURE = True\n", "DEBUG = 1\n"),
    ("@login_required\ndef home(r):\n    return r\n", "def home(r):\n    return r\n"),
    (
        "@permission_required('a')\ndef home(r):\n    return r\n",
        "@permission_required('b')\ndef home(r):\n    return r\n",
    ),
    ("@method_decorator(login_required, name='dispatch')\nclass V(View):\n    x = 1\n", "class V(View):\n    x = 1\n"),
    ("class V(LoginRequiredMixin, View):\n    x = 1\n", "class V(View):\n    x = 1\n"),
    (
        "@get('/', dependencies=[Depends(require_user)])\ndef home(r):\n    return r\n",
        "@get('/')\ndef home(r):\n    return r\n",
    ),
    ("def home(r, u=Depends(require_user)):\n    return r\n", "def home(r, u=None):\n    return r\n"),
    ("def f(x):\n    if x < 0:\n        raise E\n", "def f(x):\n    if x < 0 and False:\n        raise E\n"),
    ("def f(x):\n    if x < 0:\n        raise E\n", "def f(x):\n    if x < 0 and not x.skip:\n        raise E\n"),
    ("def f(x):\n    if x < 0:\n        raise E\n", "def f(x):\n    if x:\n        log(x)\n"),
    ("def f(x):\n    if x < 0:\n        raise E\n", "def f(x):\n    if False:\n        raise E\n"),
    ("def sign(key, x):\n    return h(key, x)\n", "def sign(key, x):\n    return x\n"),
    ("def load(allow_pickle=False):\n    pass\n", "def load(allow_pickle=True):\n    pass\n"),
    ("PBKDF2_ITERATIONS = 600_000\n", "PBKDF2_ITERATIONS = 1\n"),
    ("def generate_token(length=30):\n    return length\n", "def generate_token(length=4):\n    return length\n"),
)
UNGUARDED: tuple[tuple[str, str], ...] = (
    ("def f(n):\n    if n < 0:\n        raise ValueError\n", "def f(n):\n    if n <= 0:\n        raise ValueError\n"),
    ("def f(n):\n    if n < 0:\n        raise ValueError(n)\n",
     "def f(n):\n    g(n)\n\n\ndef g(n):\n    if n < 0:\n        raise ValueError(n)\n"),
    ("LIMIT = 1\n", "LIMIT = 2\n"),
    ("ALLOWED = 1\nX = ALLOWED\n", "ALLOWED_HERE = 1\nX = ALLOWED_HERE\n"),
    ("class V:\n    permission_classes = [A]\n\n\nX = 1\n", "X = 1\n"),
    ("@login_required\ndef home(r):\n    return r\n", "@login_required\n@cached\ndef home(r):\n    return r + 1\n"),
    ("@login_required\ndef home(r):\n    return r\n", "X = 1\n"),
    ("def f(a, b):\n    if a:\n        raise E\n    if b:\n        raise E\n",
     "def f(a, b):\n    if a or b:\n        raise E\n"),
    ("def f(n):\n    if n < 0:\n        raise E\n    return n\n",
     "def f(n):\n    if n >= 0:\n        return n\n    raise E\n"),
    ("import sys\n\n\ndef f():\n    if sys.version_info < (3, 8):\n        raise E\n",
     "import sys\n\n\ndef f():\n    pass\n"),
    ("def f(a, b):\n    if a and b:\n        raise E\n", "def f(a, b):\n    if b and a:\n        raise E\n"),
    ("def sign(x):\n    return x > 0\n", "def sign(x):\n    return x >= 0\n"),
    ("def load(allow_pickle=True):\n    pass\n", "def load(allow_pickle=False):\n    pass\n"),
    ("def f():\n    return g(verify=True)\n", "def f():\n    return g(verify=True), h(verify=False)\n"),
    ("def f(x, width=1):\n    return x\n", "def f(x, width=2):\n    return x\n"),
)  # fmt: skip


@pytest.mark.parametrize(("rule", "code"), [(rule, code) for rule, codes in NEW.items() for code in codes])
def test_new_code_of_this_kind_asks_a_person(rule: str, code: str) -> None:
    assert rule in rules({"shop/x.py": f"{code}\n"})


@pytest.mark.parametrize("code", HONEST)
def test_honest_code_beside_it_asks_nobody(code: str) -> None:
    assert not rules({"shop/x.py": f"{code}\n"})


@pytest.mark.parametrize(("before", "after"), GUARDED)
def test_what_lets_more_through_asks_a_person(before: str, after: str) -> None:
    assert "guards" in rules({"shop/g.py": after}, {**PROJECT, **tree({"shop/g.py": before})})


@pytest.mark.parametrize(("before", "after"), UNGUARDED)
def test_other_limits_ask_nobody(before: str, after: str) -> None:
    assert not rules({"shop/g.py": after}, {**PROJECT, **tree({"shop/g.py": before})})


def test_a_check_or_a_setting_that_moved_to_another_file_is_there_still() -> None:
    check = "def f(n):\n    if n < 0:\n        raise ValueError(n)\n    return n\n"
    base = {**PROJECT, **tree({"shop/g.py": check, "shop/s.py": "X = 1\nCSRF_COOKIE_SECURE = True\n"})}
    moved = "def f(n):\n    g(n)\n    return n\n"
    assert rules({"shop/g.py": moved}, base) == {"guards"}
    assert not rules({"shop/g.py": moved, "shop/v.py": check.replace("def f", "def g")}, base)
    assert not rules({"shop/s.py": "X = 1\n", "shop/s2.py": "CSRF_COOKIE_SECURE = True\n"}, base)
    view = {**PROJECT, **tree({"shop/a.py": "@login_required\ndef home(r):\n    return r\n"})}
    assert rules({"shop/a.py": "X = 1\n", "shop/b.py": "def home(r):\n    return r\n"}, view) == {"guards"}


def test_what_is_trusted_and_lines_of_other_languages_that_refuse_ask_a_person() -> None:
    base = {**PROJECT, **tree({"web/a.js": "if (!user) {\n  return res.status(403)\n}\nrun()\n", "shop/ca.pem": "A\n"})}
    assert rules({"web/a.js": "run()\n"}, base) == {"guards"}
    assert rules({"shop/ca.pem": "B\n"}, base) == {"guards"}
    assert not rules({"web/a.js": "if (!user) {\n  return res.status(403)\n}\nrun(1)\n"}, base)


ASKS = "import os\n\n\ndef is_first():\n    return os.getpid() < 300\n"
TELLS = "import os\n\n\ndef is_ci():\n    return os.environ.get('CI')\n"
ENDS = "import os\n\n\ndef child():\n    os._exit(0)\n"
EMPTY = "def child():\n    pass\n"


@pytest.mark.parametrize(
    ("old", "place", "changes", "due"),
    [
        (ASKS, "shop/old.py", {"shop/old.py": None, "shop/new.py": ASKS}, set()),
        (ASKS, "shop/old.py", {"shop/new.py": ASKS}, {"surroundings"}),
        (ASKS, "shop/old.py", {"shop/old.py": None, "shop/new.py": ASKS.replace("is_first", "f")}, {"surroundings"}),
        (TELLS, "shop/old.py", {"shop/old.py": EMPTY, "shop/new.py": f"{TELLS}\n\nX = is_ci()\n"}, set()),
        (TELLS, "shop/old.py", {"shop/old.py": None, "shop/new.py": f"{TELLS}\n\n{TELLS[11:]}"}, {"surroundings"}),
        (TELLS, "setup.py", {"setup.py": "", "shop/new.py": TELLS}, {"surroundings"}),
        (TELLS, "tools/x.py", {"tools/x.py": "", "shop/new.py": TELLS}, {"surroundings"}),
        (TELLS, "tests/kit.py", {"tests/kit.py": "", "shop/new.py": TELLS}, {"surroundings"}),
        (ENDS, "shop/old.py", {"shop/old.py": EMPTY, "shop/new.py": ENDS.replace("child", "price")}, {"process-exit"}),
        (ENDS, "shop/old.py", {"shop/old.py": None, "shop/new.py": ENDS}, {"process-exit"}),
        (ENDS, "shop/old.py", {"shop/old.py": ENDS.replace("child", "price")}, {"process-exit"}),
        (ENDS, "shop/old.py", {"shop/old.py": ENDS.replace("    os", "    print()\n    os")}, set()),
    ],
)
def test_only_whole_definitions_move_and_never_what_refuses(
    old: str, place: str, changes: dict[str, str | None], due: set[str]
) -> None:
    assert rules(changes, {**PROJECT, **tree({place: old})}) == due


@pytest.mark.parametrize(
    ("old", "new", "due"),
    [
        ("import os\nos.environ.setdefault('A', 'b')\n", "import os\nos.environ.setdefault('A', 'b')\n", set()),
        ("import flask\nflask.json.x = 1\n", "import json\njson.encoder.FLOAT_REPR = str\n", set()),
        ("import flask\nflask.json.x = 1\n", "import os\nos.environ['A'] = 'b'\n", {"reaches"}),
        ("import os\nos.environ['A'] = 'b'\n", "import json\njson.encoder.FLOAT_REPR = str\n", {"reaches"}),
        ("", "from flask import g, session\n\n\ndef f(u):\n    g.user = u\n    session.permanent = True\n", set()),
        ("", "from django.contrib import admin\nadmin.site.site_header = 'Shop'\n", set()),
        ("", "import flask\nflask.Flask.run = print\n", {"reaches"}),
    ],
)
def test_what_base_does_of_this_kind_is_no_new_power(old: str, new: str, due: set[str]) -> None:
    assert rules({"shop/new.py": new}, {**PROJECT, **tree({"shop/old.py": old})}) == due


def test_the_tests_of_a_django_app_are_tests() -> None:
    code = "import unittest\n\n\nclass T(unittest.TestCase):\n    pass\n"
    changed = {**PROJECT, **tree({"polls/tests.py": code})}
    assert not [
        one for one in change_findings(prepared(), attempt(changed), PROJECT, changed) if one.severity != "note"
    ]
