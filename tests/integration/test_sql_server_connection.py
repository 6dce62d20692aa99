"""Connecting to SQL Server with both drivers: who is believed, what is encrypted, what is asked of the server."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text

from db import hris_database
from db.sql_server import drivers
from errors import EncryptionRefused, SettingsError, SuiteError
from settings import REPOSITORY, get_settings
from tests.servers import free_port
from tests.servers.tds import TdsServer, tds_server
from tests.servers.tds.drivers import DRIVERS, Driver, driver_name

Configure = Callable[..., None]
DATABASE = "HMIS-AMH"
ODD_PASSWORDS = [
    *(
        "semi;colon",
        "{braced",
        "{braced}",
        "brace}inside",
        "both}};",
        "a=b",
        " spaces ",
        "%41@:/?#",
        "\u0633\u0631",
        "'\"",
        "}",
    ),
    *("a;DRIVER=x;PWD=y", "x" * 128),
]


@pytest.fixture(scope="module")
def server(sql_server: TdsServer) -> TdsServer:
    sql_server.create_database(DATABASE)
    return sql_server


@pytest.fixture(scope="module")
def strict_server() -> Iterator[TdsServer]:
    """An endpoint with an account for each odd password."""
    accounts = [("--account", f"user{number}", password) for number, password in enumerate(ODD_PASSWORDS)]
    with tds_server(*(word for account in accounts for word in account)) as server:
        yield server


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    name: Driver = request.param
    return name


@pytest.fixture
def configure(
    server: TdsServer, driver: Driver, settings_environment: Configure, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Configure]:
    """Set the HRIS's separate settings; the driver trusts the server's authority unless told otherwise."""
    trusted = {"HRIS_CA_FILE": str(server.authority)} if driver == "freetds" else {}

    def configure(*, trusting: bool = True, **variables: object) -> None:
        if driver == "microsoft":
            monkeypatch.setenv("SSL_CERT_FILE", str(server.authority) if trusting else "/dev/null")
        given = {
            "SQL_SERVER_DRIVER": driver_name(driver),
            "HRIS_HOST": "localhost",
            "HRIS_PORT": server.port,
            "HRIS_DATABASE": DATABASE,
            "HRIS_USER": server.user,
            "HRIS_PASSWORD": server.password,
        }
        settings_environment(**given | (trusted if trusting else {}) | variables)

    yield configure
    server.behave()


async def ask(statement: str = "SELECT 1") -> Any:
    """Ask the HRIS on a new connection."""
    async with hris_database.database.engine().connect() as connection:
        return (await connection.execute(text(statement))).scalar()


async def look(server: TdsServer) -> dict[str, Any]:
    """Give how the endpoint sees a connection of ours."""
    async with hris_database.database.engine().connect() as connection:
        await connection.execute(text("SELECT 1"))
        return next(each for each in server.sessions() if each["application"] == "hr-flows")


def test_by_default_a_connection_is_encrypted_checked_and_only_reads(configure: Configure, server: TdsServer) -> None:
    configure()
    seen = asyncio.run(look(server))
    assert seen == {"database": DATABASE, "application": "hr-flows", "encrypted": True, "read_only_intent": True}
    assert "SET TRANSACTION ISOLATION LEVEL READ COMMITTED" in server.statements()


async def test_many_rows_are_never_handed_to_the_driver_at_once_which_crashes_freetds(configure: Configure) -> None:
    configure()
    dialect: Any = hris_database.database.engine().dialect
    assert dialect.fast_executemany is False


@pytest.mark.parametrize("encryption", ["verified", "unverified", "off"])
def test_a_stranger_with_a_certificate_is_let_in_only_where_nobody_checks(
    configure: Configure, server: TdsServer, encryption: str
) -> None:
    configure(trusting=False, HRIS_ENCRYPTION=encryption)
    if encryption == "verified":
        with pytest.raises(SuiteError, match=r"HRIS_CA_FILE and HRIS_ENCRYPTION") as refusal:
            asyncio.run(ask())
        assert "\n" not in str(refusal.value)
    else:
        assert asyncio.run(look(server))["encrypted"] is (encryption == "unverified")


def test_a_certificate_for_another_name_is_refused(configure: Configure) -> None:
    configure(HRIS_HOST="127.1")
    with pytest.raises(SuiteError, match=r"docs/sql-server\.md"):
        asyncio.run(ask())


def test_microsofts_driver_tells_why_it_does_not_trust(configure: Configure, driver: Driver) -> None:
    if driver != "microsoft":
        pytest.skip("FreeTDS gives no reason")
    configure(trusting=False)
    with pytest.raises(EncryptionRefused, match="certificate verify failed"):
        asyncio.run(ask())


def test_switching_encryption_off_is_warned_about(configure: Configure, caplog: pytest.LogCaptureFixture) -> None:
    configure(HRIS_ENCRYPTION="off")
    with caplog.at_level(logging.WARNING):
        asyncio.run(ask())
    assert "the HRIS is read without encryption" in caplog.text
    assert "HRIS_ENCRYPTION=verified" in caplog.text


def test_url_and_connection_string_lead_to_the_same_place(
    settings_environment: Configure, configure: Configure, server: TdsServer, driver: Driver
) -> None:
    password = quote(server.password, safe="")
    written = [
        f"mssql://{server.user}:{password}@localhost:{server.port}/{DATABASE}",
        f"Server=localhost,{server.port};Database={DATABASE};UID={server.user};PWD={{{server.password}}}",
        f"Driver={{{driver_name(driver)}}};Server=tcp:localhost,{server.port};Database={{{DATABASE}}};"
        f"UID={server.user};PWD={{{server.password}}};Encrypt=yes;ApplicationIntent=ReadWrite",
    ]
    parts = ("HOST", "PORT", "DATABASE", "USER", "PASSWORD")
    configure(**{f"HRIS_{part}": "" for part in parts})
    seen = []
    for text_ in written:
        settings_environment(HRIS_DATABASE_URL=text_)
        seen.append(asyncio.run(look(server)))
    assert [each["database"] for each in seen] == [DATABASE] * 3
    assert [each["encrypted"] for each in seen] == [True] * 3
    assert [each["read_only_intent"] for each in seen] == [True, True, False]


def test_the_isolation_is_as_configured(configure: Configure, server: TdsServer) -> None:
    configure(SQL_SERVER_ISOLATION="snapshot")
    asyncio.run(ask())
    assert "SET TRANSACTION ISOLATION LEVEL SNAPSHOT" in server.statements()


def test_any_password_arrives_as_it_is(
    settings_environment: Configure, strict_server: TdsServer, driver: Driver
) -> None:
    for number, password in enumerate(ODD_PASSWORDS):
        if driver == "freetds" and "};" in password:
            continue
        address = f"user{number}:{quote(password, safe='')}@localhost:{strict_server.port}/master"
        settings_environment(
            SQL_SERVER_DRIVER=driver_name(driver), HRIS_DATABASE_URL=f"mssql://{address}?encryption=unverified"
        )
        assert asyncio.run(ask()) == 1, password


def test_a_driver_is_looked_for_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = drivers.find_wheel_library()
    assert wheel is not None
    known: list[str] = []
    monkeypatch.setattr("pyodbc.drivers", lambda: known)

    known[:] = ["FreeTDS", drivers.MICROSOFT_DRIVER]
    assert drivers.find_driver(None) == drivers.Driver(drivers.DriverKind.MICROSOFT, drivers.MICROSOFT_DRIVER)
    known[:] = ["FreeTDS"]
    assert drivers.find_driver(None).name == str(wheel)
    assert drivers.find_driver(drivers.MICROSOFT_DRIVER).name == str(wheel)
    assert drivers.find_driver("freetds") == drivers.Driver(drivers.DriverKind.FREETDS, "FreeTDS")
    monkeypatch.setattr(drivers, "find_wheel_library", lambda: None)
    assert drivers.find_driver(None).name == "FreeTDS"
    known.clear()
    with pytest.raises(SettingsError, match=r"no ODBC driver .*msodbcsql18.* mssql-python-odbc.* tdsodbc"):
        drivers.find_driver(None)
    with pytest.raises(SettingsError, match=r"SQL_SERVER_DRIVER: unixODBC knows no driver 'FreeTDS', it knows none"):
        drivers.find_driver("FreeTDS")
    with pytest.raises(SettingsError, match=r"no file '/no/libtdsodbc.so'"):
        drivers.find_driver("/no/libtdsodbc.so")
    with pytest.raises(SettingsError, match=r"'PostgreSQL' is neither Microsoft's driver nor FreeTDS"):
        drivers.find_driver("PostgreSQL")


def test_a_library_that_is_no_driver_is_a_matter_of_the_settings(configure: Configure, tmp_path: Path) -> None:
    library = tmp_path / "libtdsodbc.so"
    library.write_text("not a library")
    configure(SQL_SERVER_DRIVER=library, HRIS_CA_FILE="")
    with pytest.raises(SettingsError, match=r"the ODBC driver for the HRIS cannot be loaded.*SQL_SERVER_DRIVER"):
        asyncio.run(ask())


def test_what_a_driver_cannot_do_is_refused_before_anything_is_sent(
    configure: Configure, driver: Driver, server: TdsServer, settings_environment: Configure
) -> None:
    refused: dict[Driver, list[dict[str, object]]] = {
        "microsoft": [{"HRIS_CA_FILE": server.authority}],
        "freetds": [{"HRIS_ENCRYPTION": "strict"}, {"HRIS_CA_FILE": "/no/such.pem"}, {"HRIS_PASSWORD": "a};b"}],
    }
    for variables in refused[driver]:
        configure()
        configure(**variables)
        with pytest.raises(SettingsError, match=r"^HRIS_(DATABASE_URL|CA_FILE): ") as refusal:
            asyncio.run(ask())
        assert "a};b" not in str(refusal.value)
        settings_environment(**dict.fromkeys(variables, ""))


def test_without_unixodbc_the_package_to_install_is_told(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    configure()
    monkeypatch.setitem(sys.modules, "db.sql_server.connection", None)
    with pytest.raises(SettingsError, match=r"HRIS_DATABASE_URL: .* unixODBC.*apt-get install unixodbc"):
        asyncio.run(ask())


def test_who_reads_no_sql_server_does_not_need_unixodbc() -> None:
    script = "import sys; sys.modules['pyodbc'] = None; import db.hris_database, doctor.command, flows.hris"
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)


def test_a_folder_that_cannot_be_written_is_told(configure: Configure, driver: Driver, tmp_path: Path) -> None:
    if driver != "freetds":
        pytest.skip("only FreeTDS needs a file")
    (tmp_path / "file").touch()
    configure(DATA_DIR=tmp_path / "file")
    with pytest.raises(SettingsError, match=r"DATA_DIR: the file that FreeTDS needs cannot be written"):
        asyncio.run(ask())


def test_nothing_listens(configure: Configure) -> None:
    port = free_port()
    configure(HRIS_PORT=port, SQL_SERVER_LOGIN_TIMEOUT=2)
    with pytest.raises(SuiteError, match=rf"cannot connect to the HRIS 'HMIS-AMH' at localhost:{port} as 'hr_reader'"):
        asyncio.run(ask())
    assert get_settings().hris_port == port


def test_microsofts_driver_is_told_the_name_in_the_certificate_of_a_server_given_by_address(
    configure: Configure, server: TdsServer, driver: Driver
) -> None:
    if driver != "microsoft":
        pytest.skip("FreeTDS finds addresses in certificates")
    configure(HRIS_HOST="127.0.0.1")
    with pytest.raises(EncryptionRefused, match="subject name does not match host name"):
        asyncio.run(ask())
    address = f"{server.user}:{quote(server.password, safe='')}@127.0.0.1:{server.port}/{DATABASE}"
    no_parts = {f"HRIS_{part}": "" for part in ("HOST", "PORT", "DATABASE", "USER", "PASSWORD")}
    configure(**no_parts, HRIS_DATABASE_URL=f"mssql://{address}?HostNameInCertificate=localhost")
    assert asyncio.run(look(server))["encrypted"] is True
