"""Databases: engines, tables, migrations."""
