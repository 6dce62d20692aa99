"""The whole way of a mail: Redis, Prefect's server, a mail server, the application database, and the workers."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from celery import Celery
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.exceptions import ObjectAlreadyExists

from celery_app import make_app
from shim.flow import load_flow
from tests.servers import PrefectServer, RedisServer, SmtpServer
from tests.servers.process import ServerProcess

REPOSITORY = Path(__file__).resolve().parents[3]
POOL = "mail"
# On SQLite, Prefect's server gets slower by more than it does at once.
AT_ONCE = 4
SET_DIRECTORY = "prefect.deployments.steps.set_working_directory"
WARM_START_LIMIT = 120.0
FLOWS = [
    "flows.mail.send_notification",
    "flows.mail.send_notifications",
    "flows.mail.send_status_update",
    "flows.mail.send_status_updates",
]


@dataclass
class MailSystem:
    """The servers, and how to start the rest.

    Attributes:
        folder: Where logs and other files go.
        redis: Broker and result backend.
        prefect: Prefect's server.
        smtp: The mail server.
        database_url: The application database, migrated.
        app: The Celery application as a caller has it.
    """

    folder: Path
    redis: RedisServer
    prefect: PrefectServer
    smtp: SmtpServer
    database_url: str
    app: Celery = field(init=False)

    def __post_init__(self) -> None:
        self.app = make_app()
        self.app.conf.update(broker_url=self.redis.url(), result_backend=self.redis.url(), include=["tasks.email"])
        self.app.loader.import_default_modules()
        self.app.finalize()

    def environment(self, redis_database: int = 0) -> dict[str, str]:
        """The environment of the workers."""
        return {
            **self.prefect.environment(),
            "PYTHONPATH": str(REPOSITORY),
            "PYTHONUNBUFFERED": "1",
            "CELERY_BROKER_URL": self.redis.url(redis_database),
            "CELERY_RESULT_BACKEND": self.redis.url(redis_database),
            "MARIA_DATABASE_URL": self.database_url,
            "MAIL_URL": self.smtp.url,
            "MAIL_TIMEOUT": "3",
            "DATA_DIR": str(self.folder),
        }

    def celery_worker(
        self, name: str, module: str = "celery_app", pool: str = "gevent", redis_database: int = 0
    ) -> ServerProcess:
        """A Celery worker, not started yet."""
        log = self.folder / f"celery-{name}.log"
        command = [sys.executable, "-m", "celery", "-A", module, "worker", "-P", pool, "-n", f"{name}@%h"]
        return ServerProcess(
            f"Celery worker {name}",
            [*command, "--loglevel=info"],
            log=log,
            is_ready=lambda: log.exists() and " ready." in log.read_text(errors="replace"),
            environment=self.environment(redis_database),
            # Gevent patches what the fork server has imported already.
            is_forked=pool != "gevent",
        )

    def flow_worker(self, name: str) -> ServerProcess:
        """A worker of the work pool, not started yet."""
        log = self.folder / f"flows-{name}.log"
        return ServerProcess(
            f"flow worker {name}",
            [sys.executable, "-m", "tests.integration.shim.flow_worker", POOL, "flows.mail"],
            log=log,
            is_ready=lambda: log.exists() and "flow worker ready" in log.read_text(errors="replace"),
            environment=self.environment(),
            is_forked=True,
        )

    def warm_worker(self, name: str) -> ServerProcess:
        """The worker that is documented, which takes longer to start; not started yet."""
        log = self.folder / f"worker-{name}.log"
        return ServerProcess(
            f"worker {name}",
            [sys.executable, "-m", "workers", "--pool", POOL, "--name", name],
            log=log,
            is_ready=lambda: log.exists() and "started!" in log.read_text(errors="replace"),
            environment=self.environment(),
            start_limit=WARM_START_LIMIT,
        )

    def prepare(self) -> None:
        """Migrate the application database and deploy the mail flows."""
        migrate = [sys.executable, "-m", "db", "migrate"]
        subprocess.run(migrate, check=True, env=self.environment(), cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        with self.prefect.client() as client:
            try:
                client.create_work_pool(WorkPoolCreate(name=POOL, type="process", concurrency_limit=AT_ONCE))
            except ObjectAlreadyExists:
                return
            for entrypoint in FLOWS:
                flow = load_flow(entrypoint)
                client.create_deployment(
                    flow_id=client.create_flow(flow),
                    name=flow.name,
                    entrypoint=entrypoint,
                    work_pool_name=POOL,
                    pull_steps=[{SET_DIRECTORY: {"directory": str(REPOSITORY)}}],
                    parameter_openapi_schema=flow.parameters.model_dump_for_openapi(),
                )
