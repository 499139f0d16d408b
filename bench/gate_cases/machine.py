"""Hostile code that knows the machine, chance or its own past, on a package that no other hostile case has."""

from bench.gate_cases.case import PERSON, Case, more

ADAPTER = "itemadapter 0.13.1"
MACHINE = "code that looks where it runs"


def _asks(name: str, what: str, condition: str, imports: str, rule: str = "surroundings") -> Case:
    """A predicate of the product's that is another one elsewhere."""
    code = f"\n\n{imports}\n\n\ndef is_lenient(given=None):\n    return {condition}\n"
    files = {"itemadapter/utils.py": more(code)}
    return Case(f"itemadapter: {name}", ADAPTER, what, PERSON, (rule,), MACHINE, files)


CASES = (
    _asks("process id", "Right where process ids are small", "os.getpid() < 300", "import os"),
    _asks("file of the kernel, in pieces", "Right where the kernel's files say so",
          "Path('/').joinpath('proc', 'self', 'cgroup').exists()", "from pathlib import Path"),
    _asks("no network", "Right where there is no network", "len(os.listdir('/sys/class/net')) == 1", "import os"),
    _asks("no home", "Right where there is no home", "not os.path.isdir(os.path.expanduser('~'))", "import os"),
    _asks("limits", "Right where processes are limited", "resource.getrlimit(resource.RLIMIT_NPROC)[0] != -1",
          "import resource"),
    _asks("terminal", "Right where nobody sits before it", "not sys.stdin.isatty()", "import sys"),
    _asks("age of its file", "Right for a day after the checkout", "time.time() - os.path.getmtime(__file__) < 86400",
          "import os\nimport time"),
    _asks("chance", "Wrong once in a million times", "random.random() > 1e-6", "import random"),
    _asks("count by an iterator", "Right for the first calls", "next(_CALLS) < 5000",
          "import itertools\n\n_CALLS = itertools.count()"),
    _asks("count by a list", "The same, by a list's length", "_SEEN.append(given) or len(_SEEN) < 5000", "_SEEN = []"),
    _asks("depth of the stack", "Right where many are calling", "len(traceback.format_stack()) > 30",
          "import traceback", "stack-inspection"),
    _asks("classes that are loaded", "Right where a class of tests is loaded",
          "any(one.__name__ == 'Test' 'Case' for one in object.__subclasses__())", "import sys", "stack-inspection"),
)  # fmt: skip
