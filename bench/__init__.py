"""Benchmarks: each file measures one thing, and most write a page of docs/ (`make bench`)."""
