"""Artifacts: what a commit is released as, built once, with the list of what is in it and a signed statement.

Nothing of the tree or its toolchain runs here, and nothing is fetched: files that lie there become tars.
"""
