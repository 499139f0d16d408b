"""Dependencies of Python and npm: what a change brings, checked against the registries before anything installs it.

`files.py` reads a tree, `asking.py` asks about what is new, `imports.py` compares imports with what is declared;
the rules are in `domain/policy/dependency_rules.py`.
"""

from blocks.scanners.dependencies.block import Dependencies

__all__ = ["Dependencies"]
