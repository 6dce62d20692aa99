"""All settings of the suite, read once from the environment and `.env`, and nowhere else.

`get_settings()` gives the one frozen object. With nothing configured the three databases are SQLite files below
`DATA_DIR`.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import URL, make_url

from database_urls import ASYNC_DRIVERS, SQL_SERVER
from errors import SettingsError
from setting_values import (
    Encryption,
    Host,
    Isolation,
    Locale,
    Locales,
    Port,
    PrefectApiUrl,
    SecretMailUrl,
    SecretUrl,
    Sender,
    Share,
    Timezone,
)

REPOSITORY = Path(__file__).resolve().parent

# The separate settings that stand in place of a URL of SQL Server.
_PARTS = {
    "host": "The SQL Server of {system}, in place of a URL: name or address, `server\\instance` for a named instance. "
    "Default: none; `{prefix}_DATABASE_URL` counts.",
    "port": "Port of `{prefix}_HOST`. Default: 1433, or what the named instance says.",
    "database": "Name of the database on `{prefix}_HOST`. Default: none.",
    "user": "Account on `{prefix}_HOST`. Default: the process's own (Kerberos).",
    "password": "Password of `{prefix}_USER`. Default: none.",
    "encryption": "How connections to {system} are encrypted: `verified` (the server's certificate is checked), "
    "`strict` (the same, TLS from the first byte), `unverified`, `off`. Default: `verified`, or what the URL says.",
    "ca_file": "Certificates of the authorities that may vouch for the server of {system}, a PEM file (FreeTDS only). "
    "Default: the system's.",
}


def _part(prefix: str, system: str, part: str, example: str) -> Any:
    return Field(None, description=_PARTS[part].format(prefix=prefix, system=system), examples=[example])


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
        description="The HRIS (SQL Server, only read): a URL or an ODBC connection string. Default: `hris.sqlite3` "
        "below `DATA_DIR`.",
        examples=["mssql://reader:password@hris.example.org/HMIS-AMH"],
    )
    hris_host: Host | None = _part("HRIS", "the HRIS", "host", "hris.example.org")
    hris_port: Port | None = _part("HRIS", "the HRIS", "port", "1433")
    hris_database: str | None = _part("HRIS", "the HRIS", "database", "HMIS-AMH")
    hris_user: str | None = _part("HRIS", "the HRIS", "user", "reader")
    hris_password: SecretStr | None = _part("HRIS", "the HRIS", "password", "password")
    hris_encryption: Encryption | None = _part("HRIS", "the HRIS", "encryption", "verified")
    hris_ca_file: Path | None = _part("HRIS", "the HRIS", "ca_file", "/etc/hr-flows/authority.pem")
    biostar_database_url: SecretUrl | None = Field(
        None,
        description="BioStar 2 (SQL Server, only read): a URL or an ODBC connection string. Default: `biostar.sqlite3` "
        "below `DATA_DIR`.",
        examples=["Server=doors.example.org,1433;Database=BioStar2_ac;UID=reader;PWD={pass;word}"],
    )
    biostar_host: Host | None = _part("BIOSTAR", "BioStar", "host", "doors.example.org\\BIOSTAR")
    biostar_port: Port | None = _part("BIOSTAR", "BioStar", "port", "1433")
    biostar_database: str | None = _part("BIOSTAR", "BioStar", "database", "BioStar2_ac")
    biostar_user: str | None = _part("BIOSTAR", "BioStar", "user", "reader")
    biostar_password: SecretStr | None = _part("BIOSTAR", "BioStar", "password", "password")
    biostar_encryption: Encryption | None = _part("BIOSTAR", "BioStar", "encryption", "verified")
    biostar_ca_file: Path | None = _part("BIOSTAR", "BioStar", "ca_file", "/etc/hr-flows/authority.pem")
    sql_server_driver: str | None = Field(
        None,
        description="The ODBC driver for SQL Server: a name that unixODBC knows, or a library's path. Default: "
        "Microsoft's driver 18, else FreeTDS, where they are found.",
        examples=["FreeTDS"],
    )
    sql_server_isolation: Isolation = Field(
        "READ COMMITTED",
        description="Isolation of what is read from SQL Server: `READ COMMITTED` or `SNAPSHOT`.",
        examples=["SNAPSHOT"],
    )
    sql_server_login_timeout: int = Field(
        15,
        ge=1,
        le=600,
        description="Seconds that SQL Server may take to let us in.",
        examples=["15"],
    )
    sql_server_statement_timeout: int = Field(
        300,
        ge=1,
        le=86_400,
        description="Seconds that SQL Server may take for one statement.",
        examples=["300"],
    )
    prefect_api_url: PrefectApiUrl | None = Field(
        None,
        description="The Prefect server's API, read by Prefect too. Default: `make up` starts a private server.",
        examples=["http://127.0.0.1:4200/api"],
    )
    hris_mapping: Path = Field(
        REPOSITORY / "hr" / "mappings" / "hris.toml",
        description="File that says which tables and columns of the HRIS hold what.",
        examples=["/etc/hr-flows/our_hris.toml"],
    )
    site_timezone: Timezone = Field(
        "Africa/Cairo",
        description="Time zone of the site: naive times of the HRIS are local to it, schedules are told in it.",
        examples=["Africa/Cairo"],
    )
    replication_chunk_rows: int = Field(
        10_000,
        ge=100,
        le=1_000_000,
        description="Rows read from the HRIS and staged at a time; bounds the memory of a replication.",
        examples=["10000"],
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
    run_lease_seconds: int = Field(
        45,
        ge=3,
        le=3600,
        description="Seconds after which runs of a worker that is not heard of are taken over by another machine's; it "
        "says that it lives three times as often. Only where the application database is MariaDB.",
        examples=["45"],
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
    mail_from: Sender = Field(
        "HR Flows <no-reply@localhost>",
        description="The sender of all mails: an address, or a name and an address in angle brackets.",
        examples=["Meal requests <meals@example.org>"],
    )
    mail_locale: Locale = Field(
        "en",
        description="Language of the mails to recipients that `MAIL_LOCALES` does not name: `en` or `ar`.",
        examples=["ar"],
    )
    mail_locales: Locales = Field(
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

    @model_validator(mode="after")
    def _check_sources(self) -> "Settings":
        for prefix in ("hris", "biostar"):
            self._check_source(prefix)
        return self

    def _check_source(self, prefix: str) -> None:
        url: SecretStr | None = getattr(self, f"{prefix}_database_url")
        given = [part for part in _PARTS if getattr(self, f"{prefix}_{part}") is not None]
        address = [f"{prefix}_{part}".upper() for part in given if part not in {"encryption", "ca_file"}]
        if url is not None:
            if address:
                raise ValueError(
                    f"{address[0]}: stands beside {prefix.upper()}_DATABASE_URL. Set the one or the others"
                )
            said = make_url(url.get_secret_value()).query
            for part in given:
                if part in said and said[part] != str(getattr(self, f"{prefix}_{part}")):
                    name = f"{prefix}_{part}".upper()
                    raise ValueError(f"{name}: is not what {prefix.upper()}_DATABASE_URL says. Say it in one place")
        elif address and not {"host", "database"} <= set(given):
            raise ValueError(
                f"{address[0]}: needs {prefix.upper()}_HOST and {prefix.upper()}_DATABASE. Set them too, or "
                f"{prefix.upper()}_DATABASE_URL in place of all"
            )

    def _source_url(self, prefix: str, filename: str) -> URL:
        url = self._url(getattr(self, f"{prefix}_database_url"), filename)
        if (host := getattr(self, f"{prefix}_host")) is not None:
            password: SecretStr | None = getattr(self, f"{prefix}_password")
            url = URL.create(
                ASYNC_DRIVERS[SQL_SERVER],
                username=getattr(self, f"{prefix}_user"),
                password=None if password is None else password.get_secret_value(),
                host=host,
                port=getattr(self, f"{prefix}_port"),
                database=getattr(self, f"{prefix}_database"),
            )
        if url.get_backend_name() != SQL_SERVER:
            return url
        values = {part: getattr(self, f"{prefix}_{part}") for part in ("encryption", "ca_file")}
        return url.update_query_dict({part: str(value) for part, value in values.items() if value is not None})

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
        return self._source_url("hris", "hris.sqlite3")

    @property
    def biostar_url(self) -> URL:
        """BioStar's URL with the asynchronous driver."""
        return self._source_url("biostar", "biostar.sqlite3")

    @property
    def has_biostar(self) -> bool:
        """Whether there is a BioStar to ask: one is configured, or the embedded file is there."""
        url = self.biostar_url
        return url.get_backend_name() != "sqlite" or Path(url.database or "").exists()

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
    text: str = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        # About several settings together: the text names them, and the input would be all of them.
        return text
    name = str(problem["loc"][0])
    field = Settings.model_fields[name]
    example = field.examples[0] if field.examples else ""
    value = problem["input"]
    # A URL may hold a password, and other checks name the value themselves.
    if not name.endswith(("_url", "_password")) and str(value) not in text:
        text = f"{text} (it is {value!r})"
    return f"{name.upper()}: {text}. Set it in the environment or in .env, for example {name.upper()}={example}"
