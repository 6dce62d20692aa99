"""Merging staged rows into the application's tables: an entity a module, a set a statement, all in one transaction."""
