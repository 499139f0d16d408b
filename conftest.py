"""Plugins of the whole test suite."""

pytest_plugins = ["tests.sharing", "tests.made_once", "tests.postgres"]
