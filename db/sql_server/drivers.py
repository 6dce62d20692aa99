"""The ODBC drivers for SQL Server: Microsoft's and FreeTDS, and where they are found."""

import importlib.util
import platform
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import pyodbc

from errors import SettingsError

MICROSOFT_DRIVER = "ODBC Driver 18 for SQL Server"
# The package that carries Microsoft's driver, and its folders by distribution.
WHEEL = "mssql_python_odbc"
DISTRIBUTIONS = {
    "debian": "debian_ubuntu",
    "ubuntu": "debian_ubuntu",
    "rhel": "rhel",
    "fedora": "rhel",
    "suse": "suse",
    "alpine": "alpine",
}
MACHINES = {"aarch64": "arm64", "amd64": "x86_64"}
THREE_WAYS = (
    "install Microsoft's driver as a package of the system (msodbcsql18), or as one of Python (`pip install "
    "mssql-python-odbc`, under Microsoft's licence), or FreeTDS (on Debian `apt-get install tdsodbc`)"
)


class DriverKind(Enum):
    """Who made a driver, on which its keywords and messages depend."""

    MICROSOFT = "Microsoft's driver"
    FREETDS = "FreeTDS"


@dataclass(frozen=True)
class Driver:
    """An ODBC driver that is there.

    Attributes:
        kind: Whose it is.
        name: The name under which unixODBC knows it, or the path of its library.
    """

    kind: DriverKind
    name: str


def find_driver(wanted: str | None, source: str = "SQL_SERVER_DRIVER") -> Driver:
    """Find the driver to use.

    Without a wish: Microsoft's driver 18 if unixODBC knows it, else the one of the package `mssql-python-odbc`, else
    FreeTDS.

    Args:
        wanted: A name that unixODBC knows, or a library's path.
        source: The setting that says so, for messages.

    Raises:
        SettingsError: There is none, or the wanted one is not there.
    """
    known = pyodbc.drivers()
    if wanted is not None:
        return _find_wanted(wanted, known, source)
    if MICROSOFT_DRIVER in known:
        return Driver(DriverKind.MICROSOFT, MICROSOFT_DRIVER)
    if (library := find_wheel_library()) is not None:
        return Driver(DriverKind.MICROSOFT, str(library))
    for name in known:
        if _kind_of(name) is DriverKind.FREETDS:
            return Driver(DriverKind.FREETDS, name)
    raise SettingsError(f"no ODBC driver for SQL Server is installed: {THREE_WAYS}")


def _find_wanted(wanted: str, known: list[str], source: str) -> Driver:
    kind = _kind_of(wanted)
    if kind is None:
        raise SettingsError(
            f"{source}: {wanted!r} is neither Microsoft's driver nor FreeTDS, by its name. Name one of them, for "
            f"example {MICROSOFT_DRIVER!r} or 'FreeTDS', or leave it out"
        )
    if "/" in wanted:
        if not Path(wanted).is_file():
            raise SettingsError(f"{source}: there is no file {wanted!r}. Correct the path, or {THREE_WAYS}")
        return Driver(kind, wanted)
    for name in known:
        if name.lower() == wanted.lower():
            return Driver(kind, name)
    if wanted == MICROSOFT_DRIVER and (library := find_wheel_library()) is not None:
        return Driver(kind, str(library))
    raise SettingsError(
        f"{source}: unixODBC knows no driver {wanted!r}, it knows {', '.join(known) or 'none'}. Name "
        f"another, or {THREE_WAYS}"
    )


def _kind_of(name: str) -> DriverKind | None:
    if re.search(r"freetds|tdsodbc", name, re.IGNORECASE):
        return DriverKind.FREETDS
    if re.search(r"msodbcsql|odbc driver \d+ for sql server", name, re.IGNORECASE):
        return DriverKind.MICROSOFT
    return None


def find_wheel_library() -> Path | None:
    """Give the library of Microsoft's driver in the package `mssql-python-odbc`; None if it is not installed."""
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or spec.origin is None:
        return None
    machine = platform.machine().lower()
    libraries = Path(spec.origin).parent / "libs" / platform.system().lower()
    pattern = f"{_distribution()}/{MACHINES.get(machine, machine)}/lib/libmsodbcsql*"
    return min(libraries.glob(pattern), default=None)


def _distribution() -> str:
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return DISTRIBUTIONS["debian"]
    named = [system["ID"], *system.get("ID_LIKE", "").split()]
    return next((DISTRIBUTIONS[name] for name in named if name in DISTRIBUTIONS), DISTRIBUTIONS["debian"])
