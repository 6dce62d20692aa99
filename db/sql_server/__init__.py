"""Connections to Microsoft SQL Server: drivers, connection strings, what their errors mean.

Nothing of ODBC is loaded before a SQL Server is used: whoever has none needs no unixODBC.
"""

from typing import TYPE_CHECKING

from sqlalchemy import URL

from errors import SettingsError
from settings import Settings

if TYPE_CHECKING:
    from db.sql_server.connection import Connector


def make_connector(name: str, setting: str, url: URL, settings: Settings) -> "Connector":
    """Find the driver and write what it needs to connect. Nothing is connected.

    Args:
        name: What messages call the database.
        setting: The setting that holds its address, for messages.
        url: A URL as `database_urls.parse_database_url` makes it.
        settings: The driver to use, the timeouts, and where FreeTDS's file may be written.

    Raises:
        SettingsError: unixODBC or the driver is not there, or cannot do what the URL asks for.
    """
    try:
        from db.sql_server.connection import write_connector
    except ImportError as error:
        raise SettingsError(
            f"{setting}: {name} is a SQL Server, which is reached through unixODBC, and that cannot be loaded "
            f"({error}). Install it, on Debian with `apt-get install unixodbc`"
        ) from error
    return write_connector(name, setting, url, settings)
