"""Stores: bytes by their SHA-256 digest. One file a place."""

from blocks.stores.local import LocalStore

__all__ = ["LocalStore"]
