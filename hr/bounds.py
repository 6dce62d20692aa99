"""When a source looks broken: how much a replication may deactivate or leave aside."""

from dataclasses import dataclass
from typing import Any

from errors import SourceEmpty, SourceShrunken, TooManyRejected
from hr.merge.report import Counts, Report

HOW_TO_ALLOW = (
    "Nothing was changed. Look at the source first; if it is right, allow it for one run with the parameter "
    "allow_shrunken_source=true"
)
# Without departments or employees no HRIS can be right.
# Ids named in a message; the report lists more.
NAMED_IDS = 5
NEVER_EMPTY = ("department", "employee")


@dataclass(frozen=True)
class Bounds:
    """How much of a source may look wrong before nothing is taken from it.

    Args:
        max_deactivated_share: Largest share of an entity's active rows that may be deactivated, 0 to 1.
        max_rejected_share: Largest share of an entity's source rows that may be rejected, 0 to 1.
    """

    max_deactivated_share: float
    max_rejected_share: float


def check_staged(bounds: Bounds, target: str, *, staged: int, active: int) -> None:
    """Refuse a source that plainly has too few rows, before anything is merged.

    Args:
        bounds: What is allowed.
        target: The table of the application that the rows are for.
        staged: Rows that the source gave.
        active: Active rows that the application has.

    Raises:
        SourceEmpty: There are none, and there must be.
        SourceShrunken: So few that more than the allowed share would be deactivated.
    """
    if staged == 0 and (target in NEVER_EMPTY or active > 0):
        raise SourceEmpty(f"the source gave no rows for {target} ({active} are active). {HOW_TO_ALLOW}")
    if active - staged > bounds.max_deactivated_share * active:
        raise SourceShrunken(
            f"the source gave {staged} rows for {target}, where {active} are active: at least "
            f"{_percent(active - staged, active)} would be deactivated, "
            f"{bounds.max_deactivated_share:.0%} are allowed. {HOW_TO_ALLOW}"
        )


def check_bounds(bounds: Bounds, report: Report, *, allow_shrunken_source: bool) -> None:
    """Refuse a merge that goes beyond the bounds, before it is committed.

    Args:
        bounds: What is allowed.
        report: What the merge did.
        allow_shrunken_source: Let it deactivate as much as the source says.

    Raises:
        SourceShrunken: More of an entity was deactivated than the allowed share.
        TooManyRejected: More of an entity was rejected than the allowed share.
    """
    details = report.details()
    for target, counts in report.entities.items():
        _check_rejected(bounds, target, counts, details)
    if allow_shrunken_source:
        return
    for target, counts in report.entities.items():
        if counts.deactivated > bounds.max_deactivated_share * counts.active_before:
            raise SourceShrunken(
                f"{counts.deactivated} of {counts.active_before} active rows of {target} would be deactivated "
                f"({_percent(counts.deactivated, counts.active_before)}), "
                f"{bounds.max_deactivated_share:.0%} are allowed. {HOW_TO_ALLOW}",
                details,
            )


def _check_rejected(bounds: Bounds, target: str, counts: Counts, details: dict[str, Any]) -> None:
    if counts.rejected > bounds.max_rejected_share * counts.read:
        reasons = ", ".join(
            f"{reason}: {', '.join(ids[:NAMED_IDS])}{' …' if ids[NAMED_IDS:] else ''}"
            for reason, ids in details["rejected"][target].items()
        )
        raise TooManyRejected(
            f"{counts.rejected} of {counts.read} rows for {target} cannot be taken "
            f"({_percent(counts.rejected, counts.read)}), {bounds.max_rejected_share:.0%} are allowed: {reasons}. "
            "Nothing was changed. Correct the source's rows or the mapping, or raise REPLICATION_MAX_REJECTED_SHARE",
            details,
        )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "all"
