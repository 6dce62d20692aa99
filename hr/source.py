"""Reading the HRIS: one statement an entity, built from the mapping, streamed in chunks."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    String,
    case,
    column,
    func,
    literal,
    null,
    or_,
    select,
    table,
    true,
    union_all,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engines import Database
from db.streaming import Rows, stream_rows
from errors import AccessDenied, SourceColumnMissing, StatementInterrupted
from hr.mapping import EntityName, Flag, Mapping, MappingFile, SourceTable


class Source:
    """An HRIS as its mapping describes it.

    Args:
        database: The HRIS; only read.
        mapping_file: Which tables and columns hold what.
    """

    def __init__(self, database: Database, mapping_file: MappingFile) -> None:
        self._database = database
        self._file = mapping_file
        self.system = mapping_file.mapping.system

    async def count(self, entity: EntityName) -> int:
        """Count the rows that `read` will give, to tell how far a replication is."""
        async with self._database.engine().connect() as connection:
            rows = self.statement(entity, connection.dialect.name).order_by(None)
            try:
                counted = await connection.execute(rows.with_only_columns(func.count(), maintain_column_froms=True))
                return int(counted.scalar_one())
            except DBAPIError as error:
                await self._explain(_SECTIONS[entity], error)
                raise

    async def read(self, entity: EntityName, chunk_rows: int) -> AsyncGenerator[Rows, None]:
        """Stream the rows of an entity, as `statement` selects them.

        Args:
            entity: What to read.
            chunk_rows: Rows a chunk; no more than about two chunks are in memory.

        Raises:
            SourceColumnMissing: The source lacks a table or column that the mapping names.
            DatabaseUnreachable: No connection.
        """
        rows = self.stream(lambda dialect: self.statement(entity, dialect), _SECTIONS[entity], chunk_rows)
        # Who stops half-way gives the connection back at once, not when the garbage is collected.
        async with aclosing(rows) as chunks:
            async for chunk in chunks:
                yield chunk

    async def stream(
        self, build: Callable[[str], Select[Any]], sections: Sequence[str], chunk_rows: int
    ) -> AsyncGenerator[Rows, None]:
        """Stream the rows of any statement about tables of the mapping.

        Args:
            build: Gives the statement for the source's dialect, called by SQLAlchemy's name.
            sections: The mapping's sections that it names, for messages.
            chunk_rows: Rows a chunk; no more than about two chunks are in memory.

        Raises:
            SourceColumnMissing: The source lacks a table or column that the mapping names.
            DatabaseUnreachable: No connection.
        """
        async with self._database.engine().connect() as connection:
            statement = await asyncio.to_thread(build, connection.dialect.name)
            try:
                async with aclosing(stream_rows(connection, statement, chunk_rows)) as chunks:
                    async for rows in chunks:
                        yield rows
            except DBAPIError as error:
                await self._explain(sections, error)
                raise

    def statement(self, entity: EntityName, dialect: str) -> Select[Any]:
        """Build the statement that selects an entity's rows.

        Args:
            entity: What to select.
            dialect: SQLAlchemy's name of the source's dialect; SQLite has no schemas, there they fall away.
        """
        return _STATEMENTS[entity](self._file.mapping, dialect)

    async def _explain(self, sections: Sequence[str], error: DBAPIError) -> None:
        """Look for what the source lacks of the mapping: a driver's own message rarely tells the line to mend."""
        # A missing right the server has told with its table, and nothing is missing when a statement was interrupted.
        if isinstance(error, StatementInterrupted | AccessDenied):
            return
        if problem := await self.find_problem(sections):
            raise SourceColumnMissing(problem) from error

    async def find_problem(self, sections: Sequence[str]) -> str | None:
        """Look for the first table or column of the mapping that the source lacks, or the account may not read.

        Args:
            sections: The mapping's sections to look at; those that it leaves out are passed over.

        Returns:
            What is missing, where it is named and what to do; None if all is there.

        Raises:
            DatabaseUnreachable: No connection.
        """
        async with self._database.engine().connect() as connection:
            for section in sections:
                source_table: SourceTable | None = getattr(self._file.mapping, section)
                if source_table is None:
                    continue
                if problem := await self._find_problem_of(connection, section, source_table):
                    return problem
        return None

    async def _find_problem_of(
        self, connection: AsyncConnection, section: str, source_table: SourceTable
    ) -> str | None:
        named = mapped_table(self._file.mapping, source_table, connection.dialect.name)
        label = ".".join(
            part for part in (self._file.mapping.qualified_schema(source_table), source_table.table) if part
        )
        if not await _can_select(connection, select(literal(1)).select_from(named)):
            return (
                f"{self._database.name} has no table {label} that this account may read; it is named in "
                f"{self._file.place(section, 'table')}. Correct the mapping or grant the account SELECT"
            )
        for name, key in source_table.column_keys().items():
            if not await _can_select(connection, select(named.c[name])):
                return (
                    f"{self._database.name} has no column {name!r} in {label} that this account may read; it is named "
                    f"in {self._file.place(section, key)}. Correct the mapping or grant the account SELECT"
                )
        return None


async def _can_select(connection: AsyncConnection, statement: Select[Any]) -> bool:
    try:
        await connection.execute(statement.where(literal(1) == literal(0)))
    except DBAPIError as error:
        if isinstance(error, StatementInterrupted):
            raise
        await connection.rollback()
        return False
    return True


def mapped_table(mapping: Mapping, source_table: SourceTable, dialect: str) -> FromClause:
    """Give a table of the mapping under a name of its own, with the columns that its section names.

    Args:
        mapping: The mapping.
        source_table: One of its sections.
        dialect: SQLAlchemy's name of the source's dialect; SQLite has no schemas, there they fall away.
    """
    schema = None if dialect == "sqlite" else mapping.qualified_schema(source_table)
    columns = [column(name, String()) for name in source_table.column_keys()]
    # Through an alias a column cannot be mistaken for a text, as SQLite takes a quoted name that it does not know.
    return table(source_table.table, *columns, schema=schema).alias(source_table.table.lower())


def is_set(flag: Flag, source: FromClause) -> ColumnElement[bool]:
    """Give the condition that a row of a mapped table has a flag."""
    if flag.column is None:
        return literal(1) == literal(1 if flag.always else 0)
    return source.c[flag.column] == literal(flag.equals)


def _flag(flag: Flag, source: FromClause) -> ColumnElement[Any]:
    return case((is_set(flag, source), 1), else_=0)


def _departments(mapping: Mapping, dialect: str) -> Select[Any]:
    keys = mapping.department
    department = mapped_table(mapping, keys, dialect)
    return select(
        department.c[keys.id],
        department.c[keys.parent_id] if keys.parent_id else null(),
        department.c[keys.name_en],
        department.c[keys.name_ar],
        _flag(keys.is_active, department),
    ).order_by(department.c[keys.id])


def _employees(mapping: Mapping, dialect: str) -> Select[Any]:
    """Select each employee who holds an active post, with the one post that counts.

    The source chooses the post and joins the parts of names, in one statement, so that person and post are of one
    moment and little travels. It is not asked to sort: that would hold back the first row.
    """
    keys = mapping.employee
    employee = mapped_table(mapping, keys, dialect)
    post = _chosen_posts(mapping, dialect)
    joined: FromClause = employee.join(post, post.c.employee_id == employee.c[keys.id])
    title: ColumnElement[Any] = post.c.title if mapping.post.title else null()
    if mapping.position is not None:
        # A position that is listed twice must not give its people twice.
        position = mapped_table(mapping, mapping.position, dialect)
        titles = (
            select(
                position.c[mapping.position.id].label("id"), func.min(position.c[mapping.position.title]).label("title")
            )
            .group_by(position.c[mapping.position.id])
            .subquery("titles")
        )
        joined = joined.outerjoin(titles, titles.c.id == post.c.position_id)
        title = titles.c.title
    return select(
        employee.c[keys.id],
        employee.c[keys.code],
        _joined([employee.c[part] for part in keys.name_en]).label("name_en"),
        _joined([employee.c[part] for part in keys.name_ar]).label("name_ar"),
        title,
        post.c.department_id,
    ).select_from(joined)


def _joined(parts: Sequence[ColumnElement[str]]) -> ColumnElement[str]:
    """Join the parts of a name with spaces; those that a missing part leaves too many are cleaned away later."""
    first, *others = parts
    if not others:
        return first
    name: ColumnElement[str] = func.coalesce(first, literal(""))
    for part in others:
        name = name + literal(" ") + func.coalesce(part, literal(""))
    return name


def _chosen_posts(mapping: Mapping, dialect: str) -> FromClause:
    """Select one active post a person.

    Of several the first counts, by: its department exists, position, title, department. Nearly everyone has one, for
    whom nothing need be looked up, sorted or grouped.
    """
    post = mapped_table(mapping, mapping.post, dialect)
    columns = _post_columns(mapping, post)
    employee_id = columns["employee_id"]
    active = is_set(mapping.post.is_active, post)
    several = select(employee_id.label("employee_id")).where(active).group_by(employee_id).having(func.count() > 1)
    holders = several.cte("several")
    # An outer join, not NOT EXISTS: SQLite then begins to answer before it has gone through all posts.
    only = (
        select(*(value.label(name) for name, value in columns.items()))
        .select_from(post.outerjoin(holders, holders.c.employee_id == employee_id))
        .where(active, holders.c.employee_id.is_(None))
    )
    ranked = _ranked_posts(mapping, dialect, holders)
    first = select(*(ranked.c[name] for name in columns)).where(ranked.c.place == 1)
    return union_all(only, first).subquery("post")


def _ranked_posts(mapping: Mapping, dialect: str, holders: FromClause) -> FromClause:
    post = mapped_table(mapping, mapping.post, dialect)
    department = mapped_table(mapping, mapping.department, dialect)
    department_id = department.c[mapping.department.id]
    columns = _post_columns(mapping, post)
    order: list[ColumnElement[Any]] = [case((department_id.is_(None), 1), else_=0)]
    order += [value for name, value in columns.items() if name != "employee_id"]
    place = func.row_number().over(partition_by=columns["employee_id"], order_by=order)
    return (
        select(*(value.label(name) for name, value in columns.items()), place.label("place"))
        .select_from(
            post.join(holders, holders.c.employee_id == columns["employee_id"]).outerjoin(
                department, department_id == columns["department_id"]
            )
        )
        .where(is_set(mapping.post.is_active, post))
        .subquery("ranked")
    )


def _post_columns(mapping: Mapping, post: FromClause) -> dict[str, ColumnElement[Any]]:
    keys = mapping.post
    names = {
        "employee_id": keys.employee_id,
        "position_id": keys.position_id,
        "title": keys.title,
        "department_id": keys.department_id,
    }
    return {label: post.c[name] for label, name in names.items() if name is not None}


def _accounts(mapping: Mapping, dialect: str) -> Select[Any]:
    keys = mapping.account
    account = mapped_table(mapping, keys, dialect)
    name = account.c[keys.user_name]
    wanted = [name.contains(part, autoescape=True) for part in keys.user_name_contains]
    return (
        select(
            account.c[keys.id],
            name,
            _flag(keys.is_deleted, account),
            _flag(keys.is_locked, account),
            account.c[keys.employee_id],
        )
        .where(or_(*wanted) if wanted else true())
        .order_by(account.c[keys.id])
    )


def _assignments(mapping: Mapping, dialect: str) -> Select[Any]:
    keys = mapping.assignment
    assignment = mapped_table(mapping, keys, dialect)
    columns = assignment.c[keys.employee_id], assignment.c[keys.department_id]
    return select(*columns).order_by(*columns)


_STATEMENTS = {
    "department": _departments,
    "employee": _employees,
    "account": _accounts,
    "assignment": _assignments,
}
_SECTIONS: dict[EntityName, tuple[str, ...]] = {
    "department": ("department",),
    "employee": ("employee", "post", "position", "department"),
    "account": ("account",),
    "assignment": ("assignment",),
}
