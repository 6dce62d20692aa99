"""Messages in packets, as TDS sends them over a socket, encrypted or not."""

import select
import socket
import ssl
import struct
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct(">BBHHBx")
LAST = 0x01
# Before the login tells another size.
FIRST_PACKET_SIZE = 4096
# What is gathered before it is handed to the socket: large answers then cost few calls, and no more than this waits.
GATHERED_BYTES = 128 * 1024
RECEIVED_BYTES = 64 * 1024


class Kind(IntEnum):
    """What a packet is part of."""

    BATCH = 1
    RPC = 3
    ANSWER = 4
    ATTENTION = 6
    TRANSACTION = 14
    LOGIN = 16
    PRELOGIN = 18


class Message(NamedTuple):
    """What a client says at a time."""

    kind: int
    content: bytes


class ClientGone(Exception):
    """The client, or a fault, has ended the connection."""


class Cancelled(Exception):
    """The client does not want the rest of the answer."""


class Wire:
    """One client's socket: takes messages, sends answers.

    Args:
        connection: The socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._answer = bytearray()
        self._number = 1
        self.packet_size = FIRST_PACKET_SIZE

    @property
    def is_encrypted(self) -> bool:
        """Whether what is sent now is encrypted."""
        return self._tls is not None

    def receive(self) -> Message:
        """Wait for the client's next message.

        Raises:
            ClientGone: There is none any more.
        """
        content = bytearray()
        while True:
            kind, status, length, _, _ = HEADER.unpack(self._read(HEADER.size))
            content += self._read(length - HEADER.size)
            if status & LAST:
                return Message(kind, bytes(content))

    def write(self, data: bytes) -> None:
        """Add to the answer; full packets are sent when enough of them wait.

        Raises:
            Cancelled: The client has asked for an end meanwhile.
            ClientGone: The client has gone.
        """
        self._answer += data
        if len(self._answer) >= GATHERED_BYTES:
            self.send()
            if self.is_cancelled():
                raise Cancelled

    def send(self) -> None:
        """Send the full packets that wait; the last, which ends an answer, goes with `finish`."""
        room = self.packet_size - HEADER.size
        # One byte is kept back: an answer's last packet cannot be empty.
        full = max(len(self._answer) - 1, 0) // room
        self._send_packets(Kind.ANSWER, bytes(self._answer[: full * room]), ends=False)
        del self._answer[: full * room]

    def flush(self) -> None:
        """Send all that waits, though the answer goes on."""
        self._send_packets(Kind.ANSWER, bytes(self._answer), ends=False)
        self._answer.clear()

    def finish(self) -> None:
        """Send what is left of the answer and end it."""
        self.send()
        self._send_packets(Kind.ANSWER, bytes(self._answer), ends=True)
        self._answer.clear()
        self._number = 1

    def is_cancelled(self, wait: float = 0) -> bool:
        """Tell whether the client has asked for the answer's end.

        Args:
            wait: Seconds to wait for it to ask.

        Raises:
            ClientGone: It has gone instead.
        """
        if not self._in.pending and not (self._tls is not None and self._tls.pending()):
            ready, _, _ = select.select([self._socket], [], [], wait)
            if not ready:
                return False
        return self.receive().kind == Kind.ATTENTION

    def encrypt(self, context: ssl.SSLContext) -> None:
        """Agree on encryption; TDS 7 wraps the agreement's own messages into packets, and later none.

        Raises:
            ClientGone: The client does not accept the certificate or speaks no TLS.
        """
        tls = context.wrap_bio(self._in, self._out, server_side=True)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                self._send_packets(Kind.PRELOGIN, self._out.read(), ends=True)
                self._in.write(self.receive().content)
            except ssl.SSLError as error:
                raise ClientGone(f"no agreement on encryption: {error}") from error
            else:
                break
        self._send_packets(Kind.PRELOGIN, self._out.read(), ends=True)
        self._tls = tls
        self._number = 1

    def stop_encrypting(self) -> None:
        """Go on in plain text, as is usual after a login that alone is encrypted."""
        self._tls = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()

    def close(self) -> None:
        """End the connection at once, in the middle of whatever is sent."""
        self._socket.close()

    def _send_packets(self, kind: Kind, content: bytes, *, ends: bool) -> None:
        if not content:
            return
        room = self.packet_size - HEADER.size
        packets = bytearray()
        for begin in range(0, len(content), room):
            part = content[begin : begin + room]
            status = LAST if ends and begin + room >= len(content) else 0
            packets += HEADER.pack(kind, status, len(part) + HEADER.size, 0, self._number) + part
            self._number = (self._number + 1) % 256
        try:
            if self._tls is None:
                self._socket.sendall(packets)
            else:
                self._tls.write(packets)
                self._socket.sendall(self._out.read())
        except OSError as error:
            raise ClientGone(str(error)) from error

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            data += self._read_some(length - len(data))
        return bytes(data)

    def _read_some(self, limit: int) -> bytes:
        while self._tls is not None:
            try:
                data = self._tls.read(limit)
            except ssl.SSLWantReadError:
                self._in.write(self._receive_some(RECEIVED_BYTES))
            except ssl.SSLError as error:
                raise ClientGone(str(error)) from error
            else:
                if not data:
                    raise ClientGone("the client has ended the encryption")
                return data
        return self._receive_some(limit)

    def _receive_some(self, limit: int) -> bytes:
        try:
            data = self._socket.recv(limit)
        except OSError as error:
            raise ClientGone(str(error)) from error
        if not data:
            raise ClientGone("the client has closed the connection")
        return data
