"""SQL Server's types: how they are called, described and sent."""

import re
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Context, Decimal
from typing import Any

Encoder = Callable[[Any], bytes]

# Windows' collation SQL_Latin1_General_CP1_CI_AS.
COLLATION = bytes([0x09, 0x04, 0xD0, 0x00, 0x34])
CODE_PAGE = "cp1252"
MAX = -1
# What a text or binary type holds at most, in bytes, unless it is a `max` type.
LONGEST = 8000
NULL_LENGTH = b"\xff\xff"
NULL_LONG = b"\xff" * 8
DAY_ZERO, DAY_ONE = datetime(1900, 1, 1), datetime(1, 1, 1)
INT_SIZES = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}
FLOAT_FORMATS = {"real": "<Bf", "float": "<Bd"}
# Bytes of a time of day, by its number of decimals.
TIME_SIZES = (3, 3, 3, 4, 4, 5, 5, 5)
# A decimal has 38 digits at most.
ALL_DIGITS = Context(prec=40)
DECIMAL_SIZES = ((9, 5), (19, 9), (28, 13), (38, 17))
TEXT_CODES = {"nvarchar": 0xE7, "nchar": 0xEF, "varchar": 0xA7, "char": 0xAF, "varbinary": 0xA5, "binary": 0xAD}
DATETIME_CODES = {"time": 0x29, "datetime2": 0x2A, "datetimeoffset": 0x2B}
# Names that SQLite's files and the translation use.
SYNONYMS = {
    "integer": "int",
    "boolean": "bit",
    "numeric": "decimal",
    "double": "float",
    "blob": "varbinary(max)",
    "text": "nvarchar(max)",
    "uuid": "uniqueidentifier",
    "timestamp": "datetime2",
    "smalldatetime": "datetime",
    "money": "decimal(19, 4)",
}


@dataclass(frozen=True)
class SqlType:
    """A type of SQL Server.

    Attributes:
        name: As T-SQL calls it.
        length: Characters of a text or bytes of a binary value, or `MAX`.
        precision: Digits of a decimal.
        scale: Decimals, also those of a second.
    """

    name: str
    length: int = 0
    precision: int = 18
    scale: int = 0

    def describe(self) -> bytes:
        """Give the description that goes before values of the type."""
        if self.name in INT_SIZES:
            return bytes([0x26, INT_SIZES[self.name]])
        if self.name in TEXT_CODES:
            collation = b"" if self.name.endswith("binary") else COLLATION
            return bytes([TEXT_CODES[self.name]]) + struct.pack("<H", self._described_length()) + collation
        if self.name in DATETIME_CODES:
            return bytes([DATETIME_CODES[self.name], self.scale])
        if self.name == "decimal":
            return bytes([0x6C, _decimal_size(self.precision), self.precision, self.scale])
        fixed = {
            "bit": b"\x68\x01",
            "real": b"\x6d\x04",
            "float": b"\x6d\x08",
            "datetime": b"\x6f\x08",
            "date": b"\x28",
            "uniqueidentifier": b"\x24\x10",
        }
        return fixed[self.name]

    def encoder(self) -> Encoder:
        """Give the function that writes values of the type, as SQLite holds them, with their length before them."""
        if self.name in INT_SIZES:
            return _int_encoder(INT_SIZES[self.name])
        if self.name in TEXT_CODES:
            return _text_encoder(self)
        if self.name == "decimal":
            return _decimal_encoder(self.precision, self.scale)
        if self.name in FLOAT_FORMATS:
            pack, size = struct.Struct(FLOAT_FORMATS[self.name]).pack, int(self.describe()[1])
            return lambda value: b"\0" if value is None else pack(size, value)
        if self.name in DATETIME_CODES:
            return _datetime_encoder(self.name, self.scale)
        return _ENCODERS[self.name]

    def _described_length(self) -> int:
        if self.length == MAX:
            return 0xFFFF
        return self.length * (2 if self.name.startswith("n") else 1)


INT, BIGINT, FLOAT = SqlType("int"), SqlType("bigint"), SqlType("float")
# For values whose type nothing tells.
SOME_TEXT, SOME_BYTES = SqlType("nvarchar", LONGEST // 2), SqlType("varbinary", LONGEST)


def parse_type(declared: str) -> SqlType | None:
    """Give the type that a declaration such as `nvarchar(200)` means, or None for one that is unknown."""
    found = re.match(r"\s*([a-z0-9]+)\s*(?:\(\s*(max|\d+)\s*(?:,\s*(\d+)\s*)?\))?", declared.lower())
    if found is None:
        return None
    name, first, second = found.groups()
    if name in SYNONYMS and first is None:
        return parse_type(SYNONYMS[name])
    name = SYNONYMS.get(name, name)
    details: dict[str, int] = {}
    if name in TEXT_CODES:
        longest = LONGEST // 2 if name.startswith("n") else LONGEST
        details = {"length": longest if first is None else MAX if first == "max" else int(first)}
    elif name == "decimal":
        details = {"precision": int(first or 18), "scale": int(second or 0)}
    elif name in DATETIME_CODES:
        details = {"scale": 7 if first is None else int(first)}
    elif name not in INT_SIZES and name not in FLOAT_FORMATS and name not in _ENCODERS:
        return None
    return SqlType(name, **details)


def type_of_value(value: Any) -> SqlType | None:
    """Give a type for a value that SQLite gave for an expression, or None if it is NULL."""
    if value is None:
        return None
    if isinstance(value, int):
        return INT if -(2**31) <= value < 2**31 else BIGINT
    if isinstance(value, float):
        return FLOAT
    return SOME_BYTES if isinstance(value, bytes) else SOME_TEXT


def _int_encoder(size: int) -> Encoder:
    pack = struct.Struct("<B" + {1: "B", 2: "h", 4: "i", 8: "q"}[size]).pack
    return lambda value: b"\0" if value is None else pack(size, value)


def _text_encoder(kind: SqlType) -> Encoder:
    if kind.name.endswith("binary"):

        def encode(value: Any) -> bytes:
            return bytes(value)

    elif kind.name.startswith("n"):

        def encode(value: Any) -> bytes:
            return str(value).encode("utf-16-le")

    else:

        def encode(value: Any) -> bytes:
            return str(value).encode(CODE_PAGE, errors="replace")

    length = struct.Struct("<H").pack
    lengths = struct.Struct("<QI").pack

    def encode_short(value: Any) -> bytes:
        if value is None:
            return NULL_LENGTH
        data = encode(value)
        return length(len(data)) + data

    def encode_long(value: Any) -> bytes:
        if value is None:
            return NULL_LONG
        data = encode(value)
        return lengths(len(data), len(data)) + data + bytes(4) if data else bytes(12)

    return encode_long if kind.length == MAX else encode_short


def _decimal_size(precision: int) -> int:
    return next(size for digits, size in DECIMAL_SIZES if precision <= digits)


def _decimal_encoder(precision: int, scale: int) -> Encoder:
    size = _decimal_size(precision)

    def encode(value: Any) -> bytes:
        if value is None:
            return b"\0"
        number = Decimal(str(value)).scaleb(scale, ALL_DIGITS)
        whole = int(number.copy_abs().to_integral_value(context=ALL_DIGITS))
        return bytes([size, number >= 0]) + whole.to_bytes(size - 1, "little")

    return encode


def _datetime_encoder(name: str, scale: int) -> Encoder:
    time_size = TIME_SIZES[scale]

    def encode_time(at: timedelta, hundred_nanoseconds: int) -> bytes:
        ticks = (at.seconds * 10_000_000 + hundred_nanoseconds) // int(10 ** (7 - scale))
        return ticks.to_bytes(time_size, "little")

    def encode(value: Any) -> bytes:
        if value is None:
            return b"\0"
        offset = 0
        if name == "time":
            text = f"0001-01-01 {value}"
        elif name == "datetimeoffset":
            stamp = datetime.fromisoformat(value)
            shift = stamp.utcoffset() or timedelta()
            offset, text = int(shift.total_seconds()) // 60, str((stamp - shift).replace(tzinfo=None))
        else:
            text = value
        at, fraction = parse_stamp(text)
        data = encode_time(at - DAY_ONE, fraction)
        if name != "time":
            data += (at - DAY_ONE).days.to_bytes(3, "little")
        if name == "datetimeoffset":
            data += struct.pack("<h", offset)
        return bytes([len(data)]) + data

    return encode


def parse_stamp(text: str) -> tuple[datetime, int]:
    """Split a time as SQLite holds it into whole seconds and the 100 nanoseconds beyond them."""
    whole, _, fraction = text.replace("T", " ").partition(".")
    return datetime.fromisoformat(whole), int(fraction.ljust(7, "0")[:7])


def _encode_datetime(value: Any) -> bytes:
    if value is None:
        return b"\0"
    at, fraction = parse_stamp(value)
    since = at - DAY_ZERO
    # In units of a 300th of a second.
    ticks = since.seconds * 300 + (fraction * 300 + 5_000_000) // 10_000_000
    return struct.pack("<BiI", 8, since.days, ticks)


def _encode_date(value: Any) -> bytes:
    if value is None:
        return b"\0"
    return b"\x03" + (date.fromisoformat(value[:10]).toordinal() - 1).to_bytes(3, "little")


def _encode_bit(value: Any) -> bytes:
    return b"\0" if value is None else b"\x01\x01" if value else b"\x01\0"


def _encode_guid(value: Any) -> bytes:
    return b"\0" if value is None else b"\x10" + uuid.UUID(str(value)).bytes_le


_ENCODERS: dict[str, Encoder] = {
    "bit": _encode_bit,
    "datetime": _encode_datetime,
    "date": _encode_date,
    "uniqueidentifier": _encode_guid,
}


def write_stamp(day: datetime | None, seconds: int, hundred_nanoseconds: int) -> str:
    """Write a time as SQLite holds it: as few decimals as it needs, so that equal times are equal texts."""
    fraction = f".{hundred_nanoseconds:07}".rstrip("0") if hundred_nanoseconds else ""
    clock = str(time(seconds // 3600, seconds // 60 % 60, seconds % 60)) + fraction
    return clock if day is None else f"{day.date()} {clock}"
