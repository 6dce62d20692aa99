"""The scripts behind `make`: without the right to install, with an old Python, and when there is nothing to do."""

import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from settings import REPOSITORY


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for stand-ins of system programs, which go before the real ones."""
    folder = tmp_path / "programs"
    folder.mkdir()
    return folder


def stand_in(programs: Path, name: str, script: str) -> None:
    path = programs / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(programs: Path, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=REPOSITORY,
        env={"PATH": f"{programs}:/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_the_right_to_install_the_command_to_run_is_told(programs: Path) -> None:
    stand_in(programs, "id", "echo 1000")
    stand_in(programs, "sudo", "exit 1")
    stand_in(programs, "apt-get", "echo must not be called >&2; exit 9")
    done = run(programs, "scripts/install_packages", "mariadb-server", "redis-server")
    assert done.returncode == 1
    assert "apt-get install -y --no-install-recommends mariadb-server redis-server" in done.stderr
    assert "must not be called" not in done.stderr


def test_a_failed_installation_shows_what_apt_said(programs: Path) -> None:
    stand_in(programs, "id", "echo 1000")
    stand_in(programs, "apt-get", "exit 0")
    stand_in(programs, "sudo", '[ "$2" = true ] && exit 0; echo "E: the archive is broken"; exit 100')
    done = run(programs, "scripts/install_packages", "mariadb-server")
    assert done.returncode == 1
    assert "E: the archive is broken" in done.stderr
    assert "apt-get could not install: mariadb-server" in done.stderr


def test_a_python_that_is_too_old_is_named_with_what_to_do(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "oldpython", '[ "$1" = --version ] && echo "Python 3.9.2"; exit 1')
    done = run(programs, "scripts/make_environment", str(tmp_path / "venv"), "requirements.lock", PYTHON="oldpython")
    assert done.returncode == 1
    assert "oldpython is Python 3.9.2, but Python 3.11 or newer is needed" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_an_environment_that_is_current_is_not_touched(programs: Path, tmp_path: Path) -> None:
    digest = sha256((REPOSITORY / "requirements.lock").read_bytes()).hexdigest()
    (tmp_path / f".installed-{digest[:16]}").touch()
    done = run(programs, "scripts/make_environment", str(tmp_path), "requirements.lock", PYTHON=sys.executable)
    assert (done.returncode, done.stdout) == (0, "")
    assert not (tmp_path / "bin").exists()


@pytest.mark.parametrize("lock", sorted(REPOSITORY.glob("requirements*.lock")), ids=lambda path: path.name)
def test_every_locked_package_is_pinned_with_hashes_and_no_index_is_named(lock: Path) -> None:
    text = lock.read_text()
    packages = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert packages
    for package in packages:
        assert "==" in package, package
        assert package.endswith("\\"), package
    assert "--hash=sha256:" in text
    assert "://" not in text
