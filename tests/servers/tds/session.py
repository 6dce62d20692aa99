"""One client's connection, from its first packet to its end."""

import socket
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tests.servers.tds import login as logins
from tests.servers.tds.answers import read_pieces
from tests.servers.tds.faults import Fault
from tests.servers.tds.packets import Cancelled, ClientGone, Kind, Message, Wire
from tests.servers.tds.procedures import Call, check_size, read_calls
from tests.servers.tds.reading import Reader
from tests.servers.tds.served import Served
from tests.servers.tds.statements import DEADLOCK, Answer, Statements
from tests.servers.tds.tokens import (
    Change,
    Done,
    SqlError,
    Status,
    change_token,
    columns_token,
    done_token,
    error_token,
    info_token,
    login_token,
    return_status_token,
    return_value_token,
)
from tests.servers.tds.types import COLLATION, SqlType

LOGIN_FAILED, CANNOT_OPEN, CONVERSION_FAILED, NO_HANDLE, NO_PROCEDURE = 18456, 4060, 245, 8179, 2812
ENDS_CONNECTION = 20
SELECT = 0xC1
BEGIN, COMMIT, ROLLBACK = 5, 7, 8
BEGIN_NEXT = 0x01


class Session(threading.Thread):
    """Serves one client.

    Args:
        number: `@@SPID`.
        connection: The client's socket.
        served: What all sessions share.
    """

    def __init__(self, number: int, connection: socket.socket, served: Served) -> None:
        super().__init__(name=f"session {number}", daemon=True)
        self._number, self._socket, self._served = number, connection, served
        self._wire = Wire(connection)
        self._statements: Statements | None = None
        self._prepared: dict[int, tuple[str, list[str]]] = {}
        self._is_fatal = False
        self.is_idle = False
        self.login: logins.Login | None = None
        self.is_encrypted = False

    def run(self) -> None:
        """Serve until one of both ends the connection."""
        self._served.sessions.add(self)
        try:
            statements = self._let_in()
            if statements is not None:
                self._statements = statements
                self._serve(statements)
        except ClientGone:
            pass
        finally:
            self._served.sessions.discard(self)
            self._wire.close()
            if self._statements is not None:
                self._statements.close()

    def end(self) -> None:
        """End the connection from another thread."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            # It has ended by itself.
            return

    def _let_in(self) -> Statements | None:
        wanted = logins.read_prelogin(self._wire.receive().content)
        tls = self._served.tls
        encryption = logins.choose_encryption(
            wanted, required=self._served.encryption_required, possible=tls is not None
        )
        self._wire.write(logins.write_prelogin(encryption))
        self._wire.finish()
        if tls is not None and encryption is not logins.Encryption.NOT_SUPPORTED:
            self._wire.encrypt(tls)
        login = self.login = logins.read_login(self._wire.receive().content)
        if encryption is logins.Encryption.OFF:
            self._wire.stop_encrypting()
        self.is_encrypted = self._wire.is_encrypted
        statements = Statements(self._served.folder, self._number, login.user, is_encrypted=self.is_encrypted)
        try:
            fault = self._served.faults.take("login")
            if fault is not None:
                self._misbehave(fault)
            self._check(login, statements)
        except SqlError as error:
            statements.close()
            self._wire.write(error_token(error) + done_token(Done.BATCH, Status.ERROR))
            self._wire.finish()
            return None
        # Zero leaves it to the server.
        size = login.packet_size or self._wire.packet_size
        self._wire.write(
            change_token(Change.DATABASE, statements.database, "master")
            + info_token(5701, f"Changed database context to '{statements.database}'.")
            + change_token(Change.COLLATION, COLLATION, b"")
            + change_token(Change.LANGUAGE, "us_english", "")
            + login_token()
            + change_token(Change.PACKET_SIZE, str(size), str(self._wire.packet_size))
            + done_token(Done.BATCH, Status.FINAL)
        )
        self.is_idle = True
        self._wire.finish()
        self._wire.packet_size = size
        return statements

    def _check(self, login: logins.Login, statements: Statements) -> None:
        refused = SqlError(LOGIN_FAILED, f"Login failed for user '{login.user}'.", severity=14)
        if self._served.accounts.get(login.user) != login.password:
            raise refused
        database = login.database or self._served.default_database
        try:
            statements.use(database)
        except SqlError:
            raise SqlError(
                CANNOT_OPEN, f'Cannot open database "{database}" requested by the login. The login failed.', severity=11
            ) from None

    def _serve(self, statements: Statements) -> None:
        while True:
            message = self._wire.receive()
            self.is_idle = False
            try:
                self._answer(message, statements)
            except Cancelled:
                # What waits to be sent ends with a whole row: FreeTDS reads up to this token before it goes on.
                self._wire.write(done_token(Done.BATCH, Status.CANCELLED))
            # Before the client can know that it is.
            self.is_idle = True
            self._wire.finish()

    def _answer(self, message: Message, statements: Statements) -> None:
        reader = Reader(message.content)
        if message.kind == Kind.ATTENTION:
            raise Cancelled
        reader.skip_headers()
        if message.kind == Kind.BATCH:
            self._run_batch(reader.rest().decode("utf-16-le"), statements)
        elif message.kind == Kind.RPC:
            for call in read_calls(reader):
                self._run_call(call, statements)
        elif message.kind == Kind.TRANSACTION:
            self._end_or_begin(reader, statements)
        else:
            raise ClientGone(f"a message of kind {message.kind}")

    def _end_or_begin(self, reader: Reader, statements: Statements) -> None:
        request = reader.u16()
        if request == BEGIN:
            self._wire.write(statements.begin())
        elif request in (COMMIT, ROLLBACK):
            reader.text(reader.u8() // 2)
            self._wire.write(statements.end(Change.COMMITTED if request == COMMIT else Change.ROLLED_BACK))
            if reader.u8() & BEGIN_NEXT:
                self._wire.write(statements.begin())
        else:
            error = SqlError(50000, f"this server does not know the transaction request {request}")
            self._wire.write(error_token(error) + done_token(Done.BATCH, Status.ERROR))
            return
        self._wire.write(done_token(Done.BATCH, Status.FINAL))

    def _run_batch(self, text: str, statements: Statements) -> None:
        done: tuple[Status, int, int] | None = None
        try:
            for answer in self._run(text, {}, {}, statements):
                if done is not None:
                    self._wire.write(done_token(Done.BATCH, done[0] | Status.MORE, *done[1:]))
                done = self._write_answer(answer, text, ())
        except SqlError as error:
            self._write_error(error, statements)
            done = Status.ERROR, 0, 0
        self._wire.write(done_token(Done.BATCH, *(done or (Status.FINAL, 0, 0))))
        self._end_if_fatal()

    def _run_call(self, call: Call, statements: Statements) -> None:
        last = Status.FINAL if call.is_last else Status.MORE
        try:
            check_size(call)
            text, names, handle = self._find_statement(call)
            values = {name: parameter.value for name, parameter in zip(names, call.values, strict=False)}
            kinds = {name: parameter.kind for name, parameter in zip(names, call.values, strict=False)}
            for answer in self._run(text, values, kinds, statements) if text else ():
                status, rows, command = self._write_answer(answer, text, tuple(values.items()))
                self._wire.write(done_token(Done.IN_PROCEDURE, status | Status.MORE, rows, command))
        except SqlError as error:
            self._write_error(error, statements)
            self._wire.write(return_status_token(error.number))
            self._wire.write(done_token(Done.PROCEDURE, Status.ERROR | last))
        else:
            self._wire.write(return_status_token(0))
            if handle is not None:
                self._wire.write(return_value_token("", handle))
            self._wire.write(done_token(Done.PROCEDURE, last))
        self._end_if_fatal()

    def _find_statement(self, call: Call) -> tuple[str, list[str], int | None]:
        """Give the statement that a call means, its parameters' names, and the handle that it is known by from now."""
        if call.prepares:
            handle = len(self._prepared) + 1
            self._prepared[handle] = call.text, call.names
            return (call.text if call.executes else ""), call.names, handle
        if call.forgets:
            self._prepared[call.handle] = "", []
            return "", [], None
        if call.handle:
            text, names = self._prepared.get(call.handle, ("", []))
            if not text:
                raise SqlError(NO_HANDLE, f"Could not find prepared statement with handle {call.handle}.")
            return text, names, None
        if not call.executes:
            raise SqlError(NO_PROCEDURE, f"Could not find stored procedure '{call.name}'.", severity=16)
        return call.text, call.names, None

    def _run(self, text: str, values: Mapping[str, Any], kinds: Mapping[str, SqlType], statements: Statements) -> Any:
        self._served.statements.append(text)
        fault = self._served.faults.take("statement", text)
        if fault is not None and fault.at_row is None:
            self._misbehave(fault)
            fault = None
        for answer in statements.run(text, values, kinds):
            if fault is not None:
                answer.rows = self._rows_until(fault, answer.rows)
            yield answer

    def _rows_until(self, fault: Fault, all_rows: Iterable[list[tuple[Any, ...]]]) -> Iterator[list[tuple[Any, ...]]]:
        left = fault.at_row or 0
        for rows in all_rows:
            if len(rows) > left >= 0:
                yield rows[:left]
                self._wire.flush()
                self._misbehave(fault)
                yield rows[left:]
            else:
                yield rows
            left -= len(rows)

    def _misbehave(self, fault: Fault) -> None:
        if fault.action == "error":
            raise SqlError(fault.number, fault.message, fault.severity)
        if fault.action == "drop":
            self.end()
            raise ClientGone("dropped on command")
        if self._wire.is_cancelled(wait=fault.seconds):
            raise Cancelled

    def _write_answer(self, answer: Answer, text: str, values: Any) -> tuple[Status, int, int]:
        self._wire.write(answer.notes)
        if answer.columns is None:
            return (Status.FINAL, 0, 0) if answer.changed is None else (Status.COUNT, answer.changed, 0)
        key = (text, values, tuple(answer.columns))
        kept = self._served.answers.find(key)
        if kept is not None:
            for piece in read_pieces(kept[0]):
                self._wire.write(piece)
            return Status.COUNT, kept[1], SELECT
        recorder = self._served.answers.recorder(key)
        described = columns_token(answer.columns)
        self._wire.write(described)
        recorder.write(described)
        encoders = [kind.encoder() for _, kind in answer.columns]
        count = 0
        for rows in answer.rows:
            try:
                encoded = b"".join(
                    b"\xd1" + b"".join([encode(value) for encode, value in zip(encoders, row, strict=True)])
                    for row in rows
                )
            except (ValueError, TypeError, struct.error) as error:
                raise SqlError(CONVERSION_FAILED, f"Conversion failed when converting a value: {error}") from error
            self._wire.write(encoded)
            recorder.write(encoded)
            count += len(rows)
        recorder.finish(count)
        return Status.COUNT, count, SELECT

    def _write_error(self, error: SqlError, statements: Statements) -> None:
        if error.number == DEADLOCK:
            self._wire.write(statements.end(Change.ROLLED_BACK))
        self._wire.write(error_token(error))
        self._is_fatal = error.severity >= ENDS_CONNECTION

    def _end_if_fatal(self) -> None:
        if self._is_fatal:
            self._wire.finish()
            raise ClientGone("an error that ends the connection")
