"""BioStar 2 (SQL Server; SQLite when embedded): only read."""

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from db.engines import Database
from settings import get_settings

database = Database("BioStar", "BIOSTAR_DATABASE_URL", lambda: get_settings().biostar_url, writes=False)


def _get_biostar_session_maker() -> async_sessionmaker[AsyncSession]:
    """Give the maker of BioStar sessions; a session uses the engine of the loop in which it runs."""
    return database.sessions


async def dispose_biostar_engine() -> None:
    """Close the running loop's pooled connections to BioStar; the next use opens new ones."""
    await database.dispose()
