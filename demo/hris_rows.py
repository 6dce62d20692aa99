"""The rows of a sample HRIS, drawn one after another from a shape; nothing is kept but what later rows refer to."""

import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from random import Random
from typing import Any

from demo.departments import draw_departments
from demo.people import Person, draw_person, make_account_name

Row = tuple[Any, ...]

# Raise it when the same shape gives other rows than before: files of an older generation are then written anew.
GENERATION = 1
FIRST_EMPLOYEE_ID = 1_001
FIRST_CODE = 20_001
# An id that no department, post or person of the sample has.
MISSING_ID = 9_999_999
LONG_NAME_PARTS = 30

TEST_ACCOUNTS = ("test", "training", "kiosk", "backup", "scanner")
POSITIONS = (
    "Consultant", "Specialist", "Resident Physician", "Head Nurse", "Staff Nurse", "Pharmacist", "Radiographer",
    "Laboratory Technician", "Physiotherapist", "Dietitian", "Medical Secretary", "Accountant", "HR Officer",
    "Buyer", "Storekeeper", "Biomedical Engineer", "Maintenance Technician", "Electrician", "Network Engineer",
    "Software Developer", "Support Agent", "Quality Officer", "Legal Adviser", "Driver", "Cook", "Security Guard",
    "Cleaner", "Receptionist", "Department Head", "  Office Manager ", "Data Entry Clerk ", "Intern",
)  # fmt: skip


@dataclass(frozen=True)
class HrisShape:
    """How large a sample HRIS is and how often each peculiarity occurs (shares are of the people unless said).

    Attributes:
        people: Rows in HR_Employee.
        departments: Departments in the tree; by default a twentieth of the people, at least 60 and at most 5,000.
        seed: The same seed and shape give the same rows.
        several_posts: People with a second, and a few with a third, active post.
        past_posts: People who also have an inactive post.
        no_active_post: People who left or have not begun: no post, or only inactive ones.
        missing_name_part: People whose name lacks some of its parts, in one script or in both.
        arabic_only: People with no English name at all.
        stray_spaces: People with spaces around or inside a part of their name.
        accounts: People with a login account.
        locked_accounts: Share of the accounts.
        deleted_accounts: Share of the accounts.
        recreated_accounts: Share of the accounts that stand beside an older, deleted one of the same name and person.
        test_accounts: Accounts of no one, their names without `.` and `-`, as a share of the accounts.
        forwarders: People who may order for departments other than their own, one to four each.
        duplicate_forwards: Share of those rows that are there twice.
        dangling_forwards: Share of those rows that name a person or a department that is not there.
        duplicate_codes: People whose code someone else has too.
        missing_codes: People with no code.
        unknown_departments: People whose only post is in a department that is not there.
        long_names: People whose name is longer than the application can hold.
    """

    people: int = 5_000
    departments: int | None = None
    seed: int = 2026
    several_posts: float = 0.04
    past_posts: float = 0.15
    no_active_post: float = 0.05
    missing_name_part: float = 0.10
    arabic_only: float = 0.04
    stray_spaces: float = 0.03
    accounts: float = 0.6
    locked_accounts: float = 0.03
    deleted_accounts: float = 0.02
    recreated_accounts: float = 0.003
    test_accounts: float = 0.02
    forwarders: float = 0.06
    duplicate_forwards: float = 0.03
    dangling_forwards: float = 0.02
    duplicate_codes: float = 0.002
    missing_codes: float = 0.002
    unknown_departments: float = 0.002
    long_names: float = 0.001

    @property
    def fingerprint(self) -> int:
        """A number from 1 to 2^31 that another shape, or another generation of the rows, most likely does not have."""
        return zlib.crc32(repr((GENERATION, astuple(self))).encode()) % (2**31 - 1) + 1

    @property
    def department_count(self) -> int:
        """Departments in the tree."""
        return self.departments if self.departments is not None else min(max(self.people // 20, 60), 5_000)


def draw_hris(shape: HrisShape) -> Iterator[tuple[str, Row]]:
    """Draw all rows of a sample HRIS.

    Args:
        shape: How large and how faulty.

    Yields:
        The table's name and one row for it, its columns in the table's order.
    """
    random = Random(shape.seed)  # noqa: S311 - sample data, no secret
    departments = draw_departments(shape.department_count, random)
    for department in departments:
        name = department.name
        yield "HR_OrganizationUnit", (department.id, department.parent_id, name.ar, name.en, int(department.is_active))
    for position, title in enumerate(POSITIONS, start=1):
        yield "HR_Position", (position, title)
    yield from _People(shape, [department.id for department in departments], random).draw()


def spread_name(person: Person) -> Row:
    """Give a person's names as the eight columns of HR_Employee: four Arabic, four English."""
    return (*(name.ar for name in person), *(name.en for name in person))


class _People:
    """Draws the people and everything that hangs on one: posts, accounts, departments to order for."""

    def __init__(self, shape: HrisShape, departments: list[int], random: Random) -> None:
        self.shape = shape
        self.departments = departments
        self.random = random
        self.faults = self._choose_faulty()
        self.account_names: Counter[str] = Counter()
        self.last_account_id = 0
        # The code of the last person without a fault: a duplicate code is always that of someone who is replicated.
        self.good_code = FIRST_CODE

    def draw(self) -> Iterator[tuple[str, Row]]:
        for place in range(self.shape.people):
            # Ids have gaps, as those of any table in use.
            employee_id = FIRST_EMPLOYEE_ID + place + place // 9
            person = draw_person(self.random)
            fault = self.faults.get(place)
            is_active = place == 0 or fault is not None or not self._chance(self.shape.no_active_post)
            yield "HR_Employee", (employee_id, self._give_code(place, fault), *self._write_name(person, fault))
            if is_active and fault is None:
                self.good_code = FIRST_CODE + place
            yield from self._draw_posts(employee_id, fault, is_active=is_active)
            yield from self._draw_accounts(employee_id, person)
            yield from self._draw_forwards(employee_id)
        yield from self._draw_test_accounts()

    def _choose_faulty(self) -> dict[int, str]:
        shape = self.shape
        shares = {
            "duplicate code": shape.duplicate_codes,
            "no code": shape.missing_codes,
            "unknown department": shape.unknown_departments,
            "long name": shape.long_names,
        }
        faults = [fault for fault, share in shares.items() if share for _ in range(max(1, round(share * shape.people)))]
        # The first person stays good, so that there is a code to duplicate.
        places = self.random.sample(range(1, max(shape.people, 1)), min(len(faults), max(shape.people - 1, 0)))
        return dict(zip(places, faults, strict=False))

    def _chance(self, share: float) -> bool:
        return self.random.random() < share

    def _draw_department(self) -> int:
        return self.departments[int(self.random.random() * len(self.departments))]

    def _give_code(self, place: int, fault: str | None) -> int | None:
        if fault == "no code":
            return None
        if fault == "duplicate code":
            return self.good_code
        return FIRST_CODE + place

    def _write_name(self, person: Person, fault: str | None) -> Row:
        name: list[str | None] = list(spread_name(person))
        if fault == "long name":
            return (*name[:7], f"{name[7]} " * LONG_NAME_PARTS)
        if self._chance(self.shape.missing_name_part):
            part = int(self.random.random() * 3) + 1
            name[part] = None
            if self._chance(0.5):
                name[part + 4] = None
        if self._chance(self.shape.arabic_only):
            name[4:] = [None] * 4
        if self._chance(self.shape.stray_spaces):
            part = int(self.random.random() * 8)
            name[part] = self.random.choice(("  {} ", "{}  ", " {}", "")).format(name[part] or "")
        return tuple(name)

    def _draw_posts(self, employee_id: int, fault: str | None, *, is_active: bool) -> Iterator[tuple[str, Row]]:
        if self._chance(self.shape.past_posts):
            yield self._draw_post(employee_id, self._draw_department(), is_active=False)
        if fault == "unknown department":
            yield self._draw_post(employee_id, MISSING_ID, is_active=True)
        elif is_active:
            yield self._draw_post(employee_id, self._draw_department(), is_active=True)
            while fault is None and self._chance(self.shape.several_posts):
                yield self._draw_post(employee_id, self._draw_department(), is_active=True)

    def _draw_post(self, employee_id: int, department: int, *, is_active: bool) -> tuple[str, Row]:
        position = int(self.random.random() * len(POSITIONS)) + 1
        return "HR_EmployeePosition", (employee_id, position, department, int(is_active))

    def _draw_accounts(self, employee_id: int, person: Person) -> Iterator[tuple[str, Row]]:
        shape = self.shape
        if not self._chance(shape.accounts):
            return
        name = make_account_name(person)
        self.account_names[name] += 1
        if self.account_names[name] > 1:
            name += str(self.account_names[name])
        if self._chance(shape.recreated_accounts):
            yield self._account(name, employee_id, is_deleted=True)
        is_deleted, is_locked = self._chance(shape.deleted_accounts), self._chance(shape.locked_accounts)
        yield self._account(name, employee_id, is_deleted=is_deleted, is_locked=is_locked)

    def _draw_test_accounts(self) -> Iterator[tuple[str, Row]]:
        for number in range(1, round(self.last_account_id * self.shape.test_accounts) + 1):
            yield self._account(f"{self.random.choice(TEST_ACCOUNTS)}{number}", None)

    def _account(
        self, name: str, employee_id: int | None, *, is_deleted: bool = False, is_locked: bool = False
    ) -> tuple[str, Row]:
        self.last_account_id += 1
        return "User", (self.last_account_id, name, int(is_deleted), int(is_locked), employee_id)

    def _draw_forwards(self, employee_id: int) -> Iterator[tuple[str, Row]]:
        shape = self.shape
        if not self._chance(shape.forwarders):
            return
        for _ in range(self.random.randint(1, 4)):
            row = (employee_id, self._draw_department())
            if self._chance(shape.dangling_forwards):
                row = (MISSING_ID, row[1]) if self._chance(0.5) else (employee_id, MISSING_ID)
            yield "TMS_ForwardEdit", row
            if self._chance(shape.duplicate_forwards):
                yield "TMS_ForwardEdit", row
