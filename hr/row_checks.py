"""From the source's rows to staged columns: texts cleaned, numbers checked, what cannot be taken set aside.

The work is done a column at a time: whole columns are nearly always in order, which costs one look, and only those that
are not are gone through value by value.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any
from uuid import uuid4

from hr.mapping import EntityName

INT_MAX = 2**31 - 1
NAME_LENGTH = 128
USER_NAME_LENGTH = 64

Column = Sequence[Any]


@dataclass(frozen=True)
class Chunk:
    """The rows of a chunk by columns, in the order of their staging table; the rejected in that of `rejected_row`.

    `refused` are the places of the rejected in the chunk, in order.
    """

    staged: Sequence[Column]
    rejected: Sequence[Column]
    refused: Sequence[int] = ()


class _Checks:
    """The checks of one chunk; the first thing that is wrong with a row is the reason of its rejection."""

    def __init__(self) -> None:
        self.reasons: dict[int, str] = {}

    def integers(self, values: Column, what: str, *, required: bool = True, least: int = -INT_MAX) -> Column:
        """Check whole numbers."""
        odd = [place for place, value in enumerate(values) if type(value) is not int] if _are_mixed(values) else []
        if odd:
            checked: list[int | None] = list(values)
            for place in odd:
                checked[place] = self._integer(values[place], place, what, required=required)
            values = checked
        present = [value for value in values if value is not None] if odd else values
        if present and (min(present) < least or max(present) > INT_MAX):
            for place, value in enumerate(values):
                if value is not None and not least <= value <= INT_MAX:
                    self._reject(place, f"{what} is out of range")
        return values

    def _integer(self, value: Any, place: int, what: str, *, required: bool) -> int | None:
        number = _to_integer(value)
        if number is None and (required or not _is_missing(value)):
            self._reject(place, f"no {what}" if _is_missing(value) else f"{what} is not a whole number")
        return number

    def names(self, values: Column, what: str, *, limit: int = NAME_LENGTH, required: bool = False) -> Column:
        """Take stray spaces out of names; a name of nothing is none."""
        names = [None if value is None else " ".join(str(value).split()) or None for value in values]
        if required and None in names:
            for place in (place for place, name in enumerate(names) if name is None):
                self._reject(place, f"no {what}")
        if max(map(len, filter(None, names)), default=0) > limit:
            for place, name in enumerate(names):
                if name is not None and len(name) > limit:
                    self._reject(place, f"{what} longer than {limit} characters")
        return names

    def flags(self, values: Column) -> Column:
        """Turn 0 and 1, or NULL for 0, into numbers."""
        return [1 if value else 0 for value in values]

    def _reject(self, place: int, reason: str) -> None:
        self.reasons.setdefault(place, reason)


def rules_in_force() -> bytes:
    """Give a fingerprint of the rules in this module: others may stage the same rows differently."""
    return blake2b(Path(__file__).read_bytes(), digest_size=16).digest()


def prepare_chunk(
    entity: EntityName, rows: Sequence[Sequence[Any]], places: Sequence[int], *, last_number: int = 0
) -> Chunk:
    """Check and clean a chunk of the rows that `hr.source` reads.

    Args:
        entity: What the rows are.
        rows: The rows, at least one.
        places: Their places in the source's answer, from 1.
        last_number: The largest number of a row that is staged already; these rows' follow.

    Returns:
        The rows that can be taken, and those that cannot with the reason.
    """
    checks = _Checks()
    source = list(zip(*rows, strict=True))
    numbers = [last_number + place for place in places] if last_number else places
    staged = _COLUMNS[entity](checks, source, numbers)
    if not checks.reasons:
        return Chunk(staged, ())
    refused = sorted(checks.reasons)
    rejected = (
        [entity] * len(refused),
        [numbers[place] for place in refused],
        [_to_source_id(rows[place][0]) for place in refused],
        [_to_key(entity, rows[place], places[place]) for place in refused],
        [checks.reasons[place] for place in refused],
    )
    return Chunk([_without_places(column, refused) for column in staged], rejected, refused)


def _are_mixed(values: Column) -> bool:
    return set(map(type, values)) != {int}


def _without_places(column: Column, places: Sequence[int]) -> Column:
    # Few of many: deleting them is cheaper than choosing all others.
    kept = list(column)
    for place in reversed(places):
        del kept[place]
    return kept


def _departments(checks: _Checks, source: Sequence[Column], numbers: Column) -> list[Column]:
    ids, parents, english, arabic, active = source
    english = checks.names(english, "English name")
    arabic = checks.names(arabic, "Arabic name")
    # Both names are required: the one that is missing is lent by the other.
    lent = [first or second for first, second in zip(english, arabic, strict=True)]
    return [
        checks.integers(ids, "id"),
        numbers,
        checks.integers(parents, "parent", required=False),
        checks.names(lent, "name", required=True),
        [second or first for first, second in zip(english, arabic, strict=True)],
        checks.flags(active),
    ]


def _employees(checks: _Checks, source: Sequence[Column], numbers: Column) -> list[Column]:
    ids, codes, english, arabic, titles, departments = source
    return [
        checks.integers(ids, "id"),
        numbers,
        checks.integers(codes, "code", least=1),
        checks.names(english, "English name"),
        checks.names(arabic, "Arabic name"),
        checks.names(titles, "title"),
        checks.integers(departments, "department", required=False),
    ]


def _accounts(checks: _Checks, source: Sequence[Column], numbers: Column) -> list[Column]:
    ids, names, deleted, locked, employees = source
    return [
        checks.integers(ids, "id"),
        numbers,
        checks.names(names, "user name", limit=USER_NAME_LENGTH, required=True),
        checks.flags(deleted),
        checks.flags(locked),
        checks.integers(employees, "employee", required=False),
        [str(uuid4()) for _ in ids],
    ]


def _assignments(checks: _Checks, source: Sequence[Column], numbers: Column) -> list[Column]:
    employees, departments = source
    return [checks.integers(employees, "employee"), numbers, checks.integers(departments, "department")]


_COLUMNS: dict[EntityName, Callable[[_Checks, Sequence[Column], Column], list[Column]]] = {
    "department": _departments,
    "employee": _employees,
    "account": _accounts,
    "assignment": _assignments,
}


def _to_integer(value: Any) -> int | None:
    """Take what is a whole number, whatever type the driver gives it."""
    if _is_missing(value):
        return None
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return number if isinstance(value, str) or number == value else None


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _to_source_id(value: Any) -> int | None:
    number = _to_integer(value)
    return number if number is not None and abs(number) <= INT_MAX else None


def _to_key(entity: EntityName, row: Sequence[Any], row_no: int) -> str:
    if entity == "assignment":
        return f"{row[0]}/{row[1]}"[:64]
    return f"row {row_no}" if _is_missing(row[0]) else str(row[0])[:64]
