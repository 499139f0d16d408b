"""Vocabulary and rules of Lockgate: frozen values and pure functions. No I/O, no vendor packages, no clocks."""
