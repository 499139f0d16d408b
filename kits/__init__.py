"""Test kits that users of Lockgate share: servers on loopback that behave as the real ones do.

They import `domain` alone, so that a kit never tests a client with that client's own code.
"""
