"""Reads the HRIS again and again, and is cancelled a little later each time; prints how often. Run as a program.

In a process of its own: a driver that two threads use at once ends the process that it is loaded in.
"""

import asyncio
import contextlib
import logging
import sys
import time

from db.hris_database import database
from hr.mapping import load_mapping
from hr.source import Source
from settings import get_settings

READERS = 60


async def read() -> None:
    """Read all employees in small chunks."""
    async for _ in Source(database, load_mapping(get_settings().hris_mapping)).read("employee", 100):
        pass


def main() -> None:
    """Read, and count the readings that were cancelled before their end."""
    # The certificate is not checked, which is warned of.
    logging.getLogger("db.sql_server").setLevel(logging.ERROR)
    # The first reading imports the driver, so that the second shows how long the others would take.
    asyncio.run(read())
    began = time.monotonic()
    asyncio.run(read())
    seconds = time.monotonic() - began
    cancelled = 0
    for number in range(1, READERS + 1):
        with contextlib.suppress(TimeoutError):
            asyncio.run(asyncio.wait_for(read(), seconds * number / READERS))
            continue
        cancelled += 1
    sys.stdout.write(f"{cancelled}\n")


if __name__ == "__main__":
    main()
