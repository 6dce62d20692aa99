"""A replication in a process of its own, for tests that kill it: `python -m … URL HRIS_FILE`."""

import asyncio
import sys
from pathlib import Path

from sqlalchemy import make_url

from db.engines import Database
from hr.replication import replicate
from tests.integration.replication.world import no_progress, plan


def main() -> None:
    """Replicate once."""
    url, path = sys.argv[1:]
    database = Database("the application database", "MARIA_DATABASE_URL", lambda: make_url(url), writes=True)
    asyncio.run(replicate(plan(database, Path(path)), no_progress))


if __name__ == "__main__":
    main()
