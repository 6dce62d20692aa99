"""What a replication did, or would do: counts an entity, and the rows that it could not take."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

# The application's tables that a replication writes, in the order in which it does.
TARGETS = ("department", "employee", "security_user", "user", "department_assignment")
# Ids listed for one reason; the table `replication_rejected_row` holds all of a replication that was merged.
LISTED_IDS = 1000


@dataclass
class Counts:
    """What became of the rows of one entity; a row counts once.

    `read` are the source's rows (for users: those that an account names), of which `skipped` mean nothing to the
    application and `rejected` cannot be taken. `deactivated` also holds target rows that the source no longer has.
    """

    read: int = 0
    inserted: int = 0
    updated: int = 0
    deactivated: int = 0
    reactivated: int = 0
    unchanged: int = 0
    skipped: int = 0
    rejected: int = 0
    # What a share of deactivated rows is a share of.
    active_before: int = 0

    def told(self) -> dict[str, int]:
        """Give the counts that are told to people."""
        return {name: number for name, number in asdict(self).items() if name != "active_before"}

    @property
    def written(self) -> int:
        """Rows of the target that were inserted or changed."""
        return self.inserted + self.updated + self.deactivated + self.reactivated


@dataclass
class Findings:
    """Ids by reason; long lists are cut, their `total` is not."""

    ids: dict[str, list[str]] = field(default_factory=dict)
    total: dict[str, int] = field(default_factory=dict)

    def add(self, reason: str, keys: Iterable[str], total: int) -> None:
        """Note rows of one reason: the first of their keys, and how many they are in all."""
        self.ids[reason] = list(keys)
        self.total[reason] = total


@dataclass
class Report:
    """The outcome of a merge."""

    entities: dict[str, Counts] = field(default_factory=lambda: {name: Counts() for name in TARGETS})
    rejected: dict[str, Findings] = field(default_factory=lambda: {name: Findings() for name in TARGETS})
    noted: dict[str, Findings] = field(default_factory=lambda: {name: Findings() for name in TARGETS})

    @property
    def written(self) -> int:
        """Rows of all entities that were inserted or changed."""
        return sum(counts.written for counts in self.entities.values())

    def details(self) -> dict[str, dict[str, Any]]:
        """Give all of it as plain data: `entities`, `rejected` and `noted`, each by the table's name.

        The keys of rows are listed by reason; a list that was cut ends with how many more there are.
        """
        return {
            "entities": {name: counts.told() for name, counts in self.entities.items()},
            "rejected": _by_reason(self.rejected),
            "noted": _by_reason(self.noted),
        }


def _by_reason(findings: dict[str, Findings]) -> dict[str, dict[str, list[str]]]:
    listed: dict[str, dict[str, list[str]]] = {}
    for entity, found in findings.items():
        for reason, ids in found.ids.items():
            more = found.total[reason] - len(ids)
            listed.setdefault(entity, {})[reason] = [*ids, f"and {more} more"] if more else list(ids)
    return listed
