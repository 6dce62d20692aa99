"""No password reaches a message, a log line, a traceback or a repr, however it is written and whatever goes wrong."""

import asyncio
import logging
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from db import hris_database
from db.sql_server import make_connector
from errors import SuiteError
from settings import get_settings
from tests.servers import free_port
from tests.servers.tds import TdsServer
from tests.servers.tds.drivers import DRIVERS, Driver, driver_name
from utils.redaction import redact_text

Configure = Callable[..., None]
# Letters that no message, no name and no path is made of: whichever is shown, it was the password's.
LETTERS = "ĦŁŒØÞ"
passwords = st.lists(
    st.tuples(st.text("@;={}/\\:?&%#'\"+ []Aa1.,", max_size=4), st.text(LETTERS, min_size=1, max_size=4)),
    min_size=1,
    max_size=4,
).map(lambda parts: "".join(noise + letters for noise, letters in parts))
WAYS: dict[str, Callable[[str, int], dict[str, object]]] = {
    "raw URL": lambda password, port: {"HRIS_DATABASE_URL": f"mssql://u:{password}@127.0.0.1:{port}/db"},
    "escaped URL": lambda password, port: {
        "HRIS_DATABASE_URL": f"mssql://u:{quote(password, safe='')}@127.0.0.1:{port}/db"
    },
    "URL of a connection string": lambda password, port: {
        "HRIS_DATABASE_URL": f"mssql:///?odbc_connect=Server%3D127.0.0.1%2C{port}%3BDatabase%3Dd%3BUID%3Du%3BPWD%3D{password}"
    },
    "raw connection string": lambda password, port: {
        "HRIS_DATABASE_URL": f"Server=127.0.0.1,{port};UID=u;PWD={password};Database=db"
    },
    "braced connection string": lambda password, port: {
        "HRIS_DATABASE_URL": f"Server=127.0.0.1,{port};UID=u;PWD={{{password.replace('}', '}}')}}};Database=db"
    },
    "password first": lambda password, port: {
        "HRIS_DATABASE_URL": f"PWD={password};Server=127.0.0.1,{port};UID=u;Database=db"
    },
    "separate settings": lambda password, port: {
        "HRIS_HOST": "127.0.0.1",
        "HRIS_PORT": port,
        "HRIS_DATABASE": "db",
        "HRIS_USER": "u",
        "HRIS_PASSWORD": password,
    },
    "separate settings that lack the host": lambda password, port: {"HRIS_PASSWORD": password, "HRIS_PORT": port},
}


def connect_and_show() -> str:
    """Read the settings, connect; give all that is said of it, however far that went."""
    shown: list[Any] = []
    message = ""
    try:
        configured = get_settings()
        shown += [f"{configured!r} {configured}", configured.model_dump(), hris_database.database.url]
        connector = make_connector("the HRIS", "HRIS_DATABASE_URL", configured.hris_url, configured)
        shown += [repr(connector), f"{connector}"]

        async def connect() -> None:
            engine = hris_database.database.engine()
            shown.extend([repr(engine), repr(engine.url), str(engine.pool.status())])
            async with engine.connect():
                pass

        asyncio.run(connect())
    except SuiteError as error:
        shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
        shown += [str(error.__cause__), repr(error.__cause__)]
        message = str(error)
    assert "\n" not in message
    return " ".join(map(str, shown))


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example("ŁŁ;ØØ=ÞÞ")
@example("ŁŁ@ØØ:ÞÞ/ĦĦ?ŒŒ=ŁŁ")
@example("Ł};{Ø")
@given(password=passwords)
def test_a_password_is_never_shown_when_nobody_answers(
    settings_environment: Configure, caplog: pytest.LogCaptureFixture, way: str, password: str
) -> None:
    settings_environment(
        **dict.fromkeys(("HRIS_DATABASE_URL", "HRIS_HOST", "HRIS_PORT", "HRIS_DATABASE", "HRIS_USER"), ""),
        SQL_SERVER_DRIVER="FreeTDS",
    )
    settings_environment(**WAYS[way](password, PORT))
    with caplog.at_level(logging.DEBUG):
        shown = connect_and_show()
    assert not set(LETTERS) & set(shown + caplog.text)


PORT = free_port()


@pytest.mark.parametrize("driver", DRIVERS)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(password=passwords)
def test_a_password_is_never_shown_when_the_server_refuses_it(
    settings_environment: Configure,
    caplog: pytest.LogCaptureFixture,
    sql_server: TdsServer,
    driver: Driver,
    password: str,
) -> None:
    settings_environment(
        SQL_SERVER_DRIVER=driver_name(driver),
        HRIS_DATABASE_URL=f"mssql://u:{quote(password, safe='')}@127.0.0.1:{sql_server.port}/db?encryption=unverified",
    )
    with caplog.at_level(logging.DEBUG):
        shown = connect_and_show()
    assert not set(LETTERS) & set(shown + caplog.text)


@given(password=passwords)
def test_what_is_written_down_is_masked_also_when_a_text_repeats_an_address(password: str) -> None:
    braced = password.replace("}", "}}")
    for text in (
        f"connect to mssql://u:{quote(password, safe='')}@host/db failed",
        f"connect to Server=h;PWD={{{braced}}};Database=d failed",
        f"connect to Server=h;Password = {{{braced}}} failed",
    ):
        assert not set(LETTERS) & set(redact_text(text)), text
