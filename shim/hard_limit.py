"""The hard time limit of an attempt: a watchdog process that outlives whatever the body does."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

WATCHDOG = Path(__file__).with_name("watchdog.py")


@contextmanager
def hard_limit(limit: float | None, flow_run_id: str, api_url: str) -> Iterator[None]:
    """End this process, and fail the flow run, if the block takes longer than the limit.

    Args:
        limit: Seconds, or None for no limit.
        flow_run_id: The run to fail.
        api_url: Prefect's API.
    """
    if not limit:
        yield
        return
    order = {
        "pid": os.getpid(),
        "limit": limit,
        "flow_run_id": flow_run_id,
        "api_url": api_url.rstrip("/"),
        "message": f"The hard time limit of {limit:g} seconds passed; the process was killed.",
        **_access(),
    }
    # -I and -S: neither this process's import path nor site-packages are needed, and starting without them is quick.
    watchdog = subprocess.Popen([sys.executable, "-I", "-S", str(WATCHDOG)], stdin=subprocess.PIPE, text=True)  # noqa: S603
    if watchdog.stdin is None:
        raise AssertionError("a pipe was asked for")
    try:
        watchdog.stdin.write(json.dumps(order) + "\n")
        watchdog.stdin.flush()
        yield
    finally:
        with suppress(BrokenPipeError):
            watchdog.stdin.close()
        watchdog.wait()


def _access() -> dict[str, Any]:
    from prefect.settings import get_current_settings

    api = get_current_settings().api
    headers = {}
    if api.auth_string is not None:
        headers["Authorization"] = f"Basic {b64encode(api.auth_string.get_secret_value().encode()).decode()}"
    elif api.key is not None:
        headers["Authorization"] = f"Bearer {api.key.get_secret_value()}"
    return {"headers": headers, "verify": not api.tls_insecure_skip_verify, "ca_file": api.ssl_cert_file}
