"""The tokens that an answer is made of."""

import struct
from collections.abc import Sequence
from enum import IntEnum, IntFlag

from tests.servers.tds.types import INT, SqlType

SERVER_NAME = "tds-endpoint"
PRODUCT = "Microsoft SQL Server"
TDS_7_4 = 0x74000004
OUTPUT = 0x01
NULLABLE_UPDATABLE = 0x09


class Done(IntEnum):
    """Which kind of thing is done."""

    BATCH = 0xFD
    PROCEDURE = 0xFE
    IN_PROCEDURE = 0xFF


class Status(IntFlag):
    """How it was done."""

    FINAL = 0
    MORE = 0x01
    ERROR = 0x02
    COUNT = 0x10
    CANCELLED = 0x20


class Change(IntEnum):
    """What of a connection's surroundings has changed."""

    DATABASE = 1
    LANGUAGE = 2
    PACKET_SIZE = 4
    COLLATION = 7
    BEGUN = 8
    COMMITTED = 9
    ROLLED_BACK = 10


class SqlError(Exception):
    """An error that the client is told.

    Args:
        number: SQL Server's.
        message: Its text.
        severity: 11-16 the statement's, 20 and more end the connection.
        state: SQL Server's own detail.
    """

    def __init__(self, number: int, message: str, severity: int = 16, state: int = 1) -> None:
        super().__init__(message)
        self.number, self.message, self.severity, self.state = number, message, severity, state


def error_token(error: SqlError) -> bytes:
    """Tell an error."""
    return _message_token(0xAA, error)


def info_token(number: int, message: str) -> bytes:
    """Tell what is no error."""
    return _message_token(0xAB, SqlError(number, message, severity=0))


def done_token(kind: Done, status: Status, rows: int = 0, command: int = 0) -> bytes:
    """Tell that a statement, or all of them, is done."""
    return struct.pack("<BHHQ", kind, status, command, rows)


def login_token() -> bytes:
    """Let a client in."""
    # Not "%B": the version is written with its first byte first.
    body = b"\x01" + struct.pack(">I", TDS_7_4) + _short_text(PRODUCT) + bytes([16, 0, 3, 232])
    return b"\xad" + struct.pack("<H", len(body)) + body


def change_token(change: Change, new: str | bytes, old: str | bytes = "") -> bytes:
    """Tell a change of the connection's surroundings."""
    body = bytes([change]) + b"".join(
        _short_text(value) if isinstance(value, str) else bytes([len(value)]) + value for value in (new, old)
    )
    return b"\xe3" + struct.pack("<H", len(body)) + body


def return_status_token(status: int) -> bytes:
    """Tell what a procedure returned."""
    return b"\x79" + struct.pack("<i", status)


def return_value_token(name: str, value: int) -> bytes:
    """Give back an output parameter, which is always a number here."""
    return (
        b"\xac" + struct.pack("<H", 0) + _short_text(name) + struct.pack("<BIH", OUTPUT, 0, 0)
        + INT.describe() + INT.encoder()(value)
    )  # fmt: skip


def columns_token(columns: Sequence[tuple[str, SqlType]]) -> bytes:
    """Describe the columns of the rows that follow."""
    described = [
        struct.pack("<IH", 0, NULLABLE_UPDATABLE) + kind.describe() + _short_text(name) for name, kind in columns
    ]
    return b"\x81" + struct.pack("<H", len(columns)) + b"".join(described)


def _message_token(token: int, error: SqlError) -> bytes:
    text = error.message.encode("utf-16-le")
    body = (
        struct.pack("<iBBH", error.number, error.state, error.severity, len(text) // 2) + text
        + _short_text(SERVER_NAME) + _short_text("") + struct.pack("<i", 1)
    )  # fmt: skip
    return bytes([token]) + struct.pack("<H", len(body)) + body


def _short_text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("utf-16-le")
