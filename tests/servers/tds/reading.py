"""Reading the fields of a message."""

import struct

_U16, _U32, _U64, _I32 = struct.Struct("<H"), struct.Struct("<I"), struct.Struct("<Q"), struct.Struct("<i")


class Reader:
    """Takes one field after another from a message.

    Args:
        data: The message.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_at_end(self) -> bool:
        """Whether nothing is left."""
        return self._at >= len(self._data)

    def peek(self) -> int:
        """Give the next byte without taking it."""
        return self._data[self._at]

    def take(self, length: int) -> bytes:
        """Take bytes."""
        begin, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise ValueError(f"the message ends {self._at - len(self._data)} bytes too early")
        return self._data[begin : self._at]

    def u8(self) -> int:
        """Take a byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Take a number of two bytes."""
        return int(_U16.unpack(self.take(2))[0])

    def u32(self) -> int:
        """Take a number of four bytes."""
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        """Take a number of eight bytes."""
        return int(_U64.unpack(self.take(8))[0])

    def text(self, characters: int) -> str:
        """Take a text."""
        return self.take(characters * 2).decode("utf-16-le")

    def rest(self) -> bytes:
        """Take all that is left."""
        return self.take(len(self._data) - self._at)

    def skip_headers(self) -> None:
        """Skip what stands before a statement: the transaction that it belongs to."""
        self.take(self.u32() - 4)
