"""Environments that a repository's code runs in: made of wheels, read-only, never run on the host.

wheels.py is the block; requirements.py reads what may be asked for; npm.py unpacks packages for Node.
"""
