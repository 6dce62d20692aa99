"""The connection string that an ODBC driver is given, from a URL and the settings."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyodbc
from sqlalchemy import URL

from db.sql_server.drivers import Driver, DriverKind, find_driver
from db.sql_server.freetds_file import Server, describe_server
from db.sql_server.threaded_connection import ThreadedConnection
from errors import SettingsError
from settings import Settings

APPLICATION = "hr-flows"
READ_ONLY = "ReadOnly"
TDS_VERSION = "7.4"
SYSTEM_AUTHORITIES = "system"

# Options that a driver does not have.
_FOREIGN = {
    DriverKind.FREETDS: {
        "Authentication",
        "ConnectRetryCount",
        "ConnectRetryInterval",
        "HostNameInCertificate",
        "IpAddressPreference",
        "KeepAlive",
        "KeepAliveInterval",
        "MARS_Connection",
        "MultiSubnetFailover",
        "ServerSPN",
    },
    DriverKind.MICROSOFT: {"ca_file", "ClientCharset", "TDS_Version", "TextSize"},
}
_OURS = {"driver", "dsn", "encryption", "ca_file"}
_MICROSOFT_ENCRYPTION = {
    "verified": {"Encrypt": "yes", "TrustServerCertificate": "no"},
    "strict": {"Encrypt": "strict"},
    "unverified": {"Encrypt": "yes", "TrustServerCertificate": "yes"},
    # A server that insists on encryption gets it.
    "off": {"Encrypt": "no", "TrustServerCertificate": "yes"},
}

logger = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Connector:
    """How to connect to one database of SQL Server.

    Attributes:
        driver: The driver.
        encryption: One of `database_urls.ENCRYPTIONS`.
        connection_string: What the driver is given; it holds the password.
        login_timeout: Seconds that the server may take to let us in.
        statement_timeout: Seconds that it may take for one statement.
    """

    driver: Driver
    encryption: str
    connection_string: str
    login_timeout: int
    statement_timeout: int

    async def connect(self) -> ThreadedConnection:
        """Open a connection.

        Raises:
            pyodbc.Error: What the driver says.
        """
        connection = await ThreadedConnection(self.connection_string, self.login_timeout).open()
        connection.limit_statements(self.statement_timeout)
        return connection

    @contextmanager
    def hurried(self, connection: ThreadedConnection) -> Iterator[None]:
        """Give the server no longer for a statement than for a login: for a sign of life.

        A connection that a firewall has forgotten answers nothing at all, also not that it is closed.

        Args:
            connection: One that `connect` gave.
        """
        connection.limit_statements(self.login_timeout)
        try:
            yield
        finally:
            connection.limit_statements(self.statement_timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.driver!r}, {self.encryption!r})"


@dataclass(frozen=True, repr=False)
class _Target:
    """What a connection string is written for."""

    setting: str
    url: URL
    options: Mapping[str, str]
    driver: Driver
    encryption: str
    folder: Path


def write_connector(name: str, setting: str, url: URL, settings: Settings) -> Connector:
    """See `db.sql_server.make_connector`."""
    options = {option: str(value) for option, value in url.query.items()}
    encryption = options.get("encryption", "verified")
    driver = _choose_driver(options, setting, settings)
    if foreign := sorted(set(options) & _FOREIGN[driver.kind]):
        raise SettingsError(_explain_foreign(setting, driver, foreign[0]))
    _warn_of(name, setting, encryption)
    # unixODBC would keep closed connections open.
    pyodbc.pooling = False
    target = _Target(setting, url, options, driver, encryption, settings.data_dir)
    write = _write_for_microsoft if driver.kind is DriverKind.MICROSOFT else _write_for_freetds
    return Connector(
        driver,
        encryption,
        write(target),
        login_timeout=settings.sql_server_login_timeout,
        statement_timeout=settings.sql_server_statement_timeout,
    )


def _choose_driver(options: Mapping[str, str], setting: str, settings: Settings) -> Driver:
    if "driver" in options:
        return find_driver(options["driver"], setting)
    if (source := options.get("dsn")) is None:
        return find_driver(settings.sql_server_driver)
    known = pyodbc.dataSources()
    if source not in known:
        raise SettingsError(
            f"{setting}: unixODBC knows no data source of the name given, it knows {', '.join(known) or 'none'}. "
            "Correct it, or, if it is a server, give the database too (mssql://user:password@server/database)"
        )
    return find_driver(known[source], setting)


def _explain_foreign(setting: str, driver: Driver, option: str) -> str:
    if option == "ca_file":
        return (
            f"{setting}: a CA file is given, but Microsoft's driver trusts the system's authorities only. Add the "
            "certificate to them (on Debian: a .crt file in /usr/local/share/ca-certificates, then "
            "update-ca-certificates) and leave the CA file out, or set SQL_SERVER_DRIVER=FreeTDS"
        )
    return f"{setting}: {driver.kind.value} has no option {option}. Leave it out, or use the other driver"


def _warn_of(name: str, setting: str, encryption: str) -> None:
    danger = {
        "off": "is read without encryption: whoever is on the way to the server can read and change what it says",
        "unverified": "is read without a check of the server's certificate: whoever is on the way can take its place",
    }
    if encryption in danger:
        logger.warning("%s %s. Set %s_ENCRYPTION=verified", name, danger[encryption], setting.partition("_")[0])


def _write_for_microsoft(target: _Target) -> str:
    url = target.url
    if "dsn" in target.options:
        keywords = {"DSN": target.options["dsn"]}
    else:
        port = f",{url.port}" if url.port else ""
        keywords = {"DRIVER": target.driver.name, "SERVER": f"tcp:{url.host}{port}"}
    keywords |= _common_keywords(target) | _MICROSOFT_ENCRYPTION[target.encryption]
    return "".join(f"{keyword}={{{value.replace('}', '}}')}}};" for keyword, value in keywords.items())


def _write_for_freetds(target: _Target) -> str:
    if target.encryption == "strict":
        raise SettingsError(
            f"{target.setting}: FreeTDS cannot encrypt strictly. Use Microsoft's driver, or encryption=verified"
        )
    if "dsn" not in target.options:
        keywords = {"DRIVER": target.driver.name, "SERVERNAME": _describe(target)}
    elif target.encryption == "verified":
        raise SettingsError(
            f"{target.setting}: FreeTDS cannot be told to check the certificate of a data source. Give server and "
            "database in its place, or use Microsoft's driver"
        )
    else:
        encryption = "off" if target.encryption == "off" else "require"
        keywords = {"DSN": target.options["dsn"], "Encryption": encryption}
    keywords |= _common_keywords(target)
    return "".join(f"{keyword}={_quote_for_freetds(target, value)};" for keyword, value in keywords.items())


def _describe(target: _Target) -> str:
    try:
        return describe_server(_to_server(target), target.folder)
    except OSError as error:
        raise SettingsError(
            f"DATA_DIR: the file that FreeTDS needs cannot be written below {target.folder}: {error.strerror}. Set it "
            "to a folder that this process may write"
        ) from error


def _to_server(target: _Target) -> Server:
    host, _, instance = (target.url.host or "").partition("\\")
    return Server(
        host=host,
        # With a port, the instance need not be looked up.
        instance=None if target.url.port else instance or None,
        port=target.url.port,
        tds_version=target.options.get("TDS_Version", TDS_VERSION),
        encrypted=target.encryption != "off",
        authorities=_find_authorities(target) if target.encryption == "verified" else None,
    )


def _find_authorities(target: _Target) -> str:
    if (path := target.options.get("ca_file")) is None:
        return SYSTEM_AUTHORITIES
    if not path.isprintable() or not Path(path).is_file():
        name = f"{target.setting.partition('_')[0]}_CA_FILE"
        raise SettingsError(f"{name}: there is no file {path!r}. Correct its path, or leave it out")
    return str(Path(path).resolve())


def _common_keywords(target: _Target) -> dict[str, str]:
    url, options = target.url, target.options
    keywords = {"APP": APPLICATION, "ApplicationIntent": READ_ONLY}
    if url.database:
        keywords["DATABASE"] = url.database
    if url.username:
        keywords |= {"UID": url.username, "PWD": str(url.password or "")}
    elif not {"dsn", "Authentication"} & set(options):
        keywords["Trusted_Connection"] = "yes"
    return keywords | {option: value for option, value in options.items() if option not in _OURS}


def _quote_for_freetds(target: _Target, value: str) -> str:
    """Write a value so that FreeTDS reads it: it knows braces, but no way to write one inside of them."""
    if ";" not in value and not value.startswith("{"):
        return value
    if "};" in value:
        raise SettingsError(
            f"{target.setting}: FreeTDS cannot take a value, for example a password, that holds a closing brace and a "
            "semicolon after it. Use Microsoft's driver, or change the value"
        )
    return f"{{{value}}}"
