"""Private servers for tests, benches and demonstrations: real ones, on free loopback ports, in temporary folders."""

from tests.servers.mariadb import MariaDBServer, mariadb_server
from tests.servers.postgresql import PostgreSQLServer, postgresql_server
from tests.servers.prefect import PrefectServer, prefect_server
from tests.servers.process import ServerError, ServerProcess, find_program, free_port
from tests.servers.redis import RedisServer, redis_server
from tests.servers.smtp import SmtpServer, smtp_server

__all__ = [
    "MariaDBServer",
    "PostgreSQLServer",
    "PrefectServer",
    "RedisServer",
    "ServerError",
    "ServerProcess",
    "SmtpServer",
    "find_program",
    "free_port",
    "mariadb_server",
    "postgresql_server",
    "prefect_server",
    "redis_server",
    "smtp_server",
]
