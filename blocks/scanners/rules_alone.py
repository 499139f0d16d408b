"""What runs in the process of the rules: started by its path, it imports the domain alone, no scanner and no Prefect.
It reads what is asked from its standard input, a file, and prints what the rules found."""

import json
import resource
import sys
from typing import BinaryIO

from domain.policy import change_findings
from domain.task import Attempt, Prepared
from domain.trees import Tree, TreeEntry


def read_tree(asked: BinaryIO) -> Tree:
    """One of the trees: a line with the number of its files, then of each a line about it and what it holds."""
    found: Tree = {}
    for _ in range(int(asked.readline())):
        path, mode, size = json.loads(asked.readline())
        found[path] = TreeEntry(mode, asked.read(size))
    return found


def answer(asked: BinaryIO) -> str:
    given = json.loads(asked.readline())
    base = read_tree(asked)
    gone = set(given["gone"])
    head = {path: entry for path, entry in base.items() if path not in gone} | read_tree(asked)
    prepared, attempt = Prepared.model_validate(given["prepared"]), Attempt.model_validate(given["attempt"])
    findings = change_findings(prepared, attempt, base, head)
    return json.dumps([finding.model_dump(mode="json") for finding in findings])


if __name__ == "__main__":
    memory_bytes, cpu_s = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    print(answer(sys.stdin.buffer))
