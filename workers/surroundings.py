"""What a child takes from its deployment instead of from the process that it was forked from."""

import os
import site
import sys
import time
from collections.abc import Mapping
from functools import cache
from itertools import takewhile
from pathlib import Path

from prefect.context import refresh_global_settings_context
from prefect.logging.configuration import setup_logging

# What Python itself brings, before this checkout was added: the child's own import path begins anew.
INTERPRETER_PATH = [
    entry for entry in sys.path if entry.startswith((sys.base_prefix, sys.prefix)) or entry in site.getsitepackages()
]
REPOSITORY = Path(__file__).resolve().parents[1]
OWN_PREFIX = f"{REPOSITORY}{os.sep}"
# Variables that Prefect's settings come from, and those of them that its logging is set up by.
SETTINGS = ("PREFECT_",)
LOGGING_SETTINGS = ("PREFECT_LOGGING_", "PREFECT_DEBUG", "PREFECT_HOME", "PREFECT_PROFILE", "PREFECT_TEST")


def take_environment(environment: Mapping[str, str]) -> None:
    """Make this process's environment the given one, with what was read from it before.

    Args:
        environment: The whole environment.
    """
    before = dict(os.environ)
    if before == environment:
        return
    os.environ.clear()
    os.environ.update(environment)
    if before.get("TZ") != environment.get("TZ"):
        time.tzset()
    # Both take a quarter of a second.
    if _select(before, SETTINGS) != _select(environment, SETTINGS):
        refresh_global_settings_context()
    if _select(before, LOGGING_SETTINGS) != _select(environment, LOGGING_SETTINGS):
        setup_logging()


def _select(environment: Mapping[str, str], prefixes: tuple[str, ...]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(prefixes) and not name.startswith("PREFECT__")
    }


def set_import_path(directory: Path, environment: Mapping[str, str]) -> None:
    """Have imports find what a program started in a folder would, and forget what was imported from elsewhere.

    Args:
        directory: The folder.
        environment: Of which `PYTHONPATH` counts.
    """
    named = [entry for entry in environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
    sys.path[:] = list(dict.fromkeys([str(directory), *named, *INTERPRETER_PATH]))
    for name in own_modules.find():
        if _find_provider(name.partition(".")[0]) != REPOSITORY:
            sys.modules.pop(name, None)


def find_file(module: str) -> str | None:
    """Give the file of an imported module; None if it has none."""
    # Not by asking the module: some import others when they are asked for what they do not have.
    path: str | None = getattr(sys.modules[module], "__dict__", {}).get("__file__")
    return path


class OwnModules:
    """Which of the imported modules belong to this checkout.

    To be noted before the fork: for a child, to look at each module, or just at its name, is to copy its memory.
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._newest: str | None = None

    def note(self) -> None:
        """Look at the modules that were imported since this was called the last time."""
        self._names += self._find_new()
        self._newest = next(reversed(sys.modules), None)

    def find(self) -> list[str]:
        """Give the modules' names."""
        return [*self._names, *self._find_new()]

    def _find_new(self) -> list[str]:
        # The last ones of the dictionary, which keeps their order; their number may be less than what has been added.
        new = list(takewhile(lambda name: name != self._newest, reversed(sys.modules)))
        return [name for name in new if (path := find_file(name)) and _is_own(path)]


own_modules = OwnModules()


def _is_own(path: str) -> bool:
    """Whether a file belongs to this checkout, and not to its environment, which may lie inside it."""
    return path.startswith(OWN_PREFIX) and not path.startswith((sys.prefix, sys.base_prefix))


@cache
def _find_provider(package: str) -> Path | None:
    """Give the folder from which a package would be imported now."""
    for folder in map(Path, sys.path):
        if (folder / package).is_dir() or (folder / f"{package}.py").is_file():
            return folder
    return None
