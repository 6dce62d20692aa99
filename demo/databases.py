"""The embedded databases, made ready: a sample HRIS, and the application database with its tables."""

import asyncio
from pathlib import Path

from db.engines import Database
from db.migrate import upgrade
from demo.sample_hris import HrisShape, is_sample_hris, write_sample_hris
from settings import Settings


def prepare_embedded_databases(settings: Settings) -> list[str]:
    """Make what the embedded databases lack; configured ones and existing files are left alone.

    Args:
        settings: Which databases are configured.

    Returns:
        What was done, a sentence each.
    """
    done = []
    embedded = settings.hris_database_url is None and settings.hris_host is None
    if embedded and not (hris := Path(settings.hris_url.database or "")).exists():
        write_sample_hris(hris)
        done.append(f"wrote a sample HRIS of {HrisShape().people:,} people to {hris}")
    if settings.maria_database_url is None and (applied := migrate(settings)):
        done.append(f"migrated the application database {settings.maria_url.database} ({len(applied)} migrations)")
    return done


def ensure_sample_hris(path: Path, shape: HrisShape) -> bool:
    """Write the sample HRIS of a shape, unless the file holds exactly that.

    Args:
        path: The SQLite file.
        shape: How large and how faulty.

    Returns:
        Whether it was written.
    """
    if is_sample_hris(path, shape):
        return False
    write_sample_hris(path, shape)
    return True


def migrate(settings: Settings) -> list[str]:
    """Bring the application database to this version's schema.

    Args:
        settings: Which database it is.

    Returns:
        The migrations that were applied.
    """
    database = Database("the application database", "MARIA_DATABASE_URL", lambda: settings.maria_url, writes=True)
    return asyncio.run(upgrade(database))
