"""What an attendance sync did: counts of lines, and which lines to look at."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Any

# Ids listed for one reason.
LISTED_IDS = 1000


@dataclass
class SyncReport:
    """The outcome of a sync, or of a part of it; every line of `total` is in exactly one of the next five.

    Attributes:
        total: Lines looked at.
        created: Lines that got their attendance for the first time.
        updated: Lines whose attendance was another one.
        unchanged: Lines whose attendance is just so already.
        not_found: Lines of people of whom no source knows anything that day.
        errors: Lines that cannot be written; `reasons` has them.
        from_biostar: Lines, of those found, that BioStar told of.
        biostar_ignored: Events of BioStar, in the time it was asked about, of ids that are no employee's code.
        reasons: Ids of the lines in `errors`, by reason; long lists are cut.
        days_asked: Local days that BioStar was asked about.
    """

    total: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    not_found: int = 0
    errors: int = 0
    from_biostar: int = 0
    biostar_ignored: int = 0
    reasons: dict[str, list[int]] = field(default_factory=dict)
    days_asked: set[date] = field(default_factory=set)

    @property
    def synced(self) -> int:
        """Lines that were written."""
        return self.created + self.updated

    def fail(self, reason: str, line_id: int) -> None:
        """Count a line that cannot be written."""
        self.errors += 1
        listed = self.reasons.setdefault(reason, [])
        if len(listed) < LISTED_IDS:
            listed.append(line_id)

    def add(self, part: "SyncReport") -> None:
        """Add the counts of a part."""
        for name in ("total", "created", "updated", "unchanged", "not_found", "errors", "from_biostar"):
            setattr(self, name, getattr(self, name) + getattr(part, name))
        self.biostar_ignored += part.biostar_ignored
        self.days_asked |= part.days_asked
        for reason, ids in part.reasons.items():
            listed = self.reasons.setdefault(reason, [])
            listed.extend(ids[: LISTED_IDS - len(listed)])

    def counts(self) -> dict[str, int]:
        """Give the counts that callers read."""
        names = ("total", "synced", "unchanged", "not_found", "errors", "from_biostar", "biostar_ignored")
        return {name: getattr(self, name) for name in names}


def total_of(parts: Iterable[SyncReport]) -> SyncReport:
    """Add the reports of parts."""
    whole = SyncReport()
    for part in parts:
        whole.add(part)
    return whole


def tell(counts: dict[str, Any]) -> str:
    """Say in a sentence what a sync did."""
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in counts.items())
