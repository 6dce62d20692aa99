"""T-SQL statements as SQLite takes them, and the types of the columns that they give; sqlglot does the work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import sqlglot
from sqlglot import exp
from sqlglot.dialects.sqlite import SQLite
from sqlglot.dialects.tsql import TSQL
from sqlglot.errors import ErrorLevel, OptimizeError, ParseError
from sqlglot.generators.sqlite import SQLiteGenerator
from sqlglot.optimizer.annotate_types import annotate_types
from sqlglot.optimizer.qualify import qualify
from sqlglot.schema import MappingSchema

from tests.servers.tds.catalog import DEFAULT_SCHEMA, Catalog, FoundTable, quote
from tests.servers.tds.tokens import SqlError
from tests.servers.tds.types import INT, MAX, SqlType, parse_type

SYNTAX_ERROR, INVALID_COLUMN, INVALID_OBJECT = 102, 207, 208
# Texts that SQLite must not look into: a cast to its own type of the name would make them numbers.
STAMPS = {exp.DType.DATETIME, exp.DType.DATETIME2, exp.DType.SMALLDATETIME, exp.DType.TIMESTAMPTZ, exp.DType.TIME}
CLOCKS = {"SYSUTCDATETIME", "SYSDATETIME", "GETUTCDATE"}
# SQLite keeps more than 15 digits only of texts.
EXACT = {exp.DType.DECIMAL, exp.DType.MONEY}


@dataclass(frozen=True)
class Statement:
    """A statement for SQLite.

    Attributes:
        sql: Its text; parameters keep their names.
        columns: Names and types of what it gives; None for a type that only the values tell. None: it gives no rows.
    """

    sql: str
    columns: Sequence[tuple[str, SqlType | None]] | None = None


def parse(text: str) -> list[exp.Expr]:
    """Split a batch into statements.

    Raises:
        SqlError: It cannot be understood.
    """
    try:
        return [tree for tree in sqlglot.parse(text, read="tsql") if tree is not None]
    except ParseError as error:
        raise SqlError(SYNTAX_ERROR, f"Incorrect syntax: {error}", severity=15) from error


def translate(
    tree: exp.Expr, catalog: Catalog, database: str, parameters: Mapping[str, SqlType] | None = None
) -> Statement:
    """Translate a statement that reads, writes or defines tables.

    Args:
        tree: The statement.
        catalog: Knows the tables.
        database: The one that names without a database mean.
        parameters: The types of the parameters, by name.

    Raises:
        SqlError: It names what is not there.
    """
    tree = tree.copy()
    if isinstance(tree, exp.Create):
        return Statement(_create_table(tree, catalog, database))
    found = _resolve_tables(tree, catalog, database)
    _replace_names(tree)
    if not isinstance(tree, exp.Query):
        return Statement(_to_sqlite(tree))
    names = [each.output_name if isinstance(each, exp.Column | exp.Alias) else "" for each in tree.selects]
    stars = any(each.is_star for each in tree.selects)
    schema = _schema_of(found)
    try:
        tree = qualify(tree, schema=schema, dialect="tsql", validate_qualify_columns=False)
    except OptimizeError as error:
        raise SqlError(INVALID_COLUMN, f"Invalid column name: {error}") from error
    kinds = parameters or {}
    types = {kind: exp.DataType.build(_name_of(kind), dialect="tsql") for kind in set(kinds.values())}
    named = {name: types[kind] for name, kind in kinds.items()}

    def annotate_parameter(annotator: Any, parameter: exp.Expr) -> exp.Expr:
        annotated: exp.Expr = annotator._set_type(parameter, named.get(parameter.name))
        return annotated

    metadata: Any = {**TSQL.EXPRESSION_METADATA, exp.Parameter: {"annotator": annotate_parameter}}
    tree = annotate_types(tree, schema=schema, dialect="tsql", expression_metadata=metadata)
    _check_columns(tree)
    if stars:
        spelled = {name.lower(): name for table in found for name in table.columns}
        names = [spelled.get(each.output_name, each.output_name) for each in tree.selects]
    tables = {table.alias_or_name for table in tree.find_all(exp.Table)}
    columns = [(name, _type_of(each, tables)) for name, each in zip(names, tree.selects, strict=True)]
    return Statement(_to_sqlite(tree), columns)


def _check_columns(tree: exp.Query) -> None:
    """Refuse columns that no table has: SQLite would take their quoted names for texts."""
    aliases = {each.alias for each in tree.find_all(exp.Alias) if not _is_unknown(each.this)}
    for column in tree.find_all(exp.Column):
        if _is_unknown(column) and column.name not in aliases:
            raise SqlError(INVALID_COLUMN, f"Invalid column name '{column.name}'.")


def _is_unknown(value: exp.Expr) -> bool:
    return isinstance(value, exp.Column) and not value.table


def _name_of(kind: SqlType) -> str:
    # How long a text is says nothing of what is made of it.
    return f"decimal({kind.precision}, {kind.scale})" if kind.name == "decimal" else kind.name


def _type_of(selected: exp.Expr, tables: set[str]) -> SqlType | None:
    value = selected.unalias()
    if isinstance(value, exp.Null):
        return INT
    kind = None if selected.type is None else parse_type(selected.type.sql("tsql"))
    if kind is None or kind.length in (0, MAX) or (isinstance(value, exp.Column) and value.table in tables):
        return kind
    # What a text was made of does not tell how long it is.
    return parse_type(kind.name)


def _resolve_tables(tree: exp.Expr, catalog: Catalog, database: str) -> list[FoundTable]:
    """Put SQLite's names in place of the tables', and give all of them."""
    tables: list[FoundTable] = []
    common = {each.alias.lower() for each in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        if not isinstance(table.this, exp.Identifier):
            raise SqlError(INVALID_OBJECT, f"Invalid object name '{table.sql('tsql')}'.")
        if not table.db and table.name.lower() in common:
            continue
        found = catalog.find(table.catalog or database, table.db or DEFAULT_SCHEMA, table.name)
        if not table.alias and isinstance(table.parent, exp.From | exp.Join):
            table.set("alias", exp.TableAlias(this=table.this.copy()))
        table.set("this", exp.to_identifier(found.name, quoted=True))
        table.set("db", exp.to_identifier(found.database, quoted=True))
        table.set("catalog", None)
        tables.append(found)
    for column in tree.find_all(exp.Column):
        column.set("db", None)
        column.set("catalog", None)
    return tables


def _schema_of(tables: Sequence[FoundTable]) -> MappingSchema:
    schema: dict[str, dict[str, dict[str, str]]] = {}
    for table in tables:
        columns = {name: _declared(kind) for name, kind in table.columns.items()}
        schema.setdefault(table.database, {})[table.name] = columns
    return MappingSchema(dict(schema), dialect="tsql")


def _declared(kind: str) -> str:
    return kind.lower().removesuffix(" text") or "unknown"


def _replace_names(tree: exp.Expr) -> None:
    """Put functions of the session in place of what SQLite has no name for."""
    for parameter in list(tree.find_all(exp.Parameter)):
        # `@@NAME` is understood as a parameter of a parameter.
        if isinstance(parameter.this, exp.Parameter):
            name = exp.Literal.string(parameter.this.name.upper())
            parameter.replace(exp.Anonymous(this="TDS_VARIABLE", expressions=[name]))
    for function in list(tree.find_all(exp.Anonymous)):
        if function.name.upper() in CLOCKS:
            typed = exp.Cast(this=function.copy(), to=exp.DataType.build("datetime2", dialect="tsql"))
            function.replace(typed)


def _create_table(tree: exp.Create, catalog: Catalog, database: str) -> str:
    """Write the definition of a table: its columns keep T-SQL's types."""
    if tree.kind != "TABLE" or not isinstance(tree.this, exp.Schema):
        raise SqlError(SYNTAX_ERROR, f"this server does not know: {tree.sql('tsql')}", severity=15)
    schema, table = tree.this, tree.this.this
    place = catalog.attach(table.catalog or database)
    name = catalog.table_name(table.db or DEFAULT_SCHEMA, table.name)
    columns = []
    for column in schema.find_all(exp.ColumnDef):
        kind = column.args["kind"]
        exact = " text" if kind.this in EXACT else ""
        declared = kind.sql("tsql").lower().replace("numeric", "decimal")
        constraints = [each.sql("sqlite") for each in column.constraints]
        columns.append(" ".join([quote(column.name), quote(declared + exact), *constraints]))
    keys = [each.sql("sqlite") for each in schema.expressions if isinstance(each, exp.PrimaryKey)]
    return f"CREATE TABLE {quote(place)}.{quote(name)} ({', '.join([*columns, *keys])})"


def _write_add(generator: Any, added: exp.Add) -> str:
    operator = "||" if added.is_type(*exp.DataType.TEXT_TYPES) else "+"
    return str(generator.binary(added, operator))


def _write_cast(generator: Any, cast: exp.Cast) -> str:
    value = generator.sql(cast.this)
    if cast.to.this in STAMPS:
        return str(value)
    if cast.to.this is exp.DType.DATE:
        return f"DATE({value})"
    # SQLite takes no "max" for a length, and cuts nothing to it.
    return f"CAST({value} AS {generator.sql(exp.DataType(this=cast.to.this))})"


def _write_values(generator: Any, values: exp.Values) -> str:
    """Write a list of rows as a table whose columns have names, for which SQLite has no shorter way."""
    rows = f"VALUES {generator.expressions(values)}"
    names = values.alias_column_names
    if not names:
        return f"({rows})" if values.alias or isinstance(values.parent, exp.From) else rows
    picked = ", ".join(f"column{place} AS {quote(name)}" for place, name in enumerate(names, start=1))
    return f"(SELECT {picked} FROM ({rows})) AS {quote(values.alias)}"


class SqliteText(SQLite):
    """SQLite as sqlglot writes it, and what only this server's statements need."""

    class Generator(SQLiteGenerator):
        """Writes the statements."""

        TRANSFORMS: ClassVar[Any] = {
            **SQLiteGenerator.TRANSFORMS,
            exp.Add: _write_add,
            exp.Cast: _write_cast,
            exp.CurrentSchema: lambda *_: f"'{DEFAULT_SCHEMA}'",
            exp.National: lambda generator, text: generator.sql(exp.Literal.string(text.name)),
            exp.Values: _write_values,
        }


def _to_sqlite(tree: exp.Expr) -> str:
    text: str = SqliteText().generate(tree, unsupported_level=ErrorLevel.IGNORE)
    return text
