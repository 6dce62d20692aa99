"""A run's process imports what its deployment's folder has, whatever was imported before it was forked."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from workers import surroundings
from workers.surroundings import REPOSITORY, OwnModules, set_import_path


@pytest.fixture(autouse=True)
def imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Copies of what imports go by, and nothing that is remembered of them."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(surroundings, "own_modules", OwnModules())
    surroundings._find_provider.cache_clear()
    yield
    surroundings._find_provider.cache_clear()


def import_from_here(name: str) -> None:
    """Add a module as if it had been imported from this checkout."""
    module = ModuleType(name)
    module.__file__ = str(REPOSITORY / f"{name.replace('.', '/')}.py")
    sys.modules[name] = module


def test_modules_that_the_folder_has_too_are_forgotten_whenever_they_were_imported(tmp_path: Path) -> None:
    for name in ("early", "late"):
        (tmp_path / name).mkdir()
    import_from_here("early.inner")
    surroundings.own_modules.note()
    import_from_here("late.inner")
    set_import_path(tmp_path, {})
    assert not {"early.inner", "late.inner"} & sys.modules.keys()
    assert sys.path[0] == str(tmp_path)


def test_a_module_is_found_although_others_have_been_forgotten_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "late").mkdir()
    import_from_here("forgotten")
    surroundings.own_modules.note()
    import_from_here("late")
    del sys.modules["pytest"]
    set_import_path(tmp_path, {})
    assert "late" not in sys.modules


def test_modules_of_this_checkout_are_forgotten_where_it_is_not_on_the_path(tmp_path: Path) -> None:
    assert "workers.surroundings" in sys.modules
    set_import_path(tmp_path, {})
    assert "workers.surroundings" not in sys.modules
    assert "pytest" in sys.modules


def modules_of_the_suite() -> set[str]:
    """Give what is imported of the suite; tests are imported under names that their folders lend them."""
    return {name for name in sys.modules if name.partition(".")[0] in {"db", "hr", "settings", "workers"}}


def test_modules_stay_where_the_folder_is_this_checkout() -> None:
    surroundings.own_modules.note()
    import_from_here("workers.imported_later")
    before = modules_of_the_suite()
    set_import_path(REPOSITORY, {})
    assert "workers.imported_later" in before
    assert modules_of_the_suite() == before


def test_modules_stay_where_this_checkout_is_named_in_the_environment(tmp_path: Path) -> None:
    before = modules_of_the_suite()
    set_import_path(tmp_path, {"PYTHONPATH": str(REPOSITORY)})
    assert "workers.surroundings" in before
    assert modules_of_the_suite() == before
