"""Access to the application database's tables for callers."""
