"""Stores: bytes by their SHA-256 digest. One file a place."""

from blocks.stores.local import LocalStore
from blocks.stores.s3 import S3Store

__all__ = ["LocalStore", "S3Store"]
