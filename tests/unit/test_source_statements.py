"""The T-SQL that the replication sends to a SQL Server."""

from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.dialects import mssql

from db.engines import Database
from hr.mapping import ENTITIES, EntityName, load_mapping
from hr.source import Source
from settings import REPOSITORY

DOCUMENTED = REPOSITORY / "hr" / "mappings" / "hris.toml"
# What SQL Server takes in one statement.
PARAMETER_LIMIT = 2100


def compile_for_sql_server(entity: EntityName, mapping: Path = DOCUMENTED) -> tuple[str, int]:
    hris = Database("the HRIS", "HRIS_DATABASE_URL", lambda: make_url("mssql+aioodbc://h/d"), writes=False)
    statement = Source(hris, load_mapping(mapping)).statement(entity, "mssql")
    compiled = statement.compile(dialect=mssql.dialect())  # type: ignore[no-untyped-call]
    return " ".join(str(compiled).split()), len(compiled.params)


@pytest.mark.parametrize("entity", ENTITIES)
def test_no_statement_comes_near_the_limit_of_parameters(entity: EntityName) -> None:
    _, parameters = compile_for_sql_server(entity)
    assert parameters < PARAMETER_LIMIT / 50


def test_mixed_case_names_are_bracketed_in_their_schema() -> None:
    statement, _ = compile_for_sql_server("department")
    assert "FROM dbo.[HR_OrganizationUnit] AS" in statement
    assert ".[ParentID]" in statement


def test_accounts_are_read_from_the_schema_security_and_only_people() -> None:
    statement, _ = compile_for_sql_server("account")
    assert "FROM [Security].[User] AS [user]" in statement
    assert statement.count("LIKE") == 2


def test_a_database_name_that_needs_brackets_gets_them(tmp_path: Path) -> None:
    mapping = tmp_path / "hyphen.toml"
    text = DOCUMENTED.read_text(encoding="utf-8")
    mapping.write_text(text.replace('schema = "dbo"', 'schema = "dbo"\ndatabase = "HMIS-AMH"', 1), encoding="utf-8")
    statement, _ = compile_for_sql_server("assignment", mapping)
    assert "FROM [HMIS-AMH].dbo.[TMS_ForwardEdit] AS" in statement
    statement, _ = compile_for_sql_server("account", mapping)
    assert "FROM [HMIS-AMH].[Security].[User] AS" in statement


def test_the_source_itself_chooses_one_post_a_person() -> None:
    statement, _ = compile_for_sql_server("employee")
    assert "row_number() OVER (PARTITION BY hr_employeeposition.[EmployeeID] ORDER BY" in statement
    assert "ranked.place = " in statement
