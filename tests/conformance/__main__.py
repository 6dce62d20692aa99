"""Fetch the tests that travel in Celery's source distribution, and run those about tasks, applications and canvas."""

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from xml.etree import ElementTree as ET

REPOSITORY = Path(__file__).resolve().parents[2]
LOCK = REPOSITORY / "requirements.lock"
SUITES = ["t/unit/tasks", "t/unit/app", "t/unit/contrib", "t/unit/test_canvas.py"]


def main() -> int:
    """Run Celery's tests and report how many passed and failed; the exit status is 0 when none failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("suites", nargs="*", default=SUITES, help=f"what to run; default: {' '.join(SUITES)}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="celery-conformance-") as name:
        source = fetch(Path(name))
        report = Path(name) / "report.xml"
        status = run(source, report, arguments.suites)
        counts = count(report)
    sys.stdout.write(", ".join(f"{number} {what}" for what, number in counts.items()) + "\n")
    return status or (1 if counts["failed"] else 0)


def fetch(folder: Path) -> Path:
    """Download and unpack the source distribution of the installed version, checked against the lock's hashes.

    Args:
        folder: Where to put it.

    Returns:
        The unpacked source tree.
    """
    requirement = folder / "celery.txt"
    requirement.write_text(locked_requirement(LOCK.read_text(), "celery"))
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "celery"]
    subprocess.run([*command, "--require-hashes", "-r", str(requirement), "-d", str(folder)], check=True)
    (archive,) = folder.glob("celery-*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / f"celery-{version('celery')}"


def locked_requirement(lock: str, package: str) -> str:
    """Give the lines of one package, with its hashes, out of a requirements file."""
    lines: list[str] = []
    for line in lock.splitlines():
        if line.startswith(f"{package}==") or (lines and lines[-1].endswith("\\")):
            lines.append(line)
    return "\n".join(lines) + "\n"


def run(source: Path, report: Path, suites: list[str]) -> int:
    """Run suites of Celery's tests with the plugin, and give pytest's exit status."""
    plugins = ["-p", "tests.conformance.task_class", "-p", "celery.contrib.pytest", "-p", "no:cacheprovider"]
    # Celery's own options demand plugins that these suites do not need.
    options = ["-c", "pyproject.toml", "-o", "addopts=", "-q", "--no-header", f"--junit-xml={report}"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *plugins, *options, *suites],
        cwd=source,
        # Some of this project's plugins leave threads, which Celery's tests look for.
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        check=False,
    ).returncode


def count(report: Path) -> dict[str, int]:
    """Count the results in pytest's report."""
    suites = ET.parse(report).getroot().iter("testsuite")  # noqa: S314 - written by pytest just now
    numbers = [
        {name: int(suite.get(name, 0)) for name in ("tests", "failures", "errors", "skipped")} for suite in suites
    ]
    total = {name: sum(number[name] for number in numbers) for name in ("tests", "failures", "errors", "skipped")}
    failed = total["failures"] + total["errors"]
    return {"passed": total["tests"] - failed - total["skipped"], "failed": failed, "skipped": total["skipped"]}


if __name__ == "__main__":
    raise SystemExit(main())
