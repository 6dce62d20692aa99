"""Shows what the doctor found."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from doctor.findings import Finding, Status

STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILURE: "bold red"}


def print_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print a table, and how many findings there are of each kind.

    Args:
        console: The terminal.
        findings: In the order in which they are shown.
    """
    table = Table("system", "check", "status")
    # Names of settings stay whole.
    table.add_column("found, and what to do", overflow="fold")
    for finding in findings:
        told = escape(finding.found)
        if finding.remedy:
            told += f"\n[bold]{escape(finding.remedy)}[/]"
        table.add_row(finding.system, finding.check, f"[{STYLES[finding.status]}]{finding.status}[/]", told)
    console.print(table)
    counts = Counter(finding.status for finding in findings)
    console.print(
        f"{counts[Status.OK]} ok, {counts[Status.WARNING]} warnings, {counts[Status.FAILURE]} failures",
        highlight=False,
    )


def to_json(findings: Sequence[Finding]) -> str:
    """Give the findings, and the worst status, as JSON."""
    return json.dumps(
        {"status": worst(findings), "findings": [asdict(finding) for finding in findings]}, ensure_ascii=False, indent=2
    )


def worst(findings: Sequence[Finding]) -> Status:
    """Give the worst status of all."""
    return max((finding.status for finding in findings), key=list(Status).index, default=Status.OK)
