"""The HRIS (SQL Server; SQLite when embedded): only read."""

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from db.engines import Database
from settings import get_settings

database = Database("the HRIS", "HRIS_DATABASE_URL", lambda: get_settings().hris_url, writes=False)


def _get_hris_session_maker() -> async_sessionmaker[AsyncSession]:
    """Give the maker of HRIS sessions; a session uses the engine of the loop in which it runs."""
    return database.sessions


async def dispose_hris_engine() -> None:
    """Close the running loop's pooled connections to the HRIS; the next use opens new ones."""
    await database.dispose()
