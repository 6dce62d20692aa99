"""The jobs that the demonstration runs after the replication: one line each."""

from dataclasses import dataclass, field
from typing import Any

from demo.sample_attendance import OLD_LINES, WAITING_REQUEST


@dataclass(frozen=True)
class DemoJob:
    """A run of a deployment.

    Attributes:
        deployment: Its name; its flow has the same.
        parameters: What the run is given.
    """

    deployment: str
    parameters: dict[str, Any] = field(default_factory=dict)


RECIPIENT = "kitchen@example.org"
JOBS = (
    DemoJob("attendance-sync", {"months_back": 2}),
    DemoJob("attendance-sync-for-lines", {"meal_request_line_ids": list(OLD_LINES)}),
    DemoJob("meal-request-attendance", {"meal_request_id": WAITING_REQUEST}),
    DemoJob("send-notification", {"request_id": WAITING_REQUEST, "request_lines": 12, "to_recipient": RECIPIENT}),
    DemoJob("send-status-update", {"request_id": WAITING_REQUEST, "status": "approved", "to_recipient": RECIPIENT}),
    DemoJob("history-cleanup", {"retention_days": 30}),
)


def describe_result(result: dict[str, Any]) -> str:
    """Say what a run did: its own message, else what it returned."""
    if "message" in result:
        return str(result["message"])
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.items())
