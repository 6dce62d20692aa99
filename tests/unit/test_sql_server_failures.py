"""What the drivers' words mean, as real drivers write them."""

import pyodbc
import pytest

from db.sql_server.failures import NUMBERS, TRANSIENT, Kind, read_failure

MICROSOFT, FREETDS = "[Microsoft][ODBC Driver 18 for SQL Server]", "[FreeTDS][SQL Server]"
SERVER = f"{MICROSOFT}[SQL Server]"


@pytest.mark.parametrize(
    ("state", "words", "kind", "told"),
    [
        (
            "28000",
            f"[28000] {SERVER}Login failed for user 'u'. (18456) (SQLDriverConnect); "
            f"[28000] {SERVER}Login failed for user 'u'. (18456)",
            Kind.LOGIN,
            "Login failed for user 'u' (SQLSTATE 28000, error 18456)",
        ),
        (
            "42000",
            f"[42000] {FREETDS}Login failed for user 'u'. (18456) (SQLDriverConnect)",
            Kind.LOGIN,
            "Login failed for user 'u' (SQLSTATE 42000, error 18456)",
        ),
        (
            "42000",
            f'[42000] {SERVER}Cannot open database "d" requested by the login. The login failed. (4060) '
            f"(SQLDriverConnect); [28000] {SERVER}Login failed for user 'u'. (18456)",
            Kind.NOT_READY,
            "Cannot open database \"d\" requested by the login. The login failed; Login failed for user 'u' "
            "(SQLSTATE 42000, error 4060)",
        ),
        (
            "40001",
            f"[40001] {SERVER}Transaction was deadlocked and chosen as the deadlock victim. (1205) (SQLExecDirectW)",
            Kind.DEADLOCK,
            "Transaction was deadlocked and chosen as the deadlock victim (SQLSTATE 40001, error 1205)",
        ),
        (
            "42000",
            f"[42000] {FREETDS}Transaction was deadlocked. (1205) (SQLExecDirectW)",
            Kind.DEADLOCK,
            "Transaction was deadlocked (SQLSTATE 42000, error 1205)",
        ),
        (
            "08S01",
            f"[08S01] {MICROSOFT}TCP Provider: Error code 0x68 (104) (SQLExecDirectW); "
            f"[08S01] {MICROSOFT}Communication link failure (104)",
            Kind.LOST,
            "TCP Provider: Error code 0x68; Communication link failure (SQLSTATE 08S01, error 104)",
        ),
        (
            "01000",
            f"[01000] {FREETDS}Unexpected EOF from the server (20017) (SQLExecDirectW)",
            Kind.LOST,
            "Unexpected EOF from the server (SQLSTATE 01000, error 20017)",
        ),
        (
            "HY000",
            f"[HY000] {FREETDS}Unknown error (0) (SQLExecDirectW)",
            Kind.LOST,
            "Unknown error (SQLSTATE HY000)",
        ),
        (
            "HYT00",
            f"[HYT00] {MICROSOFT}Login timeout expired (0) (SQLDriverConnect)",
            Kind.TIMEOUT,
            "Login timeout expired (SQLSTATE HYT00)",
        ),
        (
            "08001",
            f"[08001] {MICROSOFT}SSL Provider: [error:0A000086:SSL routines::certificate verify failed] (-1) "
            "(SQLDriverConnect)",
            Kind.ENCRYPTION,
            "SSL Provider: [error:0A000086:SSL routines::certificate verify failed] (SQLSTATE 08001)",
        ),
        (
            "01000",
            "[01000] [unixODBC][Driver Manager]Can't open lib '/x/libtdsodbc.so' : file not found (0) "
            "(SQLDriverConnect)",
            Kind.DRIVER,
            "Can't open lib '/x/libtdsodbc.so' : file not found (SQLSTATE 01000)",
        ),
        (
            "HY000",
            "The driver did not supply an error!",
            Kind.OTHER,
            "The driver did not supply an error! (SQLSTATE HY000)",
        ),
    ],
)
def test_a_drivers_words_are_understood_and_told_without_its_brackets(
    state: str, words: str, kind: Kind, told: str
) -> None:
    failure = read_failure(pyodbc.Error(state, words))
    assert (failure.kind, str(failure)) == (kind, told)


def test_an_error_without_a_state_is_told_as_it_is() -> None:
    failure = read_failure(pyodbc.ProgrammingError("Attempt to use a closed connection."))
    assert (failure.kind, failure.text) == (Kind.OTHER, "Attempt to use a closed connection")


def test_no_number_means_two_things_and_those_that_pass_come_first() -> None:
    numbers = [number for of_kind in NUMBERS.values() for number in of_kind]
    assert len(numbers) == len(set(numbers))
    assert [kind in TRANSIENT for kind in NUMBERS] == sorted((kind in TRANSIENT for kind in NUMBERS), reverse=True)
