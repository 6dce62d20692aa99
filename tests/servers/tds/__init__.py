"""A small SQL Server: it speaks TDS 7.4 to real ODBC drivers, answers from SQLite and misbehaves on command."""

from tests.servers.tds.server import TdsServer, tds_server

__all__ = ["TdsServer", "tds_server"]
