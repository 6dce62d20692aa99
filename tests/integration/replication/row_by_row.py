"""A model of the replication that handles one row after another, as it is documented, to hold the sets against.

It shares no code with `hr/`. A source is a dict of lists, one for each source table; a state is a dict of lists of
dicts, one for each table of the application, with departments referred to by their key in the state.
"""

from copy import deepcopy
from typing import Any

Row = dict[str, Any]
State = dict[str, list[Row]]
Source = dict[str, list[Row]]


def replicate_row_by_row(source: Source, before: State) -> State:
    """Give the state after a replication of the source."""
    state = deepcopy(before)
    _departments(source, state)
    _employees(source, state)
    taken_accounts = _accounts(source, state)
    _users(state, taken_accounts)
    _assignments(source, state)
    return state


def _clean(*parts: str | None) -> str | None:
    return " ".join(word for part in parts if part for word in part.split()) or None


def _find(rows: list[Row], key: str, value: Any) -> Row | None:
    return next((row for row in rows if row[key] == value), None)


def _departments(source: Source, state: State) -> None:
    taken: dict[int, Row] = {}
    rejected: set[int] = set()
    for row in source["HR_OrganizationUnit"]:
        english, arabic = _clean(row["EnName"]), _clean(row["ArName"])
        names = english or arabic, arabic or english
        if names[0] is None or max(len(english or ""), len(arabic or "")) > 128:
            rejected.add(row["ID"])
        elif row["ID"] not in taken:
            taken[row["ID"]] = {"names": names, "parent": row["ParentID"], "active": bool(row["IsActive"])}
    for hris_id, row in taken.items():
        if row["parent"] not in taken or _is_above(taken, hris_id, hris_id):
            row["root"] = True
    for hris_id, row in taken.items():
        known = _find(state["department"], "hris_id", hris_id)
        if known is None:
            known = {"hris_id": hris_id, "key": f"new {hris_id}"}
            state["department"].append(known)
        known.update(name_en=row["names"][0], name_ar=row["names"][1], is_active=row["active"])
    for hris_id, row in taken.items():
        parent = None if row.get("root") else _find(state["department"], "hris_id", row["parent"])
        known = _find(state["department"], "hris_id", hris_id)
        assert known is not None
        known["parent"] = parent and parent["key"]
    for known in state["department"]:
        if known["hris_id"] is not None and known["hris_id"] not in taken and known["hris_id"] not in rejected:
            known["is_active"] = False


def _is_above(taken: dict[int, Row], ancestor: int, hris_id: int) -> bool:
    seen = set()
    while (parent := taken[hris_id]["parent"]) in taken and parent not in seen:
        if parent == ancestor:
            return True
        seen.add(parent)
        hris_id = parent
    return False


def _employees(source: Source, state: State) -> None:
    department_ids = {row["ID"] for row in source["HR_OrganizationUnit"]}
    wanted: dict[int, Row] = {}
    active: set[int] = set()
    for person in source["HR_Employee"]:
        posts = [
            post for post in source["HR_EmployeePosition"] if post["EmployeeID"] == person["ID"] and post["IsActive"]
        ]
        if not posts:
            continue
        active.add(person["ID"])
        post = min(posts, key=lambda post: _post_order(post, department_ids))
        titles = [row["EnName"] for row in source["HR_Position"] if row["ID"] == post["PositionID"] and row["EnName"]]
        row = {
            "id": person["ID"],
            "code": person["Code"],
            "name_en": _clean(person["EnFName"], person["EnSName"], person["EnThName"], person["EnLName"]),
            "name_ar": _clean(person["ArFName"], person["ArSName"], person["ArThName"], person["ArLName"]),
            "title": _clean(min(titles, default=None)),
            "is_active": True,
            "department": None,
        }
        if row["code"] is None or row["code"] < 1:
            continue
        if any(len(row[name] or "") > 128 for name in ("name_en", "name_ar", "title")):
            continue
        if post["OrgUnitID"] is not None:
            department = _find(state["department"], "hris_id", post["OrgUnitID"])
            if department is None:
                continue
            row["department"] = department["key"]
        wanted[row["id"]] = row
    while (loser := _loser_of_a_code(wanted, state)) is not None:
        del wanted[loser]
    for known in state["employee"]:
        if known["id"] in wanted:
            known.update(wanted.pop(known["id"]))
        elif known["id"] not in active:
            known["is_active"] = False
    state["employee"] += wanted.values()


def _post_order(post: Row, department_ids: set[int]) -> tuple[Any, ...]:
    position, department = post["PositionID"], post["OrgUnitID"]
    unknown = department is None or department not in department_ids
    return unknown, position is not None, position or 0, department is not None, department or 0


def _loser_of_a_code(wanted: dict[int, Row], state: State) -> int | None:
    has = {row["id"]: row["code"] for row in state["employee"]}
    for number, row in sorted(wanted.items(), reverse=True):
        for other, code in has.items():
            if other != number and other not in wanted and code == row["code"]:
                return number
        rivals = [other for other in wanted.values() if other["code"] == row["code"] and other["id"] != number]
        if any(has.get(rival["id"]) == row["code"] for rival in rivals):
            return number
        if has.get(number) != row["code"] and any(rival["id"] < number for rival in rivals):
            return number
    return None


def _accounts(source: Source, state: State) -> set[int]:
    taken, present = set(), set()
    for row in source["User"]:
        if "." not in (row["Name"] or "") and "-" not in (row["Name"] or ""):
            continue
        name = _clean(row["Name"])
        present.add(row["ID"])
        if name is None or len(name) > 64:
            continue
        taken.add(row["ID"])
        known = _find(state["security_user"], "hris_id", row["ID"])
        if known is None:
            known = {"hris_id": row["ID"]}
            state["security_user"].append(known)
        employee = _find(state["employee"], "id", row["EmpId"])
        known.update(
            user_name=name,
            is_deleted=bool(row["isDeleted"]),
            is_locked=bool(row["isLocked"]),
            employee_id=employee and employee["id"],
        )
    for known in state["security_user"]:
        if known["hris_id"] not in present and not known["is_locked"]:
            known["is_deleted"] = True
    return taken


def _is_usable(account: Row) -> bool:
    return not account["is_deleted"] and not account["is_locked"]


def _users(state: State, taken_accounts: set[int]) -> None:
    accounts: dict[str, Row] = {}
    in_order = sorted(state["security_user"], key=lambda account: (not _is_usable(account), account["hris_id"]))
    for account in in_order:
        accounts.setdefault(account["user_name"], account)
    users = {user["username"]: user for user in state["user"]}
    movers = []
    for name, account in accounts.items():
        user, employee_id = users.get(name), account["employee_id"]
        if user is None or employee_id is None or user["employee_id"] == employee_id:
            continue
        if user["employee_id"] is None or user["user_source"] == "hris":
            user["employee_id"] = None
            movers.append((user, employee_id))
    for user, employee_id in movers:
        if _find(state["user"], "employee_id", employee_id) is None:
            user["employee_id"] = employee_id
    for name, account in accounts.items():
        employee_id = account["employee_id"]
        if name in users or employee_id is None or account["hris_id"] not in taken_accounts:
            continue
        if _find(state["user"], "employee_id", employee_id) is None:
            employee = _find(state["employee"], "id", employee_id)
            assert employee is not None
            state["user"].append(
                {
                    "username": name,
                    "full_name": employee["name_en"],
                    "title": employee["title"],
                    "employee_id": employee_id,
                    "is_active": False,
                    "user_source": "hris",
                    "status_override": False,
                }
            )
    for user in state["user"]:
        own = accounts.get(user["username"])
        if own is not None and user["user_source"] == "hris" and not user["status_override"]:
            user["is_active"] = _is_usable(own)


def _assignments(source: Source, state: State) -> None:
    meant = set()
    for row in source["TMS_ForwardEdit"]:
        user = _find(state["user"], "employee_id", row["EmployeeID"])
        department = _find(state["department"], "hris_id", row["OrgUnitID"])
        if user is None or department is None:
            continue
        pair = user["username"], department["key"]
        meant.add(pair)
        known = [each for each in state["department_assignment"] if (each["user"], each["department"]) == pair]
        if not known:
            known = [{"user": pair[0], "department": pair[1]}]
            state["department_assignment"] += known
        for each in known:
            each.update(is_synced_from_hris=True, is_active=True)
    for each in state["department_assignment"]:
        if each["is_synced_from_hris"] and (each["user"], each["department"]) not in meant:
            each["is_active"] = False
