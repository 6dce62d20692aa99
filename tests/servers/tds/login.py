"""How a connection begins: what both sides can do, who the client is."""

import struct
from dataclasses import dataclass
from enum import IntEnum

from tests.servers.tds.reading import Reader

VERSION, ENCRYPTION, MARS = 0, 1, 4
END_OF_OPTIONS = 0xFF
# Where the login's fields say what they are: each an offset and a length in characters.
FIRST_FIELD = 36
FIELDS = ("host", "user", "password", "application", "server", "extension", "library", "language", "database")
PRODUCT_VERSION = (16, 0, 1000, 6)


class Encryption(IntEnum):
    """What a side wants of encryption: only for the login, for all, not at all, for all or nothing."""

    OFF = 0
    ON = 1
    NOT_SUPPORTED = 2
    REQUIRED = 3


@dataclass(frozen=True)
class Login:
    """Who wants to come in, and where to."""

    user: str
    password: str
    database: str
    host: str
    application: str
    packet_size: int
    read_only_intent: bool


def read_prelogin(content: bytes) -> Encryption:
    """Give what the client wants of encryption."""
    for option, offset, length in struct.iter_unpack(">BHH", content[: content.index(END_OF_OPTIONS) // 5 * 5]):
        if option == ENCRYPTION and length:
            return Encryption(content[offset])
    return Encryption.NOT_SUPPORTED


def choose_encryption(wanted: Encryption, *, required: bool, possible: bool) -> Encryption:
    """Give the server's answer to what a client wants."""
    if not possible:
        return Encryption.NOT_SUPPORTED
    if required:
        return Encryption.REQUIRED
    return Encryption.ON if wanted is Encryption.REQUIRED else wanted


def write_prelogin(encryption: Encryption) -> bytes:
    """Give the server's side: its version, encryption, one statement at a time."""
    version = struct.pack(">BBHH", *PRODUCT_VERSION[:3], 0)
    options = {VERSION: version, ENCRYPTION: bytes([encryption]), MARS: b"\0"}
    offset = 5 * len(options) + 1
    table, values = b"", b""
    for option, value in options.items():
        table += struct.pack(">BHH", option, offset + len(values), len(value))
        values += value
    return table + bytes([END_OF_OPTIONS]) + values


def read_login(content: bytes) -> Login:
    """Read a LOGIN7 message."""
    head = Reader(content)
    head.take(8)
    packet_size = head.u32()
    head.take(12)
    type_flags = content[26]
    table = Reader(content[FIRST_FIELD:])
    fields: dict[str, str] = {}
    for name in FIELDS:
        offset, length = table.u16(), table.u16()
        raw = content[offset : offset + 2 * length] if name != "extension" else b""
        fields[name] = (_reveal(raw) if name == "password" else raw).decode("utf-16-le")
    return Login(
        user=fields["user"],
        password=fields["password"],
        database=fields["database"],
        host=fields["host"],
        application=fields["application"],
        packet_size=packet_size,
        read_only_intent=bool(type_flags & 0x20),
    )


def _reveal(password: bytes) -> bytes:
    """Undo what a client does to a password so that it cannot be read in passing."""
    return bytes((each ^ 0xA5) >> 4 | ((each ^ 0xA5) & 0x0F) << 4 for each in password)
