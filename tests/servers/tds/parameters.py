"""Reading the parameters of a call: what kind each is, and its value as SQLite takes it."""

import struct
import uuid
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from tests.servers.tds.reading import Reader
from tests.servers.tds.types import ALL_DIGITS, CODE_PAGE, DAY_ONE, DAY_ZERO, MAX, SqlType, write_stamp

BY_REFERENCE = 0x01
LONG, NULL_LENGTH, NULL_LONG, NULL_TEXT = 0xFFFF, 0xFFFF, 0xFFFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF
TICKS_A_SECOND = 300
COLLATION_BYTES = 5

FIXED_INTS = {0x30: "tinyint", 0x34: "smallint", 0x38: "int", 0x7F: "bigint"}
INTS = {1: "tinyint", 2: "smallint", 4: "int", 8: "bigint"}
TEXTS = {0xE7: "nvarchar", 0xEF: "nchar", 0xA7: "varchar", 0xAF: "char", 0xA5: "varbinary", 0xAD: "binary"}
OLD_TEXTS = {0x63: "nvarchar", 0x23: "varchar", 0x22: "varbinary"}
TIMES = {0x29: "time", 0x2A: "datetime2", 0x2B: "datetimeoffset"}


class Parameter(NamedTuple):
    """One parameter of a call."""

    name: str
    is_output: bool
    kind: SqlType
    value: Any


def read_parameter(reader: Reader) -> Parameter:
    """Take a parameter.

    Raises:
        ValueError: It is of a type that this server does not know.
    """
    name = reader.text(reader.u8())
    is_output = bool(reader.u8() & BY_REFERENCE)
    code = reader.u8()
    kind, value = _read_value(reader, code)
    return Parameter(name, is_output, kind, value)


def _read_value(reader: Reader, code: int) -> tuple[SqlType, Any]:
    if code in TEXTS:
        return _read_text(reader, TEXTS[code])
    if code in OLD_TEXTS:
        return _read_old_text(reader, OLD_TEXTS[code])
    if code in FIXED_INTS:
        kind = SqlType(FIXED_INTS[code])
        return kind, _to_int(reader.take(_size_of(kind.name)), kind.name)
    if code in TIMES:
        kind = SqlType(TIMES[code], scale=reader.u8())
        data = reader.take(reader.u8())
        return kind, _to_time(data, kind) if data else None
    if code in _READERS:
        return _READERS[code](reader)
    raise ValueError(f"a parameter is of type {code:#x}, which this server does not know")


def _size_of(name: str) -> int:
    return next(size for size, each in INTS.items() if each == name)


def _to_int(data: bytes, name: str) -> int:
    return int.from_bytes(data, "little", signed=name != "tinyint")


def _read_int(reader: Reader) -> tuple[SqlType, Any]:
    kind = SqlType(INTS[reader.u8()])
    data = reader.take(reader.u8())
    return kind, _to_int(data, kind.name) if data else None


def _read_bit(reader: Reader) -> tuple[SqlType, Any]:
    reader.u8()
    data = reader.take(reader.u8())
    return SqlType("bit"), data[0] if data else None


def _read_float(reader: Reader) -> tuple[SqlType, Any]:
    name, form = {4: ("real", "<f"), 8: ("float", "<d")}[reader.u8()]
    data = reader.take(reader.u8())
    return SqlType(name), struct.unpack(form, data)[0] if data else None


def _read_decimal(reader: Reader) -> tuple[SqlType, Any]:
    reader.u8()
    kind = SqlType("decimal", precision=reader.u8(), scale=reader.u8())
    data = reader.take(reader.u8())
    if not data:
        return kind, None
    number = Decimal(int.from_bytes(data[1:], "little")).scaleb(-kind.scale, ALL_DIGITS)
    return kind, f"{number if data[0] else number.copy_negate():f}"


def _read_datetime(reader: Reader) -> tuple[SqlType, Any]:
    reader.u8()
    data = reader.take(reader.u8())
    kind = SqlType("datetime")
    if not data:
        return kind, None
    if len(data) == 4:
        days, minutes = struct.unpack("<HH", data)
        return kind, write_stamp(DAY_ZERO + timedelta(days=days), minutes * 60, 0)
    days, ticks = struct.unpack("<iI", data)
    # SQL Server shows a 300th of a second as .000, .003 or .007.
    milliseconds = (ticks % TICKS_A_SECOND * 1000 + TICKS_A_SECOND // 2) // TICKS_A_SECOND
    return kind, write_stamp(DAY_ZERO + timedelta(days=days), ticks // TICKS_A_SECOND, milliseconds * 10_000)


def _read_date(reader: Reader) -> tuple[SqlType, Any]:
    data = reader.take(reader.u8())
    return SqlType("date"), str((DAY_ONE + timedelta(int.from_bytes(data, "little"))).date()) if data else None


def _to_time(data: bytes, kind: SqlType) -> str:
    date_size = {"time": 0, "datetime2": 3, "datetimeoffset": 5}[kind.name]
    clock, rest = data[: len(data) - date_size], data[len(data) - date_size :]
    ticks = int.from_bytes(clock, "little") * 10 ** (7 - kind.scale)
    if kind.name == "time":
        return write_stamp(None, ticks // 10_000_000, ticks % 10_000_000)
    day = DAY_ONE + timedelta(int.from_bytes(rest[:3], "little"))
    if kind.name == "datetime2":
        return write_stamp(day, ticks // 10_000_000, ticks % 10_000_000)
    minutes = int.from_bytes(rest[3:], "little", signed=True)
    local = day + timedelta(seconds=ticks // 10_000_000, minutes=minutes)
    stamp = write_stamp(local, (local - local.replace(hour=0, minute=0, second=0)).seconds, ticks % 10_000_000)
    return f"{stamp}{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def _read_guid(reader: Reader) -> tuple[SqlType, Any]:
    reader.u8()
    data = reader.take(reader.u8())
    return SqlType("uniqueidentifier"), str(uuid.UUID(bytes_le=data)).upper() if data else None


def _read_text(reader: Reader, name: str) -> tuple[SqlType, Any]:
    size = reader.u16()
    if not name.endswith("binary"):
        reader.take(COLLATION_BYTES)
    if size == LONG:
        return SqlType(name, MAX), _decode(_read_long(reader), name)
    length = reader.u16()
    data = None if length == NULL_LENGTH else reader.take(length)
    return SqlType(name, max(size // 2 if name.startswith("n") else size, 1)), _decode(data, name)


def _read_long(reader: Reader) -> bytes | None:
    if reader.u64() == NULL_LONG:
        return None
    data = bytearray()
    while part := reader.u32():
        data += reader.take(part)
    return bytes(data)


def _read_old_text(reader: Reader, name: str) -> tuple[SqlType, Any]:
    reader.u32()
    if name != "varbinary":
        reader.take(COLLATION_BYTES)
    length = reader.u32()
    return SqlType(name, MAX), _decode(None if length == NULL_TEXT else reader.take(length), name)


def _decode(data: bytes | None, name: str) -> Any:
    if data is None or name.endswith("binary"):
        return data
    return data.decode("utf-16-le" if name.startswith("n") else CODE_PAGE)


_READERS: dict[int, Callable[[Reader], tuple[SqlType, Any]]] = {
    0x26: _read_int,
    0x68: _read_bit,
    0x6D: _read_float,
    0x6A: _read_decimal,
    0x6C: _read_decimal,
    0x6F: _read_datetime,
    0x28: _read_date,
    0x24: _read_guid,
}
