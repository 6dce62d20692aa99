"""Random sources and random states of the application, small enough that everything collides with everything."""

from typing import Any

from hypothesis import strategies as st

from tests.integration.replication.row_by_row import Row, Source, State

IDS = st.integers(1, 6)
UNIT_IDS = st.integers(1, 5)
CODES = st.integers(1, 7)
MAYBE_WORDS = st.sampled_from([None, "", "  ", "Ahmad", " Mona ", "Al  Sayed", "أحمد", "منى علي", "ahmad", "x" * 70])
NAMES = ["ali.h", "mona-s", "omar.k", "sara.a", "nour-e"]


def _row(**columns: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(columns)


def _unique(rows: st.SearchStrategy[Row], key: str, size: int = 6) -> st.SearchStrategy[list[Row]]:
    return st.lists(rows, max_size=size, unique_by=lambda row: row[key])


def sources() -> st.SearchStrategy[Source]:
    """Give random sources: dangling and missing ids, several posts, shared codes, names of all kinds."""
    parts = {
        f"{language}{part}": MAYBE_WORDS for language in ("Ar", "En") for part in ("FName", "SName", "ThName", "LName")
    }
    return st.fixed_dictionaries(
        {
            "HR_OrganizationUnit": _unique(
                _row(
                    ID=UNIT_IDS,
                    ParentID=st.none() | st.integers(1, 6),
                    ArName=MAYBE_WORDS,
                    EnName=st.sampled_from(["Nursing", "IT ", "Stores", None, "y" * 130]),
                    IsActive=st.booleans(),
                ),
                "ID",
            ),
            "HR_Employee": _unique(_row(ID=IDS, Code=st.none() | st.integers(0, 7), **parts), "ID"),
            "HR_EmployeePosition": st.lists(
                _row(
                    EmployeeID=IDS,
                    PositionID=st.none() | st.integers(1, 3),
                    OrgUnitID=st.none() | st.integers(1, 6),
                    IsActive=st.sampled_from([True, True, True, False]),
                ),
                max_size=10,
            ),
            "HR_Position": st.lists(
                _row(ID=st.integers(1, 3), EnName=st.sampled_from([None, "Nurse", "Clerk ", "z" * 129])), max_size=4
            ),
            "User": _unique(
                _row(
                    ID=IDS,
                    Name=st.sampled_from([*NAMES, "test1", " ali.h "]),
                    isDeleted=st.booleans(),
                    isLocked=st.booleans(),
                    EmpId=st.none() | st.integers(1, 8),
                ),
                "ID",
            ),
            "TMS_ForwardEdit": st.lists(_row(EmployeeID=st.integers(1, 8), OrgUnitID=st.integers(1, 7)), max_size=8),
        }
    )


@st.composite
def states(draw: st.DrawFn) -> State:
    """Give random states of the application that its own constraints allow."""
    synced = draw(
        _unique(_row(hris_id=UNIT_IDS, name_en=st.sampled_from(["Nursing", "Old"]), is_active=st.booleans()), "hris_id")
    )
    departments = [{**row, "key": f"d{row['hris_id']}", "name_ar": "قسم", "parent": None} for row in synced]
    if draw(st.booleans()):
        own = {"hris_id": None, "key": "own", "name_en": "Own", "name_ar": "خاص", "is_active": True, "parent": None}
        departments.append(own)
    keys = [row["key"] for row in departments]
    for row in departments:
        row["parent"] = draw(st.sampled_from([None, *(key for key in keys if key < row["key"])]))
    maybe_department = st.sampled_from([None, *keys])
    employees = draw(
        st.lists(
            _row(
                id=IDS,
                code=CODES,
                name_en=st.sampled_from([None, "Ahmad", "ahmad"]),
                name_ar=st.just("أحمد"),
                title=st.sampled_from([None, "Nurse"]),
                is_active=st.booleans(),
                department=maybe_department,
            ),
            max_size=5,
            unique_by=(lambda row: row["id"], lambda row: row["code"]),
        )
    )
    maybe_employee = st.sampled_from([None, *(row["id"] for row in employees)])
    accounts = draw(
        _unique(
            _row(
                hris_id=IDS,
                user_name=st.sampled_from(NAMES),
                is_deleted=st.booleans(),
                is_locked=st.booleans(),
                employee_id=maybe_employee,
            ),
            "hris_id",
        )
    )
    users = draw(
        st.lists(
            _row(
                username=st.sampled_from([*NAMES, "admin"]),
                full_name=st.just("Somebody"),
                title=st.none(),
                employee_id=maybe_employee,
                is_active=st.booleans(),
                user_source=st.sampled_from(["hris", "manual"]),
                status_override=st.booleans(),
            ),
            max_size=5,
            unique_by=(lambda row: row["username"], lambda row: row["employee_id"] or row["username"]),
        )
    )
    assignments: list[Row] = []
    if users and keys:
        assignments = draw(
            st.lists(
                _row(
                    user=st.sampled_from([row["username"] for row in users]),
                    department=st.sampled_from(keys),
                    is_synced_from_hris=st.booleans(),
                    is_active=st.booleans(),
                ),
                max_size=5,
            )
        )
    return {
        "department": departments,
        "employee": employees,
        "security_user": accounts,
        "user": users,
        "department_assignment": assignments,
    }
