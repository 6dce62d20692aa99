"""What people write for a database, a SQLAlchemy URL or an ODBC connection string, made into one kind of URL.

A text that cannot be used may hold a password anywhere, also where something else was meant (`PWD=a;b=c` without
braces, `user:a@b@host`). So no message here repeats any part of it but the kind of database.
"""

import re
from collections.abc import Iterator, Mapping

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

# What people write -> the asynchronous driver that the suite runs on.
ASYNC_DRIVERS = {
    "mysql": "mysql+aiomysql",
    "mariadb": "mysql+aiomysql",
    "mssql": "mssql+aioodbc",
    "sqlite": "sqlite+aiosqlite",
}
SQL_SERVER = "mssql"

# How a connection to SQL Server is encrypted. `strict`: TLS before anything else (TDS 8.0).
ENCRYPTIONS = ("verified", "strict", "unverified", "off")

# Keywords of ODBC connection strings that have a place of their own in a URL.
_PLACES = {
    "server": "server",
    "address": "server",
    "addr": "server",
    "port": "port",
    "database": "database",
    "uid": "user",
    "user": "user",
    "user id": "user",
    "pwd": "password",
    "password": "password",
}
_SECURITY = {"encrypt", "encryption", "trustservercertificate"}
# Options that are passed on to the ODBC driver, and the names by which it knows them. None of them holds a secret.
OPTIONS = {
    name.lower(): name
    for name in (
        "driver",
        "dsn",
        "ca_file",
        "APP",
        "ApplicationIntent",
        "Authentication",
        "ClientCharset",
        "ConnectRetryCount",
        "ConnectRetryInterval",
        "HostNameInCertificate",
        "IpAddressPreference",
        "KeepAlive",
        "KeepAliveInterval",
        "Language",
        "MARS_Connection",
        "MultiSubnetFailover",
        "PacketSize",
        "ServerSPN",
        "TDS_Version",
        "TextSize",
        "Trusted_Connection",
        "WSID",
    )
}
_SUPPORTED = ", ".join(
    ("Server", "Port", "Database", "UID", "PWD", "Encrypt", "TrustServerCertificate", *OPTIONS.values())
)
_HIDDEN = "(the text is not shown: it may hold a password)"
_CONNECTION_STRING = re.compile(r"[\s;]*[A-Za-z][\w ]*=")
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_ENCRYPT = {
    "yes": "verified",
    "true": "verified",
    "mandatory": "verified",
    "require": "verified",
    "verified": "verified",
    "unverified": "unverified",
    "strict": "strict",
    "no": "off",
    "false": "off",
    "optional": "off",
    "off": "off",
}
MAX_PORT = 65_535


def parse_database_url(text: str) -> URL:
    """Give the URL that a text stands for, with the asynchronous driver of its database.

    Args:
        text: A SQLAlchemy URL, or an ODBC connection string for SQL Server.

    Returns:
        The URL. Of SQL Server's it holds, beside address, account and database, only `OPTIONS` and `encryption`, one of
        `ENCRYPTIONS`, if the text says how to encrypt.

    Raises:
        ValueError: The text is neither, or asks for what is not supported. The message shows nothing of it.
    """
    if _CONNECTION_STRING.match(text):
        return _parse_connection_string(text)
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"is not a database URL {_HIDDEN}") from None
    if text.count("@") > 1:
        raise ValueError(f"holds more than one @: write those of a user name or password as %40 {_HIDDEN}")
    dialect = url.get_backend_name()
    if dialect not in ASYNC_DRIVERS:
        raise ValueError(f"names the database {dialect!r}; supported are {', '.join(ASYNC_DRIVERS)}")
    url = url.set(drivername=ASYNC_DRIVERS[dialect])
    return _normalize(url) if dialect == SQL_SERVER else url


def _parse_connection_string(text: str) -> URL:
    found: dict[str, str] = {}
    for keyword, value in _split(text):
        if keyword in found:
            raise ValueError(f"gives a keyword twice; put a password that holds a semicolon in braces {_HIDDEN}")
        found[keyword] = value
    places = {_PLACES[keyword]: found.pop(keyword) for keyword in list(found) if keyword in _PLACES}
    host, port = _split_server(places.get("server", ""))
    return _normalize(
        URL.create(
            ASYNC_DRIVERS[SQL_SERVER],
            username=places.get("user"),
            password=places.get("password"),
            host=host,
            port=_to_port(places["port"]) if "port" in places else port,
            database=places.get("database"),
            query=found,
        )
    )


def _split(text: str) -> Iterator[tuple[str, str]]:
    """Give keywords, in lower case, and values of a connection string; `{a;}}b}` is the value `a;}b`."""
    place = 0
    while rest := text[place:].strip("; \t\r\n"):
        place = text.index(rest, place)
        keyword, equals, value = rest.partition("=")
        if not equals or ";" in keyword:
            raise ValueError(f"is not an ODBC connection string: a keyword has no value {_HIDDEN}")
        place += len(keyword) + 1 + len(value) - len(value.lstrip())
        if value.lstrip().startswith("{"):
            braced = re.compile(r"\{((?:[^}]|\}\})*)\}\s*(?:;|$)").match(text, place)
            if braced is None:
                raise ValueError(f"is not an ODBC connection string: a brace is not closed {_HIDDEN}")
            place = braced.end()
            yield keyword.strip().lower(), braced[1].replace("}}", "}")
        else:
            value = text[place:].partition(";")[0]
            place += len(value) + 1
            yield keyword.strip().lower(), value.strip()


def _split_server(server: str) -> tuple[str | None, int | None]:
    """Give host (with `\\instance`) and port of `tcp:host\\instance,port`."""
    protocol, colon, rest = server.partition(":")
    if colon and protocol.lower() == "tcp":
        server = rest
    elif colon and protocol.lower() in {"np", "lpc", "admin"}:
        raise ValueError("names a protocol before the server that is not supported: only tcp: is")
    host, comma, port = server.partition(",")
    return host.strip() or None, _to_port(port) if comma else None


def _to_port(text: str) -> int:
    if not text.strip().isdecimal() or not 0 < int(text) <= MAX_PORT:
        raise ValueError(f"gives a port that is not a number from 1 to {MAX_PORT} {_HIDDEN}")
    return int(text)


def _normalize(url: URL) -> URL:
    """Bring the options of a URL of SQL Server to their one spelling."""
    given = {name.lower(): value for name, value in url.query.items()}
    if "odbc_connect" in given and isinstance(given["odbc_connect"], str):
        if url.host or len(given) > 1:
            raise ValueError(f"gives odbc_connect and something else: put all into the one or the other {_HIDDEN}")
        return _parse_connection_string(given["odbc_connect"])
    options: dict[str, str] = {}
    for name, value in given.items():
        if not isinstance(value, str) or len(given) != len(url.query):
            raise ValueError(f"gives an option twice {_HIDDEN}")
        if name in OPTIONS:
            options[OPTIONS[name]] = value
        elif name not in _SECURITY:
            raise ValueError(f"has an option that is not supported; supported are {_SUPPORTED} {_HIDDEN}")
    if encryption := _find_encryption(given):
        options["encryption"] = encryption
    if url.host and not url.database and not url.port and "dsn" not in options:
        # What SQLAlchemy makes of a host alone.
        options["dsn"] = url.host
        url = url._replace(host=None)
    _check_address(url, options)
    return url.set(query=options)


def _find_encryption(given: Mapping[str, object]) -> str | None:
    """Say how a connection shall be encrypted; None if the text leaves that open."""
    written = {str(given[name]).lower() for name in ("encrypt", "encryption") if name in given}
    trusted = str(given.get("trustservercertificate", "no")).lower()
    if len(written) > 1 or not written <= set(_ENCRYPT):
        raise ValueError(f"says in an unknown way how to encrypt: encryption is one of {', '.join(ENCRYPTIONS)}")
    if trusted not in _YES:
        raise ValueError("gives TrustServerCertificate a value that is neither yes nor no")
    encryption = _ENCRYPT[written.pop()] if written else None
    if _YES[trusted]:
        if encryption == "strict":
            raise ValueError("trusts any certificate and encrypts strictly, which always checks it: choose one")
        return "off" if encryption == "off" else "unverified"
    return encryption


def _check_address(url: URL, options: Mapping[str, str]) -> None:
    if "dsn" in options:
        if url.host:
            raise ValueError("names both a server and a data source (DSN): give one of them")
    elif not url.host or not url.database:
        raise ValueError("names no server or no database (mssql://user:password@server/database)")
    for part in (url.username, url.password, url.host, url.database, *options.values()):
        if part is not None and not str(part).isprintable():
            raise ValueError(f"holds a line break or another control character {_HIDDEN}")
