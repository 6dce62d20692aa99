"""The application database (MariaDB; SQLite when embedded): read and written.

`DatabaseSessionLocal()` gives a session and `database_engine` stands for the engine. Both may be used from any event
loop, thread or script, before and after `await database_engine.dispose()`.
"""

from db.engines import Database, LoopBoundEngine
from settings import get_settings

database = Database("the application database", "MARIA_DATABASE_URL", lambda: get_settings().maria_url, writes=True)
database_engine = LoopBoundEngine(database)
DatabaseSessionLocal = database.sessions
