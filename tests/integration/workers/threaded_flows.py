"""A flow whose module starts a thread when it is imported: a fork would leave it without."""

import json
import os
import threading
from pathlib import Path

from prefect import flow

IMPORTED_BY = os.getpid()

threading.Thread(target=threading.Event().wait, daemon=True).start()


@flow
async def describe(path: str) -> None:
    """Write which process this is, and which one imported this module."""
    Path(path).write_text(json.dumps({"pid": os.getpid(), "imported_by": IMPORTED_BY}))  # noqa: ASYNC240
