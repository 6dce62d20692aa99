"""The tables of the sample HRIS: the documented ones as SQLite can hold them (`[Security].[User]` is `User`)."""

TABLES = {
    "HR_OrganizationUnit": (
        "ID integer PRIMARY KEY, ParentID int, ArName nvarchar(200), EnName nvarchar(200), IsActive bit NOT NULL"
    ),
    "HR_Employee": (
        "ID integer PRIMARY KEY, Code int, "
        "ArFName nvarchar(200), ArSName nvarchar(200), ArThName nvarchar(200), ArLName nvarchar(200), "
        "EnFName nvarchar(200), EnSName nvarchar(200), EnThName nvarchar(200), EnLName nvarchar(200)"
    ),
    "HR_EmployeePosition": (
        "EmployeeID int NOT NULL, PositionID int NOT NULL, OrgUnitID int NOT NULL, IsActive bit NOT NULL"
    ),
    "HR_Position": "ID integer PRIMARY KEY, EnName nvarchar(200)",
    "User": (
        "ID integer PRIMARY KEY, Name nvarchar(200) NOT NULL, isDeleted bit NOT NULL, isLocked bit NOT NULL, EmpId int"
    ),
    "TMS_ForwardEdit": "EmployeeID int NOT NULL, OrgUnitID int NOT NULL",
    "TMS_AttendancePairing": "EmployeeId int NOT NULL, InDate datetime NOT NULL, OutDate datetime",
    "TMS_Attendance": "EmployeeID int NOT NULL, SignDatetime datetime NOT NULL, SignTypeID int NOT NULL",
    "TMS_ShiftAssignment": (
        "ID integer PRIMARY KEY, EmployeeID int NOT NULL, DurationHours int, DateFrom datetime NOT NULL, ShiftID int"
    ),
    "TMS_Shift": "ID integer PRIMARY KEY, Code nvarchar(50)",
}
INDEXES = (
    'CREATE INDEX IX_EmployeePosition_Employee ON "HR_EmployeePosition" (EmployeeID)',
    'CREATE INDEX IX_ForwardEdit_Employee ON "TMS_ForwardEdit" (EmployeeID)',
)


def create_table(name: str) -> str:
    """Give the statement that creates a table."""
    return f'CREATE TABLE "{name}" ({TABLES[name]})'


def insert_row(name: str) -> str:
    """Give the statement that inserts a whole row into a table."""
    columns = TABLES[name].count(", ") + 1
    return f'INSERT INTO "{name}" VALUES ({", ".join("?" * columns)})'  # noqa: S608
