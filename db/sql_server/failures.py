"""What SQL Server's errors mean: which pass by themselves, which need somebody, and what that somebody is to do.

Both drivers pass on the server's own number, by which its errors are told apart: their SQLSTATEs differ (a deadlock is
40001 for Microsoft's driver and 42000 for FreeTDS). Errors of the connection are told apart by SQLSTATE and by the
drivers' texts.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from sqlalchemy import URL
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.exc import DBAPIError

from errors import (
    AccessDenied,
    DatabaseUnreachable,
    EncryptionRefused,
    SchemaMismatch,
    SettingsError,
    StatementInterrupted,
    SuiteError,
)
from utils.redaction import MASK


class Kind(Enum):
    """What an error comes down to."""

    DEADLOCK = auto()
    NOT_READY = auto()
    BUSY = auto()
    TIMEOUT = auto()
    LOST = auto()
    LOGIN = auto()
    RIGHT = auto()
    MISSING = auto()
    SNAPSHOT = auto()
    ENCRYPTION = auto()
    DRIVER = auto()
    OTHER = auto()


# Kinds that pass by themselves.
TRANSIENT = frozenset({Kind.DEADLOCK, Kind.NOT_READY, Kind.BUSY, Kind.TIMEOUT, Kind.LOST})

# SQL Server's numbers, those that pass first; those from 20,000 to 20,100 are FreeTDS's own.
NUMBERS = {
    # Deadlock, lock timeout, rows that moved, snapshots that were overtaken.
    Kind.DEADLOCK: {601, 1205, 1222, 3960, 3961},
    # Starting, being restored or upgraded, going down, moving to another machine. A database that does not exist says
    # the same (4060) as one that is not up yet.
    Kind.NOT_READY: {
        *(596, 615, 921, 922, 923, 924, 927, 942, 945, 976, 982, 983, 3906, 4060, 4221, 6005, 17142, 17147, 17187),
        *(18401, 18451, 18461, 40143, 40166, 40197, 40540, 40613, 41839, 42108, 42109),
    },
    # Out of memory, locks or workers, or throttled.
    Kind.BUSY: {701, 802, 1204, 8645, 8651, 10928, 10929, 10936, 40501, 49918, 49919, 49920},
    Kind.TIMEOUT: {20003},
    Kind.LOST: {64, 121, 233, 10053, 10054, 10060, 11001, 20004, 20006, 20009, 20017, 20047},
    Kind.LOGIN: {18450, 18452, 18456, 18463, 18464, 18465, 18466, 18467, 18468, 18470, 18486, 18487, 18488},
    Kind.RIGHT: {229, 230, 262, 297, 300, 916},
    Kind.MISSING: {207, 208, 911, 2812},
    Kind.SNAPSHOT: {3952},
}
STATES = {
    "40001": Kind.DEADLOCK,
    "HYT00": Kind.TIMEOUT,
    "HYT01": Kind.TIMEOUT,
    "08001": Kind.LOST,
    "08003": Kind.LOST,
    "08004": Kind.LOST,
    "08007": Kind.LOST,
    "08S01": Kind.LOST,
    "IM002": Kind.DRIVER,
    "IM003": Kind.DRIVER,
    "IM004": Kind.DRIVER,
}
TEXTS = {
    "Can't open lib": Kind.DRIVER,
    "SSL Provider": Kind.ENCRYPTION,
    "Encryption not supported": Kind.ENCRYPTION,
    # What FreeTDS says when it finds a connection closed that it had believed open.
    "[FreeTDS][SQL Server]Unknown error (0)": Kind.LOST,
}
CANNOT_OPEN_DATABASE = 4060
# FreeTDS's word for all that goes wrong between the server's answer and the end of the login.
UNEXPLAINED = "Unable to connect to data source"
_RECORD = re.compile(r"\((-?\d+)\)(?: \(SQL\w+\))?(?=; \[|$)")
_BRACKETS = re.compile(r"^(\[[^\]]*\]\s*)+")
_NAME_OF_SOURCE = re.compile(r"(?:\b(?:FROM|JOIN)|,)\s+((?:\[[^\]]+\]|\w+)(?:\.(?:\[[^\]]+\]|\w+))*)", re.IGNORECASE)


@dataclass(frozen=True)
class Failure:
    """What a driver said.

    Attributes:
        kind: What it comes down to.
        state: The SQLSTATE.
        number: The server's number, or the driver's; 0 if there is none.
        text: The server's words, without the driver's brackets.
    """

    kind: Kind
    state: str
    number: int
    text: str

    def __str__(self) -> str:
        number = f", error {self.number}" if self.number > 0 else ""
        return f"{self.text} (SQLSTATE {self.state}{number})"


class _Explained(DBAPIError):
    """An error of the driver that says what it means; code that expects SQLAlchemy's own kind goes on to work."""

    def __init__(self, message: str, statement: str | None, orig: BaseException) -> None:
        super().__init__(statement, None, orig)
        self._told = message

    def __str__(self) -> str:
        return self._told

    def __reduce__(self) -> tuple[type["_Explained"], tuple[object, ...]]:
        return type(self), (self._told, self.statement, self.orig)


class InterruptedStatement(StatementInterrupted, _Explained):
    """SQL Server, or the way to it, ended a statement for a reason that passes."""


class DeniedStatement(AccessDenied, _Explained):
    """The account lacks a right."""


class MismatchedStatement(SchemaMismatch, _Explained):
    """A table or a column is not there, or the database is not set up for the isolation."""


def read_failure(error: BaseException) -> Failure:
    """Tell what a driver's error means.

    Args:
        error: A `pyodbc.Error`.
    """
    state, words = (str(part) for part in (*error.args, "", "")[:2])
    if not words:
        state, words = "HY000", state
    numbers = [int(number) for number in _RECORD.findall(words)]
    kind, number = _find_kind(state, numbers, words)
    records = [_RECORD.sub("", record) for record in re.split(r"; (?=\[\w{5}\] )", words)]
    told = [" ".join(_BRACKETS.sub("", record).split()).rstrip(".") for record in records]
    return Failure(kind, state, number, "; ".join(dict.fromkeys(told)))


def _find_kind(state: str, numbers: list[int], words: str) -> tuple[Kind, int]:
    first = next((number for number in numbers if number > 0), 0)
    # In order: a login that fails because the database is starting says both, and passes.
    for kind, known in NUMBERS.items():
        if match := known.intersection(numbers):
            return kind, min(match)
    for text, kind in TEXTS.items():
        if text in words:
            return kind, first
    return STATES.get(state, Kind.OTHER), first


def explain(name: str, setting: str, url: URL, context: ExceptionContext) -> None:
    """Turn a driver's error into one that says what it means, or leave it if that is not known.

    Args:
        name: What messages call the database.
        setting: The setting that holds its address, for messages.
        url: Where it is.
        context: SQLAlchemy's, of the event `handle_error`.

    Raises:
        DatabaseUnreachable: No connection could be made; that may pass.
        AccessDenied: The account is not let in, or lacks a right.
        EncryptionRefused: The connection cannot be encrypted, or the certificate is not trusted.
        SettingsError: The driver cannot be used.
        StatementInterrupted: A statement was ended for a reason that passes.
        SchemaMismatch: A table or a column is not there.
    """
    if context.is_pre_ping:
        # Whatever is wrong with a connection that was waiting in the pool, another one is made.
        context.is_disconnect = True
        return
    error = context.original_exception
    failure = read_failure(error)
    if context.connection is None:
        raise _explain_connection(name, setting, url, failure) from error
    if failure.kind is Kind.LOST:
        context.is_disconnect = True
    told = _hide_password(str(failure), url)
    place = f"{name} {url.database!r}" if url.database else name
    if failure.kind in TRANSIENT:
        raise InterruptedStatement(
            f"a statement to {place} was ended: {told}. {_tell_transient(failure)}", context.statement, error
        ) from error
    if failure.kind is Kind.RIGHT:
        account = f"the account {url.username!r}" if url.username else "this process's account"
        raise DeniedStatement(
            f"{account} lacks a right in {place}: {told}. {_tell_grant(failure, url)}", context.statement, error
        ) from error
    if failure.kind in {Kind.MISSING, Kind.SNAPSHOT}:
        raise MismatchedStatement(
            f"{place} is not as the suite expects it: {told}{_tell_tables(failure, context.statement)}. "
            f"{_tell_mismatch(failure)}",
            context.statement,
            error,
        ) from error


def _explain_connection(name: str, setting: str, url: URL, failure: Failure) -> SuiteError:
    told = _hide_password(str(failure), url)
    if failure.kind is Kind.DRIVER:
        return SettingsError(
            f"the ODBC driver for {name} cannot be loaded: {told}. Check SQL_SERVER_DRIVER and {setting}; if the file "
            "is there, `ldd FILE` names the library that it lacks"
        )
    place = f" at {url.host}:{url.port or 'the default port'}" if url.host else ""
    account = f" as {url.username!r}" if url.username else ""
    kind, remedy = _find_remedy(setting, failure)
    return kind(f"cannot connect to {name} {url.database!r}{place}{account}: {told}. {remedy}")


def _find_remedy(setting: str, failure: Failure) -> tuple[type[SuiteError], str]:
    certificate = (
        "The server's certificate must come from an authority that this machine trusts and name the server as it is "
        f"named here; {setting.partition('_')[0]}_CA_FILE and {setting.partition('_')[0]}_ENCRYPTION are told of in "
        "docs/sql-server.md"
    )
    if failure.kind is Kind.ENCRYPTION:
        return EncryptionRefused, certificate
    if failure.kind is Kind.LOGIN:
        return AccessDenied, f"Check the user and the password in {setting}, and the login on the server"
    if failure.kind is Kind.RIGHT:
        return AccessDenied, "Give the login a user in the database (CREATE USER ... FOR LOGIN ...)"
    if failure.number == CANNOT_OPEN_DATABASE:
        return (
            DatabaseUnreachable,
            f"Check the database's name in {setting}, that it is online, and that the login has a user in it",
        )
    reachable = f"Check {setting}, that the server runs and can be reached from here, and the account's rights"
    if UNEXPLAINED in failure.text:
        return DatabaseUnreachable, f"FreeTDS does not say why. {reachable}. {certificate}"
    return DatabaseUnreachable, reachable


def _hide_password(text: str, url: URL) -> str:
    return text.replace(str(url.password), MASK) if url.password else text


def _tell_transient(failure: Failure) -> str:
    if failure.kind is Kind.TIMEOUT:
        return "It is tried again; if it goes on, raise SQL_SERVER_STATEMENT_TIMEOUT or look for what slows the server"
    return "That passes, it is tried again"


def _tell_grant(failure: Failure, url: URL) -> str:
    named = re.search(r"object '([^']+)', database '([^']+)', schema '([^']+)'", failure.text)
    to = f" TO [{url.username}]" if url.username else ""
    if named is None:
        return f"Grant it{to}"
    table, database, schema = named.groups()
    return f"In the database {database}: GRANT SELECT ON [{schema}].[{table}]{to}"


def _tell_tables(failure: Failure, statement: str | None) -> str:
    """Name the tables of a statement when the server named but a column."""
    if "column" not in failure.text.lower() or not statement:
        return ""
    tables = list(dict.fromkeys(match[1] for match in _NAME_OF_SOURCE.finditer(statement) if not match[1].isdigit()))
    return f", in {', '.join(tables)}" if tables else ""


def _tell_mismatch(failure: Failure) -> str:
    if failure.kind is Kind.SNAPSHOT:
        return "Set SQL_SERVER_ISOLATION=READ COMMITTED, or have ALLOW_SNAPSHOT_ISOLATION switched on in the database"
    return "Correct the mapping (HRIS_MAPPING) if the name is wrong; a name that the account may not see is missing too"
