"""The ODBC drivers that the tests run on, and how each is told where the server is, without code of the suite."""

from pathlib import Path
from typing import Literal, get_args

import mssql_python_odbc  # type: ignore[import-untyped]  # the package has no types
from sqlalchemy import URL

from tests.servers.process import ServerError
from tests.servers.tds.server import TdsServer

Driver = Literal["freetds", "microsoft"]
DRIVERS: tuple[Driver, ...] = get_args(Driver)


def driver_name(driver: Driver) -> str:
    """Give what `DRIVER=` takes: FreeTDS is known to unixODBC, Microsoft's driver is a file of its package.

    Raises:
        ServerError: The package has no driver for this system.
    """
    if driver == "freetds":
        return "FreeTDS"
    pattern = "linux/debian_ubuntu/*/lib/libmsodbcsql-18*.so*"
    found = next(Path(mssql_python_odbc.get_libs_dir()).glob(pattern), None)
    if found is None:
        raise ServerError(f"the package mssql-python-odbc holds no {pattern}: install its wheel for this machine")
    return str(found)


def connection_string(
    server: TdsServer, driver: Driver, database: str, *, encrypted: bool = True, **replaced: str
) -> str:
    """Give an ODBC connection string to a database of the server.

    Args:
        server: The server.
        driver: Which driver.
        database: The database.
        encrypted: Whether the connection is; the certificate is not checked.
        replaced: Other values for keywords of the string.
    """
    parts = {"DRIVER": driver_name(driver), "DATABASE": database, "UID": server.user, "PWD": f"{{{server.password}}}"}
    if driver == "freetds":
        parts |= {"SERVER": "127.0.0.1", "PORT": str(server.port), "TDS_Version": "7.4", "ClientCharset": "UTF-8"}
        parts["Encryption"] = "require" if encrypted else "off"
    else:
        parts |= {"SERVER": f"127.0.0.1,{server.port}", "TrustServerCertificate": "yes"}
        parts["Encrypt"] = "yes" if encrypted else "no"
    return ";".join(f"{name}={value}" for name, value in (parts | replaced).items())


def database_url(server: TdsServer, driver: Driver, database: str, **options: str) -> str:
    """Give a URL for the suite's settings; the connection is encrypted, the certificate is not checked.

    Args:
        server: The server.
        driver: Which driver.
        database: The database.
        options: What else stands in the URL's query.
    """
    url = URL.create(
        "mssql",
        username=server.user,
        password=server.password,
        host="127.0.0.1",
        port=server.port,
        database=database,
        query={"driver": driver_name(driver), "encryption": "unverified"} | options,
    )
    return url.render_as_string(hide_password=False)
