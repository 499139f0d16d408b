"""Forges: where repositories live. The platform reads and writes them through a bare mirror that it owns.

`git.py` runs git with nobody's configuration, `places.py` reads repository strings, `checkouts.py` looks at a person's
directory, `commits.py` is the commit as it is stored, `mirror.py` the platform's bare repository; each forge is one
file on top of them.
"""

from blocks.forges.local import LocalForge

__all__ = ["LocalForge"]
