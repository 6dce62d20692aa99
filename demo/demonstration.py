"""The demonstration: replicate a sample HRIS twice and run every other job once, through a private Prefect server and
worker, and show what each did.
"""

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from demo.databases import ensure_sample_hris, migrate
from demo.display import RunDisplay, count_writes, describe_rejected, make_jobs_table, make_result_table
from demo.jobs import JOBS, describe_result
from demo.local_system import LocalSystem
from demo.sample_attendance import write_sample_attendance
from demo.sample_hris import HrisShape
from errors import SuiteError
from settings import get_settings

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

    from demo.runs import RunFailed

DEPLOYMENT = "hris-replication/hris-replication"
PROGRESS_ARTIFACT = "hris-replication-progress"


class DemonstrationFailed(SuiteError):
    """The demonstration did not show what it should; the log's tail is in the message."""


@dataclass(frozen=True)
class Demonstration:
    """What is demonstrated, and where it is shown.

    Attributes:
        console: The terminal.
        system: The private Prefect server and worker, entered.
        shape: The sample HRIS.
    """

    console: Console
    system: LocalSystem
    shape: HrisShape

    def run(self) -> None:
        """Start everything, replicate twice, run the other jobs, show all results.

        Raises:
            SuiteError: Something failed; the message says what and holds the end of the log that tells why.
        """
        self._start_from_nothing()
        self.system.start_server()
        self._prepare_databases()
        with self._step(f"Prefect server at {self.system.ui_url}"):
            self.system.wait_for_server()
        self._deploy()
        # Imported here: it takes seconds, in which the server starts.
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            first = self._replicate(client, "First run")
            for line in describe_rejected(first):
                self.console.print(f"  rejected: {line}", style="dim", highlight=False)
            second = self._replicate(client, "Second run, the HRIS unchanged")
            if count_writes(second):
                raise DemonstrationFailed(
                    f"the second run wrote {count_writes(second):,} rows although the HRIS had not changed: "
                    "the replication compares wrongly"
                )
            self._prepare_attendance()
            self._run_jobs(client)

    def _start_from_nothing(self) -> None:
        folder = self.system.folder
        shutil.rmtree(folder / "prefect", ignore_errors=True)
        for left in folder.glob("app.sqlite3*"):
            left.unlink()

    def _prepare_databases(self) -> None:
        settings = get_settings()
        path = Path(settings.hris_url.database or "")
        with self._step(f"Sample HRIS of {self.shape.people:,} people"):
            ensure_sample_hris(path, self.shape)
        with self._step("Application database"):
            migrate(settings)

    def _deploy(self) -> None:
        from deployments.deploy import WORK_POOL, deploy_all, ensure_work_pool

        ensure_work_pool()
        self.system.start_worker(WORK_POOL)
        with self._step("Deployments of prefect.yaml"):
            deploy_all()
        with self._step(f"Worker on the work pool {WORK_POOL!r}"):
            self.system.wait_for_worker(WORK_POOL)

    def _replicate(self, client: "SyncPrefectClient", title: str) -> dict[str, Any]:
        from prefect.utilities.urls import url_for

        from demo.runs import RunFailed, follow, read_result, trigger

        run = trigger(DEPLOYMENT)
        address = url_for("flow-run", run.id)
        self.console.print(f"\n[bold]{title}[/]: {run.name}, {address}", soft_wrap=True)
        try:
            run = follow(client, run, RunDisplay(self.console), PROGRESS_ARTIFACT)
        except RunFailed as failure:
            raise self._explain(client, failure) from failure
        result = read_result(run)
        title = f"{result['message']}, in {result['duration_seconds']:.1f} s"
        self.console.print(make_result_table(title, result))
        return result

    def _prepare_attendance(self) -> None:
        settings = get_settings()
        app, hris, biostar = (
            Path(url.database or "") for url in (settings.maria_url, settings.hris_url, settings.biostar_url)
        )
        self.console.print()
        with self._step("Sample meal requests, pairings, signs and door events"):
            write_sample_attendance(app, hris, biostar, settings.site_zone, datetime.now(UTC))

    def _run_jobs(self, client: "SyncPrefectClient") -> None:
        from demo.runs import RunFailed, read_result, trigger, wait_for_all

        with self.console.status("") as status:

            def tell(completed: int) -> None:
                status.update(f"The other jobs, side by side: {completed} of {len(JOBS)} completed")

            runs = [trigger(f"{job.deployment}/{job.deployment}", job.parameters) for job in JOBS]
            try:
                runs = wait_for_all(client, runs, tell)
            except RunFailed as failure:
                raise self._explain(client, failure) from failure
        rows = [
            (job.deployment, run.total_run_time.total_seconds(), describe_result(read_result(run)))
            for job, run in zip(JOBS, runs, strict=True)
        ]
        self.console.print(make_jobs_table("The other jobs, on the same people", rows))

    def _explain(self, client: "SyncPrefectClient", failure: "RunFailed") -> DemonstrationFailed:
        from demo.runs import read_log_tail

        log = read_log_tail(client, failure.run) or self.system.log_tails().get("the worker", "")
        return DemonstrationFailed(f"{failure}. The end of its log:\n{log}")

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        start = time.monotonic()
        with self.console.status(name):
            yield
        self.console.print(f"  {name} [dim]{time.monotonic() - start:.1f} s[/]", highlight=False)
