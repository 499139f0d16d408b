"""Forges: where repositories live. The platform reads and writes them through a bare mirror that it owns.

`git.py` runs git with nobody's configuration, `places.py` reads repository strings, `mirror.py` is the platform's bare
repository, and each forge is one file on top of them.
"""

from blocks.forges.local import LocalForge

__all__ = ["LocalForge"]
