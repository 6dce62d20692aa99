"""The kinds of values that settings have: what is taken, what is made of it, and what is said of what is not taken."""

import json
import re
from email.utils import parseaddr
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import NoDecode
from sqlalchemy import make_url

from database_urls import MAX_PORT, parse_database_url

# How the connection to the mail server is encrypted: not at all, by STARTTLS, from the first byte.
MAIL_SCHEMES = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
LOOPBACK_HOSTS = {"localhost", "127.0.0.1", "::1"}


def _to_secret_url(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    url = parse_database_url(value)
    written = url.render_as_string(hide_password=False)
    if make_url(written) != url:
        raise ValueError("has characters in the server's or the database's name that a URL cannot hold")
    return SecretStr(written)


def _check_host(host: str) -> str:
    if re.search(r"[\s,;/@{}]", host) or not host.isprintable():
        raise ValueError(f"{host!r} is not a server's name or address; its port has a setting of its own")
    return host


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


def _to_isolation(value: Any) -> Any:
    return value.upper().replace("_", " ") if isinstance(value, str) else value


SecretUrl = Annotated[SecretStr, BeforeValidator(_to_secret_url)]
SecretMailUrl = Annotated[SecretStr, BeforeValidator(_to_secret_mail_url)]
Locale = Literal["en", "ar"]
Host = Annotated[str, AfterValidator(_check_host)]
Port = Annotated[int, Field(ge=1, le=MAX_PORT)]
Encryption = Literal["verified", "strict", "unverified", "off"]
Isolation = Annotated[Literal["READ COMMITTED", "SNAPSHOT"], BeforeValidator(_to_isolation)]
Share = Annotated[float, Field(ge=0, le=1)]


Timezone = Annotated[str, AfterValidator(_check_timezone)]
PrefectApiUrl = Annotated[str, AfterValidator(_check_prefect_api_url)]
Sender = Annotated[str, AfterValidator(_check_sender)]
Locales = Annotated[dict[str, Locale], NoDecode, BeforeValidator(_parse_locales)]
