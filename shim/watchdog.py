"""Ends a process that exceeds its hard time limit, whatever that process is doing.

Run as a script in a process of its own, with nothing but the standard library so that it starts in milliseconds. Reads
one line of JSON from standard input, then waits: when standard input closes, the attempt is over (or its process gone)
and there is nothing to do. When the limit passes first, it records the reason on the flow run, then kills.

The reason is recorded first because Prefect's worker, when it sees the process gone, gives a run that has no final
state yet the state Crashed. A server that does not answer delays the kill by at most `REPORT_SECONDS`.
"""

import json
import os
import select
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any

REPORT_SECONDS = 1.0
REPORT_AGAIN_FOR_SECONDS = 60.0


def main() -> None:
    """Watch the process that standard input describes."""
    order = json.loads(sys.stdin.readline())
    # Ctrl-C in a terminal reaches the whole group; the watched process decides when the attempt is over.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if select.select([sys.stdin], [], [], order["limit"])[0]:
        return
    reported = report(order)
    for pid in [order["pid"], *descendants(order["pid"])]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + REPORT_AGAIN_FOR_SECONDS
    while not reported and time.monotonic() < deadline:
        time.sleep(REPORT_SECONDS)
        reported = report(order)


def report(order: dict[str, Any]) -> bool:
    """Set the run to Failed, and say whether the server took it."""
    state = {"type": "FAILED", "name": "TimedOut", "message": order["message"]}
    request = urllib.request.Request(  # noqa: S310 - the address is Prefect's own setting
        f"{order['api_url']}/flow_runs/{order['flow_run_id']}/set_state",
        data=json.dumps({"state": state, "force": True}).encode(),
        headers={"Content-Type": "application/json", **order["headers"]},
    )
    context = ssl.create_default_context(cafile=order["ca_file"]) if order["api_url"].startswith("https:") else None
    if context is not None and not order["verify"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(request, timeout=REPORT_SECONDS, context=context):  # noqa: S310
            return True
    except (urllib.error.URLError, OSError) as error:
        print(f"hard time limit: the run's state could not be set: {error}", file=sys.stderr)  # noqa: T201
        return False


def descendants(pid: int) -> list[int]:
    """Give the processes below a process, except this one."""
    parents: dict[int, int] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The second field is the command in brackets and may hold anything; the parent is the second after it.
            parents[int(status.parent.name)] = int(status.read_text().rpartition(")")[2].split()[1])
    found: list[int] = []
    level = {pid}
    while level:
        level = {child for child, parent in parents.items() if parent in level and child != os.getpid()}
        found += level
    return found


if __name__ == "__main__":
    main()
