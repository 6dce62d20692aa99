"""Measurements of the suite against what it replaces and what it could have been built on."""
