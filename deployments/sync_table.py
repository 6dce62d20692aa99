"""Shows a sync on the terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deployments.sync import SyncReport
from deployments.sync_plan import Action, Step

STYLES = {
    Action.CREATE: "green",
    Action.RESUME: "green",
    Action.CHANGE: "yellow",
    Action.PAUSE: "yellow",
    Action.REMOVE: "red",
    Action.REFUSE: "bold red",
    Action.KEEP: "dim",
    Action.LEAVE: "dim",
}
TOLD = {Action.LEAVE: "leave (added by hand)", Action.KEEP: "keep"}


def print_report(console: Console, report: SyncReport, *, dry_run: bool) -> None:
    """Print the schedules and what happened, or would happen, to each.

    Args:
        console: The terminal.
        report: The sync's report.
        dry_run: Whether nothing was changed.
    """
    table = Table("job", "deployment", "schedule", "state", "action", "when")
    for step in sorted(report.steps, key=_place):
        table.add_row(
            "" if step.job_id is None else str(step.job_id),
            escape(step.deployment),
            escape(step.slug or ""),
            "" if step.action is Action.REFUSE else "active" if step.active else "paused",
            f"[{STYLES[step.action]}]{TOLD.get(step.action, step.action)}[/]",
            escape(step.told),
        )
    if report.steps:
        console.print(table)
    kept = sum(step.action is Action.KEEP for step in report.steps)
    verb = "would change" if dry_run else "changed"
    console.print(f"{report.changes} {verb}, {kept} as they are, {len(report.refused)} rows refused", highlight=False)


def _place(step: Step) -> tuple[str, int, str]:
    return (step.deployment, step.job_id or 0, step.slug or "")
