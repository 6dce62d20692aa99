"""Keeps secrets out of whatever is written down: log lines, execution rows."""

import math
import re
from collections.abc import Mapping
from typing import Any

MASK = "***"

_SECRET_NAME = re.compile(r"passw(or)?d|pwd|secret|token|api_?key|authorization|credential|cookie", re.IGNORECASE)
# The password of a URL: from the user name's colon to the last @ before a slash, or else to the first @ after one.
_URL_PASSWORD = re.compile(r"(?P<before>[a-z][a-z0-9+.-]*://[^\s:/@]*:)(?:[^\s/]+|[^\s@]+)(?=@)", re.IGNORECASE)
# `password=...`, `"token": "..."`, `PWD={...};` as connection strings, headers and reprs of mappings write them.
_ASSIGNED_SECRET = re.compile(
    r"""(?P<before>\b\w*(?:password|passwd|pwd|secret|token|api_?key)\b["']?\s*[=:]\s*["']?)(?:\{(?:[^}]|\}\})*\}|[^\s"',;&)}]+)""",
    re.IGNORECASE,
)


def redact_text(text: str) -> str:
    """Mask the passwords of URLs and values that are assigned to a secret's name.

    Args:
        text: Anything that is about to be written down.

    Returns:
        The text with `***` in the place of each secret.
    """
    return _ASSIGNED_SECRET.sub(rf"\g<before>{MASK}", _URL_PASSWORD.sub(rf"\g<before>{MASK}", text))


def to_plain(value: Any, name: str = "") -> Any:
    """Turn a value into what JSON can hold, without secrets.

    Args:
        value: Any object; what JSON has no type for becomes its text.
        name: The key under which it is written; the values of secrets' names are masked.

    Returns:
        A value of None, bool, int, float (finite), str, list and dict only.
    """
    if name and value is not None and _SECRET_NAME.search(name):
        return MASK
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): to_plain(item, str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_plain(item) for item in value]
    return redact_text(str(value))
