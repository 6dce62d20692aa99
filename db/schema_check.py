"""Whether tables that exist already can serve the suite, and the creation of those that do not exist yet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Date,
    DateTime,
    Enum,
    Inspector,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    inspect,
    text,
)
from sqlalchemy.types import TypeDecorator, TypeEngine

from errors import SchemaMismatch

# Kinds of types that stand in for each other, the particular ones first: a DateTime column may well be a TIMESTAMP, an
# Integer a BIGINT, a Boolean a TINYINT.
KINDS: tuple[tuple[str, tuple[type[TypeEngine[Any]], ...]], ...] = (
    ("a text", (String,)),
    ("a date and time", (DateTime,)),
    ("a date", (Date,)),
    ("an integer or boolean", (Integer, Boolean)),
    ("a number", (Numeric,)),
)
MARIADB_ENGINE = "InnoDB"
MARIADB_CHARSET = "utf8mb4"


@dataclass(frozen=True)
class WrittenTable:
    """A table into which the suite inserts rows of its own.

    Attributes:
        name: The table's name.
        whole_texts: Columns that the suite fills up to their documented length.
    """

    name: str
    whole_texts: Sequence[str] = ()


def adopt_or_create(connection: Connection, wanted: MetaData, written: Sequence[WrittenTable]) -> None:
    """Leave the tables that exist as they are and create the others.

    All existing tables are looked at before the first one is created.

    Args:
        connection: To the database, in a transaction.
        wanted: The tables that there shall be; the types of their foreign keys are fitted to existing tables.
        written: Which of them the suite writes, and what it writes there.

    Raises:
        SchemaMismatch: An existing table cannot serve; nothing was changed. The message names each column and
            what to do.
    """
    if problems := find_problems(connection, wanted, written):
        raise SchemaMismatch(
            "the existing tables of the application database cannot be adopted; nothing was changed:\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )
    inspector = inspect(connection)
    existing = set(inspector.get_table_names())
    options = new_table_options(connection)
    for table in wanted.sorted_tables:
        if table.name not in existing:
            for key in table.foreign_keys:
                # MariaDB takes a foreign key only between columns of the same type and collation.
                if key.column.table.name in existing:
                    key.parent.type = actual_type(inspector, key.column.table.name, key.column.name)
            table.dialect_kwargs.update(options)
            table.create(connection)


def find_problems(connection: Connection, wanted: MetaData, written: Sequence[WrittenTable] = ()) -> list[str]:
    """Look at the tables that exist for what would keep the suite from using them; changes nothing.

    Args:
        connection: To the database.
        wanted: The tables that the suite uses; those that do not exist are passed over.
        written: Which of them the suite writes, and what it writes there.

    Returns:
        A sentence for each problem, with what to do.
    """
    inspector = inspect(connection)
    existing = set(inspector.get_table_names())
    rules = {rule.name: rule for rule in written}
    return [
        problem
        for table in wanted.sorted_tables
        if table.name in existing
        for problem in _find_problems(inspector, table, rules.get(table.name))
    ]


def new_table_options(connection: Connection) -> dict[str, str]:
    """Give the options for a new table: on MariaDB one with transactions and a full character set.

    Args:
        connection: To the database.

    Returns:
        Keyword arguments of `Table`.
    """
    if connection.dialect.name != "mysql":
        return {}
    options = {"mysql_engine": MARIADB_ENGINE}
    if connection.scalar(text("SELECT @@character_set_database")) != MARIADB_CHARSET:
        options["mysql_charset"] = MARIADB_CHARSET
    return options


def actual_type(inspector: Inspector, table: str, column: str) -> TypeEngine[Any]:
    """Give the type of an existing column, with the collation that it has on MariaDB.

    Args:
        inspector: Of the database; it must not have looked at the table before the table was made.
        table: The table's name.
        column: The column's name.

    Returns:
        The type, for a column that is to be compared with that one.
    """
    actual = next(found["type"] for found in inspector.get_columns(table) if found["name"] == column)
    if isinstance(actual, String) and inspector.dialect.name == "mysql" and actual.collation is None:
        actual.collation = inspector.get_table_options(table).get("mysql_collate")
    return actual


def _find_problems(inspector: Inspector, table: Table, written: WrittenTable | None) -> Iterator[str]:
    found = {column["name"]: column for column in inspector.get_columns(table.name)}
    for column in table.columns:
        place = f"column {column.name!r} of table {table.name!r}"
        if column.name not in found:
            yield f"{place} is missing: add it as {column.type.compile(inspector.dialect)}"
            continue
        is_whole = written is not None and column.name in written.whole_texts
        if reason := _why_unusable(column, found[column.name]["type"], is_whole=is_whole):
            actual = found[column.name]["type"]
            yield f"{place} is {actual!r} but {reason}: change it to {column.type.compile(inspector.dialect)}"
        elif written is not None and column.nullable and _demands_value(found[column.name]):
            yield f"{place} does not take NULL and has no default, but the suite leaves it empty: allow NULL"
    if written is None:
        return
    counter = table.autoincrement_column
    if counter is not None and counter.name in found and not _is_numbered(inspector, found[counter.name]):
        yield (
            f"column {counter.name!r} of table {table.name!r} gives new rows no number of their own: "
            "make it AUTO_INCREMENT (on SQLite INTEGER PRIMARY KEY)"
        )
    for name, unknown in found.items():
        if name not in table.columns and _demands_value(unknown):
            yield (
                f"column {name!r} of table {table.name!r} is unknown to the suite, does not take NULL and has no "
                "default, so no row can be inserted: give it a default or allow NULL"
            )
    yield from _find_option_problems(inspector, table)


def _why_unusable(wanted: Column[Any], actual: TypeEngine[Any], *, is_whole: bool) -> str | None:
    kind = _kind(wanted.type)
    if _kind(actual) != kind:
        return f"must be {kind}"
    if isinstance(wanted.type, Enum) and isinstance(actual, Enum):
        lacking = [value for value in wanted.type.enums if value not in actual.enums]
        return f"must know {', '.join(map(repr, lacking))}" if lacking else None
    if is_whole and isinstance(wanted.type, String) and isinstance(actual, String):
        needed = wanted.type.length or 0
        return f"must hold {needed} characters" if actual.length is not None and actual.length < needed else None
    return None


def _kind(type_: TypeEngine[Any]) -> str:
    base = type_.impl_instance if isinstance(type_, TypeDecorator) else type_
    return next((kind for kind, classes in KINDS if isinstance(base, classes)), f"{base!r}")


def _demands_value(column: Any) -> bool:
    filled = column.get("default") is not None or column.get("autoincrement") is True or "computed" in column
    return not column["nullable"] and not filled


def _is_numbered(inspector: Inspector, column: Any) -> bool:
    if inspector.dialect.name == "sqlite":
        return str(column["type"]) == "INTEGER"
    return column.get("autoincrement") is True


def _find_option_problems(inspector: Inspector, table: Table) -> Iterator[str]:
    if inspector.dialect.name != "mysql":
        return
    options = inspector.get_table_options(table.name)
    if (engine := options.get("mysql_engine")) != MARIADB_ENGINE:
        yield (
            f"table {table.name!r} uses the storage engine {engine}, which has no transactions: "
            f"run ALTER TABLE `{table.name}` ENGINE={MARIADB_ENGINE}"
        )
    charset = options.get("mysql_default charset")
    if charset != MARIADB_CHARSET:
        yield (
            f"table {table.name!r} stores its texts as {charset}, which lacks characters that names may hold: "
            f"run ALTER TABLE `{table.name}` CONVERT TO CHARACTER SET {MARIADB_CHARSET}"
        )
