"""The T-SQL that the attendance jobs send to SQL Servers."""

from datetime import UTC, date, datetime
from typing import Any

import pytest
from sqlalchemy import Select, make_url
from sqlalchemy.dialects import mssql

from db.engines import Database
from errors import MappingError
from hr.attendance.source import PEOPLE_PER_QUERY, AttendanceSource
from hr.biostar import PEOPLE_PER_QUERY as BIOSTAR_PEOPLE_PER_QUERY
from hr.biostar import events_statement, ids_statement
from hr.mapping import load_mapping
from hr.source import Source
from settings import REPOSITORY

DOCUMENTED = REPOSITORY / "hr" / "mappings" / "hris.toml"
OTHER = REPOSITORY / "tests" / "integration" / "replication" / "other_hris.toml"
# What SQL Server takes in one statement, and what its ODBC drivers need of it.
PARAMETER_LIMIT = 2100 - 10
PEOPLE = range(1, PEOPLE_PER_QUERY + 1)
DAYS = [date(2026, 9, 1), date(2026, 9, 2)]
BEGIN, END = datetime(2026, 9, 20, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC)


def source(mapping: str = str(DOCUMENTED)) -> AttendanceSource:
    hris = Database("the HRIS", "HRIS_DATABASE_URL", lambda: make_url("mssql+aioodbc://h/d"), writes=False)
    mapping_file = load_mapping(REPOSITORY / mapping)
    return AttendanceSource(Source(hris, mapping_file), mapping_file)


def compile_for_sql_server(statement: Select[Any]) -> tuple[str, int]:
    dialect = mssql.dialect()  # type: ignore[no-untyped-call]
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    return " ".join(str(compiled).split()), len(compiled.params)


STATEMENTS = {
    "pairs": source().pairs_statement("mssql", {person: DAYS for person in PEOPLE}),
    "signs": source().signs_statement("mssql", PEOPLE, BEGIN.date()),
    "events": events_statement("T_LG202611", [str(each) for each in range(BIOSTAR_PEOPLE_PER_QUERY)], BEGIN, END),
    "ids": ids_statement("T_LG202611", BEGIN, END),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_whole_part_of_people_stays_below_the_limit_of_parameters(name: str) -> None:
    _, parameters = compile_for_sql_server(STATEMENTS[name])
    assert parameters < PARAMETER_LIMIT


def test_pairs_are_selected_by_people_and_their_days_from_the_mapped_table() -> None:
    statement, _ = compile_for_sql_server(source().pairs_statement("mssql", {1: DAYS, 2: DAYS[:1]}))
    assert "FROM dbo.[TMS_AttendancePairing] AS" in statement
    assert "JOIN (SELECT * FROM (VALUES (" in statement
    assert ") AS listed (employee_id, days)) AS asked ON asked.employee_id =" in statement
    assert ".[InDate] BETWEEN" in statement
    assert "charindex(convert(char(8), tms_attendancepairing.[InDate], 112), asked.days) > " in statement


def test_only_signs_of_people_coming_are_selected() -> None:
    statement, _ = compile_for_sql_server(source().signs_statement("mssql", [1], date(2026, 9, 1)))
    assert "FROM dbo.[TMS_Attendance] AS" in statement
    assert ".[SignTypeID] = " in statement


def test_events_are_selected_by_code_time_and_kind() -> None:
    statement, _ = compile_for_sql_server(events_statement("T_LG202611", ["7"], BEGIN, END))
    assert "FROM [T_LG202611]" in statement
    assert statement.count("[EVT] BETWEEN") == 2
    assert "[USRID] IN (" in statement


def test_a_mapping_without_attendance_says_which_section_is_missing() -> None:
    with pytest.raises(MappingError, match=r"no section \[attendance_pairing\]"):
        source(str(OTHER)).pairs_statement("mssql", {1: DAYS})
    with pytest.raises(MappingError, match=r"no section \[attendance_sign\]"):
        source(str(OTHER)).signs_statement("mssql", [1], date(2026, 9, 1))
