"""Settings are read once, from the environment and `.env`; a wrong one is named, and a secret never shown."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from errors import SettingsError
from scripts.document_settings import rendered_files
from settings import REPOSITORY, Settings, get_settings, load_settings

PARTS = ("HOST", "PORT", "DATABASE", "USER", "PASSWORD")


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("MARIA_DATABASE_URL", "s3cret", "is not a database URL"),
        ("MARIA_DATABASE_URL", "mysql://hr:s3cret@host:s3cret/hr", "is not a database URL"),
        (
            "HRIS_DATABASE_URL",
            "oracle://hr:s3cret@host/hr",
            "names the database 'oracle'; supported are mysql, mariadb",
        ),
        ("BIOSTAR_DATABASE_URL", "://s3cret", "is not a database URL"),
        ("SITE_TIMEZONE", "Africa/Kairo", "'Africa/Kairo' is not a time zone"),
        ("REPLICATION_CHUNK_ROWS", "many", "valid integer"),
        ("REPLICATION_CHUNK_ROWS", "0", "greater than or equal to 100"),
        ("REPLICATION_MAX_DEACTIVATED_SHARE", "1.5", "less than or equal to 1"),
        ("REPLICATION_MAX_REJECTED_SHARE", "-0.1", "greater than or equal to 0"),
        ("MAIL_URL", "http://mail:s3cret@host", "is not a mail server's URL"),
        ("MAIL_URL", "smtp://hr:s3cret@host:s3cret", "is not a mail server's URL"),
        ("MAIL_URL", "smtp://hr:s3cret@mail.example.org", "unencrypted"),
        ("MAIL_FROM", "the HR department", "neither an address nor a name"),
        ("MAIL_LOCALE", "fr", "Input should be 'en' or 'ar'"),
        ("MAIL_LOCALES", "{", "is not JSON"),
        ("MAIL_LOCALES", '{"sara": "ar"}', "keys are addresses or domains"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_wrong_and_an_example(
    settings_environment: Callable[..., None], name: str, value: str, problem: str
) -> None:
    settings_environment(**{name: value})
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    message = str(refusal.value)
    assert message.startswith(f"{name}: ")
    assert problem in message
    assert f"for example {name}=" in message
    if "s3cret" in value:
        assert "s3cret" not in message
    else:
        assert value in message


def test_all_wrong_values_are_told_at_once(settings_environment: Callable[..., None]) -> None:
    settings_environment(SITE_TIMEZONE="Mars", REPLICATION_CHUNK_ROWS="x")
    with pytest.raises(SettingsError, match=r"SITE_TIMEZONE: (.|\n)*REPLICATION_CHUNK_ROWS: "):
        get_settings()


@pytest.mark.parametrize(
    ("written", "driver"),
    [
        ("mysql://hr:s3cret@host/hr", "mysql+aiomysql"),
        ("mariadb+pymysql://hr:s3cret@host/hr", "mysql+aiomysql"),
        ("mysql+aiomysql://hr:s3cret@host/hr?charset=utf8mb4", "mysql+aiomysql"),
        ("mssql+pyodbc://hr:s3cret@host/HMIS-AMH?driver=FreeTDS", "mssql+aioodbc"),
        ("sqlite:///file.sqlite3", "sqlite+aiosqlite"),
    ],
)
def test_every_url_that_sqlalchemy_writes_gets_its_asynchronous_driver(
    settings_environment: Callable[..., None], written: str, driver: str
) -> None:
    settings_environment(MARIA_DATABASE_URL=written)
    url = get_settings().maria_url
    assert url.drivername == driver
    if url.host:
        assert (url.username, url.password, url.host) == ("hr", "s3cret", "host")


def test_secrets_are_never_shown(settings_environment: Callable[..., None]) -> None:
    urls = {name: f"mysql://hr:s3cret@host/{name}" for name in ("MARIA_DATABASE_URL", "HRIS_DATABASE_URL")}
    settings_environment(**urls)
    settings = get_settings()
    assert "s3cret" not in f"{settings!r} {settings} {settings.maria_url} {settings.model_dump()}"
    assert "s3cret" in settings.maria_url.render_as_string(hide_password=False)


def test_with_nothing_configured_the_databases_are_files_below_data_dir(
    settings_environment: Callable[..., None],
) -> None:
    settings_environment(DATA_DIR="/somewhere")
    settings = get_settings()
    databases = [url.database for url in (settings.maria_url, settings.hris_url, settings.biostar_url)]
    assert databases == ["/somewhere/app.sqlite3", "/somewhere/hris.sqlite3", "/somewhere/biostar.sqlite3"]


def test_dotenv_is_read_and_the_environment_wins_over_it(
    settings_environment: Callable[..., None], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("REPLICATION_CHUNK_ROWS=500\nSITE_TIMEZONE=Asia/Riyadh\nOTHER_PROGRAM=1\n")
    settings_environment(SITE_TIMEZONE=" UTC ", REPLICATION_MAX_REJECTED_SHARE="")
    settings = get_settings()
    assert settings.replication_chunk_rows == 500
    assert settings.site_timezone == "UTC"
    assert settings.replication_max_rejected_share == 0.05


def test_settings_are_read_once_and_cannot_be_changed(settings_environment: Callable[..., None]) -> None:
    settings = get_settings()
    assert get_settings() is settings
    with pytest.raises(ValidationError, match="frozen"):
        settings.site_timezone = "UTC"  # type: ignore[misc]


def test_importing_the_databases_reads_no_setting_and_opens_no_file(tmp_path: Path) -> None:
    script = "import db.maria_database, db.hris_database, db.biostar_database, settings\n"
    script += "assert settings.get_settings.cache_info().currsize == 0"
    environment = {"DATA_DIR": str(tmp_path / "data"), "SITE_TIMEZONE": "not one"}
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, env=environment, check=True)
    assert not (tmp_path / "data").exists()


def test_every_setting_is_described_and_has_an_example() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.examples, name


def test_every_example_is_a_value_that_is_taken(settings_environment: Callable[..., None]) -> None:
    examples = {name.upper(): (field.examples or [""])[0] for name, field in Settings.model_fields.items()}
    urls = {name: examples.pop(name) for name in ("HRIS_DATABASE_URL", "BIOSTAR_DATABASE_URL")}
    settings_environment(**examples)
    separate = load_settings()
    assert separate.hris_url.render_as_string(hide_password=False) == (
        "mssql+aioodbc://reader:password@hris.example.org:1433/HMIS-AMH"
        "?ca_file=%2Fetc%2Fhr-flows%2Fauthority.pem&encryption=verified"
    )
    settings_environment(**urls | dict.fromkeys((f"HRIS_{part}" for part in PARTS), ""))
    settings_environment(**dict.fromkeys((f"BIOSTAR_{part}" for part in PARTS), ""))
    together = load_settings()
    assert (together.biostar_url.port, together.biostar_url.password) == (1433, "pass;word")


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            {"HRIS_DATABASE_URL": "mssql://u:s3cret@host/db", "HRIS_HOST": "host"},
            "HRIS_HOST: stands beside HRIS_DATABASE_URL",
        ),
        ({"BIOSTAR_USER": "u", "BIOSTAR_PASSWORD": "s3cret"}, "BIOSTAR_USER: needs BIOSTAR_HOST and BIOSTAR_DATABASE"),
        (
            {"HRIS_DATABASE_URL": "mssql://u:s3cret@host/db?Encrypt=no", "HRIS_ENCRYPTION": "verified"},
            "HRIS_ENCRYPTION: is not what HRIS_DATABASE_URL says",
        ),
        ({"HRIS_HOST": "host,1433", "HRIS_DATABASE": "db"}, "HRIS_HOST: 'host,1433' is not a server's name"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    settings_environment: Callable[..., None], variables: dict[str, str], problem: str
) -> None:
    settings_environment(**variables)
    with pytest.raises(SettingsError) as refusal:
        load_settings()
    assert str(refusal.value).startswith(problem)
    assert "s3cret" not in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("path", rendered_files(), ids=lambda path: path.name)
def test_the_files_made_from_the_settings_are_current(path: Path) -> None:
    assert path.read_text() == rendered_files()[path], "run `python scripts/document_settings.py`"
