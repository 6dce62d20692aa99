"""All settings of the suite, read once from the environment and `.env`, and nowhere else.

`get_settings()` gives the one frozen object. With nothing configured the three databases are SQLite files below
`DATA_DIR`.
"""

import json
from email.utils import parseaddr
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from errors import SettingsError

REPOSITORY = Path(__file__).resolve().parent

# What people write -> the asynchronous driver that the suite runs on.
ASYNC_DRIVERS = {
    "mysql": "mysql+aiomysql",
    "mariadb": "mysql+aiomysql",
    "mssql": "mssql+aioodbc",
    "sqlite": "sqlite+aiosqlite",
}


# How the connection to the mail server is encrypted: not at all, by STARTTLS, from the first byte.
MAIL_SCHEMES = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}


def _to_secret_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        url = make_url(value)
    except (ArgumentError, ValueError):
        raise ValueError("is not a database URL (the text is not shown: it may hold a password)") from None
    dialect = url.get_backend_name()
    if dialect not in ASYNC_DRIVERS:
        raise ValueError(f"names the database {dialect!r}; supported are {', '.join(ASYNC_DRIVERS)}")
    return SecretStr(url.set(drivername=ASYNC_DRIVERS[dialect]).render_as_string(hide_password=False))


def _check_timezone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is not a time zone of the IANA database")
    return name


def _check_prefect_api_url(address: str) -> str:
    if not (address.startswith(("http://", "https://")) and address.rstrip("/").endswith("/api")):
        raise ValueError(
            f"{address!r} is not the address of a Prefect server's API: http:// or https:// first, /api last"
        )
    return address.rstrip("/")


def _to_secret_mail_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a mail server's URL (the text is not shown: it may hold a password)") from None
    if parts.scheme not in MAIL_SCHEMES or not host:
        raise ValueError(
            f"is not a mail server's URL: it begins with {', '.join(MAIL_SCHEMES)} and names a host "
            "(the text is not shown: it may hold a password)"
        )
    if parts.password and parts.scheme == "smtp" and host not in LOOPBACK_HOSTS:
        raise ValueError(
            f"would send the password to {host} unencrypted: begin with smtp+starttls:// or smtps:// instead"
        )
    return SecretStr(value)


def _check_sender(text: str) -> str:
    address = parseaddr(text)[1]
    if not text.isprintable() or not all(address.rpartition("@")[::2]):
        raise ValueError(f"{text!r} is neither an address nor a name with an address in angle brackets")
    return text


def _parse_locales(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        named = json.loads(value)
    except ValueError as error:
        raise ValueError(f"is not JSON: {error}") from None
    if not isinstance(named, dict) or not all("@" in key for key in named):
        raise ValueError("is not a JSON object whose keys are addresses or domains with their @")
    return {key.lower(): locale for key, locale in named.items()}


SecretUrl = Annotated[SecretStr, BeforeValidator(_to_secret_url)]
SecretMailUrl = Annotated[SecretStr, BeforeValidator(_to_secret_mail_url)]
Locale = Literal["en", "ar"]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseSettings):
    """The suite's settings; a field's upper-case name is its environment variable."""

    model_config = SettingsConfigDict(env_file=REPOSITORY / ".env", env_ignore_empty=True, extra="ignore", frozen=True)

    data_dir: Path = Field(
        REPOSITORY / ".data",
        description="Folder of the embedded databases and of the local Prefect server.",
        examples=["/var/lib/hr-flows"],
    )
    maria_database_url: SecretUrl | None = Field(
        None,
        description="The application database (MariaDB). Default: `app.sqlite3` below `DATA_DIR`.",
        examples=["mysql+aiomysql://hr:password@db.example.org:3306/hr?charset=utf8mb4"],
    )
    hris_database_url: SecretUrl | None = Field(
        None,
        description="The HRIS (SQL Server, only read). Default: `hris.sqlite3` below `DATA_DIR`.",
        examples=["mssql+aioodbc://reader:password@hris.example.org/HMIS-AMH?driver=ODBC+Driver+18+for+SQL+Server"],
    )
    biostar_database_url: SecretUrl | None = Field(
        None,
        description="BioStar 2 (SQL Server, only read). Default: `biostar.sqlite3` below `DATA_DIR`.",
        examples=["mssql+aioodbc://reader:password@doors.example.org/BioStar2_ac?driver=ODBC+Driver+18+for+SQL+Server"],
    )
    prefect_api_url: Annotated[str, AfterValidator(_check_prefect_api_url)] | None = Field(
        None,
        description="The Prefect server's API, read by Prefect too. Default: `make up` starts a private server.",
        examples=["http://127.0.0.1:4200/api"],
    )
    hris_mapping: Path = Field(
        REPOSITORY / "hr" / "mappings" / "hris.toml",
        description="File that says which tables and columns of the HRIS hold what.",
        examples=["/etc/hr-flows/our_hris.toml"],
    )
    site_timezone: Annotated[str, AfterValidator(_check_timezone)] = Field(
        "Africa/Cairo",
        description="Time zone of the site: naive times of the HRIS are local to it, schedules are told in it.",
        examples=["Africa/Cairo"],
    )
    replication_chunk_rows: int = Field(
        20_000,
        ge=100,
        le=1_000_000,
        description="Rows read from the HRIS and staged at a time; bounds the memory of a replication.",
        examples=["20000"],
    )
    replication_max_deactivated_share: Share = Field(
        0.2,
        description="Largest share of the active rows of an entity that one replication may deactivate.",
        examples=["0.2"],
    )
    replication_max_rejected_share: Share = Field(
        0.05,
        description="Largest share of an entity's source rows that may be rejected before the replication fails.",
        examples=["0.05"],
    )
    attendance_months_back: int = Field(
        2,
        ge=1,
        le=36,
        description="Months of meal requests that the attendance sync looks at, unless its caller says otherwise.",
        examples=["2"],
    )
    mail_url: SecretMailUrl | None = Field(
        None,
        description="The mail server: `smtp://` (no encryption), `smtp+starttls://` or `smtps://`; `?ca_file=` names a "
        "private authority. Default: mails are printed and written as `.eml` files below `DATA_DIR`, `mail/`.",
        examples=["smtp+starttls://hr:password@mail.example.org:587"],
    )
    mail_from: Annotated[str, AfterValidator(_check_sender)] = Field(
        "HR Flows <no-reply@localhost>",
        description="The sender of all mails: an address, or a name and an address in angle brackets.",
        examples=["Meal requests <meals@example.org>"],
    )
    mail_locale: Locale = Field(
        "en",
        description="Language of the mails to recipients that `MAIL_LOCALES` does not name: `en` or `ar`.",
        examples=["ar"],
    )
    mail_locales: Annotated[dict[str, Locale], NoDecode, BeforeValidator(_parse_locales)] = Field(
        default_factory=dict,
        description="Languages of recipients: JSON of addresses, or of domains with their `@`. Default: none is named.",
        examples=['{"@ar.example.org": "ar", "sara@example.org": "en"}'],
    )
    mail_timeout: float = Field(
        30.0,
        ge=1,
        le=600,
        description="Seconds that the mail server may take for one answer.",
        examples=["30"],
    )
    mail_connections: int = Field(
        2,
        ge=1,
        le=50,
        description="Connections to the mail server that one burst of mails uses side by side.",
        examples=["4"],
    )

    @model_validator(mode="before")
    @classmethod
    def _strip(cls, values: Any) -> Any:
        return {key: value.strip() if isinstance(value, str) else value for key, value in values.items()}

    def _url(self, configured: SecretStr | None, filename: str) -> URL:
        if configured is not None:
            return make_url(configured.get_secret_value())
        return URL.create("sqlite+aiosqlite", database=str(self.data_dir / filename))

    @property
    def maria_url(self) -> URL:
        """The application database's URL with the asynchronous driver."""
        return self._url(self.maria_database_url, "app.sqlite3")

    @property
    def hris_url(self) -> URL:
        """The HRIS's URL with the asynchronous driver."""
        return self._url(self.hris_database_url, "hris.sqlite3")

    @property
    def biostar_url(self) -> URL:
        """BioStar's URL with the asynchronous driver."""
        return self._url(self.biostar_database_url, "biostar.sqlite3")

    @property
    def has_biostar(self) -> bool:
        """Whether there is a BioStar to ask: one is configured, or the embedded file is there."""
        return self.biostar_database_url is not None or (self.data_dir / "biostar.sqlite3").exists()

    @property
    def mail_folder(self) -> Path:
        """Where mails are written when no mail server is configured."""
        return self.data_dir / "mail"

    @property
    def site_zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.site_timezone)


def load_settings() -> Settings:
    """Read the settings from the environment and `.env`.

    Returns:
        A frozen settings object.

    Raises:
        SettingsError: A value is wrong; the message names each variable, what is wrong and an example.
    """
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError("\n".join(_describe(problem) for problem in error.errors())) from None


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Give the settings of this process, read at the first call (see `load_settings`)."""
    return load_settings()


def _describe(problem: Any) -> str:
    name = str(problem["loc"][0])
    text = problem["msg"].removeprefix("Value error, ")
    field = Settings.model_fields[name]
    example = field.examples[0] if field.examples else ""
    value = problem["input"]
    # A URL may hold a password, and other checks name the value themselves.
    if not name.endswith("_url") and str(value) not in text:
        text = f"{text} (it is {value!r})"
    return f"{name.upper()}: {text}. Set it in the environment or in .env, for example {name.upper()}={example}"
