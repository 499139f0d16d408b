"""Search over the products of a small furniture shop."""

__version__ = "1.4.0"
