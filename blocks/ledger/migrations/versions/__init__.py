"""Expand only: a version adds; what older code reads stays."""
