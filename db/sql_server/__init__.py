"""Connections to Microsoft SQL Server: drivers, connection strings, what their errors mean."""
