"""The mapping file: which tables and columns of an HRIS hold what the replication needs (`docs/mapping.md`)."""

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from errors import MappingError

EntityName = Literal["department", "employee", "account", "assignment"]
ENTITIES: tuple[EntityName, ...] = ("department", "employee", "account", "assignment")

Name = Annotated[str, Field(min_length=1, max_length=128)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Flag(_Section):
    """A yes or no of the source: a column that is 1 for yes, one that equals a value, or the same for every row."""

    column: Name | None = None
    equals: str | int = 1
    always: bool = False


def _to_flag(value: Any) -> Any:
    if isinstance(value, str):
        return {"column": value}
    if isinstance(value, bool):
        return {"always": value}
    return value


def _to_parts(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


FlagColumn = Annotated[Flag, BeforeValidator(_to_flag)]
NameParts = Annotated[tuple[Name, ...], BeforeValidator(_to_parts), Field(min_length=1)]


class SourceTable(_Section):
    """A table of the source; `schema` and `database` override those of the whole mapping."""

    table: Name
    schema_: Name | None = Field(None, alias="schema")
    database: Name | None = None

    def column_keys(self) -> dict[str, str]:
        """Give the source columns that the section names, each with the section's key for it."""
        columns: dict[str, str] = {}
        for key, value in self:
            if key in SourceTable.model_fields or key.endswith("_contains"):
                continue
            named = value.column if isinstance(value, Flag) else value
            for column in named if isinstance(named, tuple) else (named,):
                if column is not None:
                    columns[column] = key
        return columns


class DepartmentTable(SourceTable):
    """Departments: a tree."""

    id: Name
    parent_id: Name | None = None
    name_en: Name
    name_ar: Name
    is_active: FlagColumn


class EmployeeTable(SourceTable):
    """People; the parts of a name are joined with one space."""

    id: Name
    code: Name
    name_en: NameParts
    name_ar: NameParts


class PostTable(SourceTable):
    """Who holds which post where; the title is in the post itself or in its position."""

    employee_id: Name
    department_id: Name
    position_id: Name | None = None
    title: Name | None = None
    is_active: FlagColumn


class PositionTable(SourceTable):
    """Job titles."""

    id: Name
    title: Name


class AccountTable(SourceTable):
    """Login accounts; with `user_name_contains`, only names that hold one of the texts are people."""

    id: Name
    user_name: Name
    user_name_contains: tuple[str, ...] = ()
    is_deleted: FlagColumn
    is_locked: FlagColumn
    employee_id: Name


class AssignmentTable(SourceTable):
    """Which departments a person may order for."""

    employee_id: Name
    department_id: Name


class PairingTable(SourceTable):
    """When people came and left, as HR has verified it; times are the site's own."""

    employee_id: Name
    came: Name
    left: Name


class SignTable(SourceTable):
    """People signing in and out, as it happens; times are the site's own."""

    employee_id: Name
    at: Name
    is_sign_in: FlagColumn


class Mapping(_Section):
    """What a mapping file says; the attendance's sections may be left out where the HRIS has no attendance."""

    system: Name
    schema_: Name | None = Field(None, alias="schema")
    database: Name | None = None
    department: DepartmentTable
    employee: EmployeeTable
    post: PostTable
    position: PositionTable | None = None
    account: AccountTable
    assignment: AssignmentTable
    attendance_pairing: PairingTable | None = None
    attendance_sign: SignTable | None = None

    @model_validator(mode="after")
    def _check_title(self) -> "Mapping":
        if self.post.title is not None and self.post.position_id is not None:
            raise ValueError("[post] gives both title and position_id: a title comes from one of them")
        if (self.post.position_id is None) != (self.position is None):
            raise ValueError("[post] position_id and the section [position] belong together: give both or neither")
        return self

    def qualified_schema(self, table: SourceTable) -> str | None:
        """Give the schema of a table as SQLAlchemy takes it, with the database before it where one is named.

        Brackets keep a name whole that holds dots or hyphens, such as `HMIS-AMH`.
        """
        schema = table.schema_ or self.schema_
        database = table.database or self.database
        if database is None:
            return schema
        return f"[{database}].{schema or 'dbo'}"


@dataclass(frozen=True)
class MappingFile:
    """A mapping and where each of its keys stands in the file."""

    path: Path
    mapping: Mapping

    @cached_property
    def _lines(self) -> dict[tuple[str, str], int]:
        lines: dict[tuple[str, str], int] = {}
        section = ""
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), 1):
            if header := re.match(r"\s*\[\s*([\w-]+)\s*\]", line):
                section = header[1]
            elif key := re.match(r"\s*([\w-]+)\s*=", line):
                lines[section, key[1]] = number
        return lines

    def place(self, section: str, key: str) -> str:
        """Tell where a key stands, for messages: file, line and key."""
        line = self._lines.get((section, key))
        return f"{self.path.name}{f', line {line}' if line else ''} ([{section}] {key})"


def load_mapping(path: Path) -> MappingFile:
    """Read a mapping file.

    Args:
        path: A TOML file as `docs/mapping.md` describes it.

    Raises:
        MappingError: The file cannot be read, is not TOML, or a key is missing, unknown or of the wrong kind.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MappingError(f"the mapping file {path} cannot be read ({error.strerror}): check HRIS_MAPPING") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise MappingError(f"the mapping file {path} is not TOML: {error}") from error
    try:
        mapping = Mapping.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(
            f"[{'.'.join(str(part) for part in problem['loc']) or 'file'}] {problem['msg']}"
            for problem in error.errors()
        )
        raise MappingError(f"the mapping file {path} cannot be used: {problems}. See docs/mapping.md") from None
    return MappingFile(path, mapping)
