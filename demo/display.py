"""What the demonstration shows on the terminal: how a run goes on, and what it did."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

ENTITIES = {
    "department": "Departments",
    "employee": "Employees",
    "security_user": "Security users",
    "user": "Users",
    "department_assignment": "Assignments",
}
ALWAYS_SHOWN = ("inserted", "updated", "deactivated", "unchanged", "rejected")
COUNTS = ("inserted", "updated", "deactivated", "reactivated", "unchanged", "skipped", "rejected")
WRITES = ("inserted", "updated", "deactivated", "reactivated")
IDS_SHOWN = 5


class RunDisplay:
    """One line that follows a run: its state, its step, how far it is. Without a terminal, a line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[state]:<10} {task.description:<34}"),
            BarColumn(bar_width=20),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=100, state="Scheduled")
        self._shown: tuple[str, str] = ("", "")

    def update(self, state: str, description: str, percent: float) -> None:
        """Show where the run is.

        Args:
            state: The run's state in Prefect.
            description: The step that it is at, empty before it begins.
            percent: How far it is, 0 to 100.
        """
        self._progress.update(self._task, state=state, description=description, completed=percent)
        if not self._console.is_terminal and (state, description) != self._shown:
            self._console.print(f"  {state:<10} {description}".rstrip())
        self._shown = state, description

    def __enter__(self) -> "RunDisplay":
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()


def make_result_table(title: str, result: dict[str, Any]) -> Table:
    """Make the table of a replication's counts.

    Args:
        title: Stands above it.
        result: The flow's result.

    Returns:
        A row for each entity; columns that are empty throughout are left out, but for the principal ones.
    """
    entities: dict[str, dict[str, int]] = result["entities"]
    counts = [
        count for count in COUNTS if count in ALWAYS_SHOWN or any(entity.get(count) for entity in entities.values())
    ]
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1)
    )
    table.add_column("", no_wrap=True)
    for count in counts:
        table.add_column(count.capitalize(), justify="right")
    for entity, values in entities.items():
        table.add_row(ENTITIES.get(entity, entity), *(f"{values.get(count, 0):,}" for count in counts))
    return table


def make_jobs_table(title: str, rows: Sequence[tuple[str, float, str]]) -> Table:
    """Make the table of what several runs did.

    Args:
        title: Stands above it.
        rows: The job, how long its run took in seconds, what it did.
    """
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 0, 0, 1)
    )
    table.add_column("Job", no_wrap=True)
    table.add_column("Seconds", justify="right")
    table.add_column("What it did", overflow="fold")
    for job, seconds, told in rows:
        table.add_row(job, f"{seconds:.1f}", told)
    return table


def describe_rejected(result: dict[str, Any]) -> list[str]:
    """Say which source rows were rejected and why.

    Args:
        result: The flow's result.

    Returns:
        A line for each entity and reason, with the first ids.
    """
    return [
        f"{ENTITIES.get(entity, entity)}, {reason} ({len(ids):,}): {', '.join(str(row) for row in ids[:IDS_SHOWN])}"
        + (" …" if len(ids) > IDS_SHOWN else "")
        for entity, reasons in result["rejected"].items()
        for reason, ids in reasons.items()
    ]


def count_writes(result: dict[str, Any]) -> int:
    """Count the rows that a replication wrote."""
    return sum(entity.get(count, 0) for entity in result["entities"].values() for count in WRITES)
