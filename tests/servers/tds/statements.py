"""Carrying out batches: statements on SQLite, transactions, what a session is told to be like."""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from sqlglot import exp

from tests.servers.tds.catalog import BUSY_TIMEOUT, Catalog
from tests.servers.tds.functions import DATA_TYPE_COLUMNS, DATA_TYPES, VERSION_TEXT, add_functions
from tests.servers.tds.tokens import Change, SqlError, change_token
from tests.servers.tds.translation import SYNTAX_ERROR, Statement, parse, translate
from tests.servers.tds.types import SOME_TEXT, SqlType, type_of_value

ROWS_AT_A_TIME = 1000
ISOLATION_LEVELS = ("UNSPECIFIED", "READ UNCOMMITTED", "READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE", "SNAPSHOT")
READ_COMMITTED = 2
SQLITE_ERRORS = {"no such column": 207, "no such table": 208, "UNIQUE constraint": 2627, "NOT NULL constraint": 515}
UNKNOWN_ERROR = 50000
NO_TRANSACTION = 3902
DEADLOCK = 1205
_SETTING = re.compile(r"\s*SET\s+(?!.*\bSELECT\b)(.+?)\s*;?\s*$", re.I | re.S)
_ISOLATION = re.compile(r"TRANSACTION\s+ISOLATION\s+LEVEL\s+(\w+(?:\s+(?:UN)?COMMITTED|\s+READ)?)", re.I)
_TYPE_INFO = re.compile(r"\s*sp_datatype_info(?:_100)?\s+(-?\d+)", re.I)
_IN_TRANSACTION = re.compile(r"\s*IF\s+@@TRANCOUNT\s*(=|>)\s*0\s+", re.I)


@dataclass
class Answer:
    """What a statement gave.

    Attributes:
        columns: Of its rows; None if it gives none.
        rows: Read as they are asked for, some at a time.
        changed: Rows that it wrote, or None.
        notes: Tokens that tell what has changed around it.
    """

    columns: Sequence[tuple[str, SqlType]] | None = None
    rows: Iterator[list[tuple[Any, ...]]] = field(default_factory=lambda: iter(()))
    changed: int | None = None
    notes: bytes = b""


class Statements:
    """A session's side of the databases.

    Args:
        folder: Where they are.
        session_id: `@@SPID`.
        user: Who is logged in.
        is_encrypted: Whether the connection is.
    """

    def __init__(self, folder: Path, session_id: int, user: str, *, is_encrypted: bool) -> None:
        self._connection = sqlite3.connect(":memory:", timeout=BUSY_TIMEOUT, isolation_level=None)
        self._catalog = Catalog(folder, self._connection)
        self._implicit = False
        self._descriptor = b""
        self._begun = 0
        self._plans: dict[Any, Statement] = {}
        self._session_id, self._is_encrypted = session_id, is_encrypted
        self.isolation = READ_COMMITTED
        self.database = ""
        add_functions(
            self._connection,
            variables=self._variable,
            database=lambda: self.database,
            user=user,
            object_id=self._object_id,
        )

    def use(self, database: str) -> None:
        """Make a database the one that names without a database mean.

        Raises:
            SqlError: There is none of that name.
        """
        self.database = self._catalog.attach(database)

    def run(
        self, text: str, parameters: Mapping[str, Any] | None = None, kinds: Mapping[str, SqlType] | None = None
    ) -> Iterator[Answer]:
        """Carry out a batch, statement by statement.

        Args:
            text: T-SQL.
            parameters: Values by name, without the `@`.
            kinds: Their types.

        Raises:
            SqlError: A statement failed.
        """
        if condition := _IN_TRANSACTION.match(text):
            if (condition[1] == ">") != self._connection.in_transaction:
                return
            text = text[condition.end() :]
        if setting := _SETTING.match(text):
            self._set(setting[1])
            return
        if asked := _TYPE_INFO.match(text):
            yield Answer(DATA_TYPE_COLUMNS, iter([[row for row in DATA_TYPES if row[1] == int(asked[1])]]))
            return
        for place, tree in enumerate(parse(text)):
            try:
                yield from self._carry_out(tree, (text, place), parameters or {}, kinds or {})
            except sqlite3.Error as error:
                raise _explain(error) from error

    def begin(self) -> bytes:
        """Begin a transaction; gives the tokens that tell so."""
        if self._connection.in_transaction:
            return b""
        self._connection.execute("BEGIN")
        self._begun += 1
        self._descriptor = self._begun.to_bytes(8, "little")
        return change_token(Change.BEGUN, self._descriptor, b"")

    def end(self, change: Change) -> bytes:
        """Commit or roll back the transaction; gives the tokens that tell so."""
        if not self._connection.in_transaction:
            return b""
        self._connection.execute("COMMIT" if change is Change.COMMITTED else "ROLLBACK")
        return change_token(change, b"", self._descriptor)

    def close(self) -> None:
        """Roll back and close the databases."""
        self._connection.close()

    def _carry_out(
        self, tree: exp.Expr, key: tuple[str, int], parameters: Mapping[str, Any], kinds: Mapping[str, SqlType]
    ) -> Iterator[Answer]:
        if isinstance(tree, exp.Transaction):
            yield Answer(notes=self.begin())
        elif isinstance(tree, exp.Commit | exp.Rollback):
            if not self._connection.in_transaction:
                raise SqlError(NO_TRANSACTION, "The request has no corresponding BEGIN TRANSACTION.")
            committed = isinstance(tree, exp.Commit)
            yield Answer(notes=self.end(Change.COMMITTED if committed else Change.ROLLED_BACK))
        elif isinstance(tree, exp.Use):
            before = self.database
            self.use(tree.this.name)
            yield Answer(notes=change_token(Change.DATABASE, self.database, before))
        elif isinstance(tree, exp.Set):
            self._set(tree.sql("tsql").partition(" ")[2])
        elif isinstance(tree, exp.Create | exp.Drop) and tree.kind in ("DATABASE", "SCHEMA"):
            self._define(tree)
            yield Answer()
        elif isinstance(tree, exp.Query | exp.DML | exp.Create | exp.Drop):
            notes = self.begin() if self._implicit else b""
            answer = self._execute(tree, key, parameters, kinds)
            answer.notes = notes
            yield answer
        else:
            raise SqlError(SYNTAX_ERROR, f"this server does not know: {tree.sql('tsql')[:200]}", severity=15)

    def _execute(
        self, tree: exp.Expr, key: tuple[str, int], parameters: Mapping[str, Any], kinds: Mapping[str, SqlType]
    ) -> Answer:
        plan = (*key, self.database, tuple(kinds.items()))
        statement = self._plans.get(plan)
        if statement is None:
            statement = translate(tree, self._catalog, self.database, kinds)
            if isinstance(tree, exp.DML):
                # The same INSERT comes once a row; queries differ, and tables that they name may come and go.
                self._plans[plan] = statement
        cursor = self._connection.execute(statement.sql, dict(parameters))
        if statement.columns is None:
            return Answer(changed=max(cursor.rowcount, 0) if isinstance(tree, exp.DML) else None)
        first = cursor.fetchmany(ROWS_AT_A_TIME)
        columns = [
            (name, kind or _type_of_column(row[place] for row in first))
            for place, (name, kind) in enumerate(statement.columns)
        ]
        return Answer(columns, chain([first] if first else [], _rest(cursor)))

    def _define(self, tree: exp.Create | exp.Drop) -> None:
        if tree.kind == "SCHEMA":
            return
        if isinstance(tree, exp.Create):
            self._catalog.create(tree.this.name)
        else:
            self._catalog.drop(tree.args["tables"][0].name)

    def _set(self, setting: str) -> None:
        if isolation := _ISOLATION.match(setting):
            self.isolation = ISOLATION_LEVELS.index(" ".join(isolation[1].upper().split()))
        elif setting.upper().startswith("IMPLICIT_TRANSACTIONS"):
            self._implicit = setting.upper().endswith("ON")

    def _variable(self, name: str) -> Any:
        values: dict[str, Any] = {
            "SPID": self._session_id,
            "TRANCOUNT": int(self._connection.in_transaction),
            "VERSION": VERSION_TEXT,
            "SERVERNAME": "tds-endpoint",
            "ISOLATION": self.isolation,
            "ENCRYPTED": "TRUE" if self._is_encrypted else "FALSE",
        }
        return values.get(name)

    def _object_id(self, name: str) -> int | None:
        parts = [part.strip("[]") for part in name.split(".")]
        schema = parts[-2] if len(parts) > 1 else "dbo"
        try:
            found = self._catalog.find(parts[-3] if len(parts) > 2 else self.database, schema, parts[-1])
        except SqlError:
            return None
        return abs(hash(found.name)) % 2**31


def _rest(cursor: sqlite3.Cursor) -> Iterator[list[tuple[Any, ...]]]:
    while rows := cursor.fetchmany(ROWS_AT_A_TIME):
        yield rows


def _type_of_column(values: Iterator[Any]) -> SqlType:
    kinds = {kind for kind in map(type_of_value, values) if kind is not None}
    return kinds.pop() if len(kinds) == 1 else SOME_TEXT


def _explain(error: sqlite3.Error) -> SqlError:
    text = str(error)
    number = next((number for begin, number in SQLITE_ERRORS.items() if text.startswith(begin)), UNKNOWN_ERROR)
    if number == SQLITE_ERRORS["no such column"]:
        return SqlError(number, f"Invalid column name '{text.rpartition('.')[2].rpartition(': ')[2]}'.")
    return SqlError(number, text)
