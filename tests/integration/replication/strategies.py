"""Random sources and random states of the application, small enough that everything collides with everything."""

from typing import Any

from hypothesis import strategies as st

from tests.integration.replication.row_by_row import Row, Source, State, replicate_row_by_row

IDS = st.integers(1, 6)
UNIT_IDS = st.integers(1, 5)
CODES = st.integers(1, 7)
NAMES = ["ali.h", "mona-s", "omar.k", "sara.a", "nour-e"]
NOTHING: State = {"department": [], "employee": [], "security_user": [], "user": [], "department_assignment": []}
# What may have become different in a table since it was replicated.
DEVIATIONS: dict[str, dict[str, list[Any]]] = {
    "department": {"name_en": ["Old"], "name_ar": ["قديم"], "is_active": [False, True], "parent": [None]},
    "employee": {"name_en": ["Old", None], "name_ar": [None], "title": ["Old", None], "is_active": [False]},
    "security_user": {"is_deleted": [False, True], "is_locked": [False, True], "employee_id": [None]},
    "user": {
        "full_name": ["Old"],
        "user_source": ["manual"],
        "status_override": [True],
        "employee_id": [None],
        "is_active": [False, True],
    },
    "department_assignment": {"is_synced_from_hris": [False], "is_active": [False]},
}
LANGUAGES, PARTS = ("Ar", "En"), ("FName", "SName", "ThName", "LName")


def _row(**columns: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries(columns)


def _unique(rows: st.SearchStrategy[Row], key: str, size: int = 6) -> st.SearchStrategy[list[Row]]:
    return st.lists(rows, max_size=size, unique_by=lambda row: row[key])


def _mostly(usual: list[Any], rare: list[Any], times: int = 4) -> st.SearchStrategy[Any]:
    """Give one of the rare values once in a while: rows that cannot be taken hide what becomes of the others."""
    return st.sampled_from(usual * times + rare)


@st.composite
def sources(draw: st.DrawFn) -> Source:
    """Give random sources: dangling and missing ids, several posts, shared codes, names of all kinds.

    Most rows can be taken and most ids exist, so that rows meet.
    """
    unit_ids = draw(st.lists(UNIT_IDS, unique=True, min_size=draw(st.sampled_from([3, 4, 0])), max_size=5))
    units = [draw(_unit(unit_id)) for unit_id in unit_ids]
    people = draw(st.lists(IDS, unique=True, min_size=draw(st.sampled_from([4, 5, 0])), max_size=6))
    posts = [
        draw(_post(employee_id, unit_ids))
        for employee_id in [*people, 6]
        for _ in range(draw(st.sampled_from([1, 1, 2, 3, 0])))
    ]
    return {
        "HR_OrganizationUnit": units,
        "HR_Employee": [draw(_employee(employee_id)) for employee_id in people],
        "HR_EmployeePosition": draw(st.permutations(posts)),
        "HR_Position": draw(
            st.lists(_row(ID=st.integers(1, 3), EnName=_mostly(["Nurse", "Clerk "], [None, "z" * 129])), max_size=4)
        ),
        "User": draw(_unique(_account(), "ID")),
        "TMS_ForwardEdit": draw(
            st.lists(
                _row(EmployeeID=_mostly(people or [1], [7, 8], 2), OrgUnitID=_mostly(unit_ids or [1], [6, 7], 2)),
                max_size=8,
            )
        ),
    }


def _unit(unit_id: int) -> st.SearchStrategy[Row]:
    return _row(
        ID=st.just(unit_id),
        ParentID=_mostly([None, 1, 2, 3, 4, 5], [6]),
        ArName=_mostly(["قسم", "أحمد", None], ["  "]),
        EnName=_mostly(["Nursing", "IT ", "Stores"], [None, "y" * 130]),
        IsActive=st.sampled_from([True, True, False]),
    )


def _employee(employee_id: int) -> st.SearchStrategy[Row]:
    words = _mostly([None, "Ahmad", " Mona ", "Al  Sayed", "أحمد", "ahmad"], ["", "  ", "x" * 70])
    parts = {f"{language}{part}": words for language in LANGUAGES for part in PARTS}
    return _row(ID=st.just(employee_id), Code=_mostly([1, 2, 3, 4, 5, 6, 7], [None, 0]), **parts)


def _post(employee_id: int, unit_ids: list[int]) -> st.SearchStrategy[Row]:
    return _row(
        EmployeeID=st.just(employee_id),
        PositionID=_mostly([1, 2, 3], [None]),
        OrgUnitID=_mostly(unit_ids or [1], [None, 6]),
        IsActive=st.sampled_from([True, True, True, False]),
    )


def _account() -> st.SearchStrategy[Row]:
    return _row(
        ID=IDS,
        Name=_mostly(NAMES, ["test1", " ali.h "]),
        isDeleted=st.sampled_from([False, False, True]),
        isLocked=st.sampled_from([False, False, True]),
        EmpId=_mostly([1, 2, 3, 4, 5, 6], [None, 7, 8]),
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


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Source, State]:
    """Give a random source with a state before it: any, or one that deviates a little from what the source says."""
    source = draw(sources())
    before: State = draw(st.one_of(states(), _states_near(source), _states_near(source)))
    return source, before


@st.composite
def _states_near(draw: st.DrawFn, source: Source) -> State:
    state = replicate_row_by_row(source, NOTHING)
    departments = [None, *(row["key"] for row in state["department"])]
    for table, values in DEVIATIONS.items():
        columns = values | ({"department": departments} if table == "employee" else {})
        for row in state[table]:
            # The last columns are those that matter most.
            column = draw(st.sampled_from([None, None, *columns, *list(columns)[-2:]]))
            if column is not None:
                row[column] = draw(st.sampled_from(columns[column]))
    people = state["employee"]
    what_of_codes = draw(st.sampled_from(["as they were", "swapped", "one is new"]))
    if len(people) > 1 and what_of_codes == "swapped":
        people[0]["code"], people[1]["code"] = people[1]["code"], people[0]["code"]
    elif people and what_of_codes == "one is new":
        people[0]["code"] = draw(st.integers(8, 9))
    if draw(st.booleans()):
        left = {"name_en": "Gone", "name_ar": None, "title": None, "is_active": True, "department": None}
        people.append({"id": 9, "code": 10, **left})
    return state
