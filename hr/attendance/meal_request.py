"""The attendance of a new meal request: when its people first signed in that day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, select, update

from db import biostar_database, hris_database, maria_database
from db.engines import Database
from db.tables import employee, meal_request, meal_request_line
from errors import NotFound
from hr.attendance.days import local_day, to_utc
from hr.attendance.lines import employee_code
from hr.attendance.source import AttendanceSource
from hr.biostar import BioStar, attendance_of_events
from hr.mapping import load_mapping
from hr.source import Source
from settings import Settings

# Values of `meal_request.status_id`.
FETCHING, PENDING = 0, 1


@dataclass(frozen=True)
class SignInLookup:
    """Where sign-ins are looked up.

    Attributes:
        database: The application database.
        source: The HRIS's attendance.
        biostar: What is asked where the HRIS has no sign-in; None where there is no BioStar.
        zone: The site's time zone.
    """

    database: Database
    source: AttendanceSource
    biostar: BioStar | None
    zone: ZoneInfo


@dataclass
class SignInReport:
    """What became of a request's lines.

    Attributes:
        total: Its lines that are not deleted.
        synced: Those with a sign-in.
        written: Those whose sign-in was another one, or none.
        not_found: Those of people of whom no source knows a sign-in.
        errors: Those that BioStar cannot be asked about: their people have no code.
    """

    total: int = 0
    synced: int = 0
    written: int = 0
    not_found: int = 0
    errors: int = 0


class _Line(NamedTuple):
    id: int
    employee_id: int
    code: str | None
    attendance_time: datetime | None


def plan_lookup(settings: Settings) -> SignInLookup:
    """Give the lookup that the settings describe.

    Args:
        settings: The databases, the mapping file, the site's time zone.

    Raises:
        MappingError: The mapping file cannot be used.
    """
    mapping_file = load_mapping(settings.hris_mapping)
    return SignInLookup(
        database=maria_database.database,
        source=AttendanceSource(Source(hris_database.database, mapping_file), mapping_file),
        biostar=BioStar(biostar_database.database, settings.site_zone) if settings.has_biostar else None,
        zone=settings.site_zone,
    )


async def fetch_sign_ins(lookup: SignInLookup, request_id: int) -> SignInReport:
    """Write the first sign-in of the request's local day to its lines; may be repeated.

    Args:
        lookup: Where sign-ins are looked up.
        request_id: The request.

    Raises:
        NotFound: The request does not exist or is deleted.
        SourceError: A source is not as its mapping describes it.
        DatabaseUnreachable: A database does not answer.
    """
    day, lines = await _read_request(lookup, request_id)
    report = SignInReport(total=len(lines))
    if not lines:
        return report
    people = sorted({line.employee_id for line in lines})
    signs = await lookup.source.read_first_signs(people, day)
    found = {line.id: to_utc(signs[line.employee_id], lookup.zone) for line in lines if line.employee_id in signs}
    missing = [line for line in lines if line.id not in found]
    if lookup.biostar is not None and missing:
        report.errors = sum(line.code is None for line in missing)
        found |= await _ask_biostar(lookup.biostar, missing, day)
    changed = [{"line": line.id, "at": found[line.id]} for line in lines if _is_other(found.get(line.id), line)]
    if changed:
        line_id = meal_request_line.c.id == bindparam("line")
        statement = update(meal_request_line).where(line_id).values(attendance_time=bindparam("at"))
        async with lookup.database.engine().begin() as connection:
            await connection.execute(statement, changed)
    report.synced, report.written = len(found), len(changed)
    report.not_found = report.total - report.synced - report.errors
    return report


async def make_pending(database: Database, request_id: int) -> bool:
    """Let a request that waits for its attendance become pending, in a transaction of its own.

    Args:
        database: The application database.
        request_id: The request.

    Returns:
        Whether it was waiting.
    """
    is_waiting = (meal_request.c.id == request_id) & (meal_request.c.status_id == FETCHING)
    async with database.engine().begin() as connection:
        changed = await connection.execute(update(meal_request).where(is_waiting).values(status_id=PENDING))
    return changed.rowcount > 0


async def _read_request(lookup: SignInLookup, request_id: int) -> tuple[date, list[_Line]]:
    line, request = meal_request_line, meal_request
    async with lookup.database.engine().connect() as connection:
        at = await connection.scalar(
            select(request.c.request_time).where(request.c.id == request_id, request.c.is_deleted.is_(False))
        )
        if at is None:
            raise NotFound(f"meal request {request_id} does not exist or is deleted: check the id")
        rows = await connection.execute(
            select(line.c.id, line.c.employee_id, employee_code(connection.dialect.name), line.c.attendance_time)
            .select_from(line.outerjoin(employee, employee.c.id == line.c.employee_id))
            .where(line.c.meal_request_id == request_id, line.c.is_deleted.is_(False))
            .order_by(line.c.id)
        )
        return local_day(at, lookup.zone), [_Line(*row) for row in rows]


async def _ask_biostar(biostar: BioStar, lines: Sequence[_Line], day: date) -> dict[int, datetime]:
    events = await biostar.read_days((line.code, day) for line in lines if line.code is not None)
    came = {code: attendance_of_events(of_day).came for (code, _), of_day in events.items()}
    return {line.id: at for line in lines if (at := came.get(line.code or "")) is not None}


def _is_other(found: datetime | None, line: _Line) -> bool:
    return found is not None and found != line.attendance_time
