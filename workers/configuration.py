"""The job variables of the worker: those of Prefect's process worker, and limits."""

from functools import cache
from typing import Any, Self

from prefect.client.orchestration import PrefectClient
from prefect.settings import get_current_settings
from prefect.workers.process import ProcessJobConfiguration, ProcessVariables
from pydantic import Field

MEGABYTE = 1024 * 1024
# Below, Prefect's engine itself does not find room for its threads.
LEAST_MEMORY_MB = 64


@cache
def write_settings() -> dict[str, str]:
    """Give the settings of this process, wherever they come from, as environment variables."""
    return get_current_settings().to_environment_variables(exclude_unset=True)


class Limits(ProcessVariables):
    """Variables that a work pool, a deployment or a single run may set."""

    time_limit: float | None = Field(
        default=None,
        gt=0,
        title="Time Limit",
        description="Seconds after which the run's process is killed and the run is Failed, retries included.",
    )
    memory_limit_mb: int | None = Field(
        default=None,
        ge=LEAST_MEMORY_MB,
        title="Memory Limit (MB)",
        description="Megabytes that the run's process may take beyond what it starts with.",
    )
    grace_seconds: float = Field(
        default=30,
        ge=0,
        title="Grace Seconds",
        description="Seconds that the run may go on when its worker is told to stop, before it is handed back.",
    )


class Configuration(ProcessJobConfiguration):
    """How one run's process is started and limited."""

    time_limit: float | None = Field(default=None, gt=0)
    memory_limit_mb: int | None = Field(default=None, ge=LEAST_MEMORY_MB)
    grace_seconds: float = Field(default=30, ge=0)

    @property
    def memory_limit(self) -> int | None:
        """The memory limit in bytes."""
        return None if self.memory_limit_mb is None else self.memory_limit_mb * MEGABYTE

    @property
    def has_own_command(self) -> bool:
        """Whether the deployment names a command of its own, which cannot be a child of the warm process."""
        return self._command_configured

    def describe_deployment(self) -> dict[str, Any] | None:
        """Give the run's deployment as JSON, so that its process need not ask for it again; None if it has none."""
        deployment = self._related_objects.get("deployment")
        return None if deployment is None else deployment.model_dump(mode="json")

    @classmethod
    def _base_environment(cls) -> dict[str, str]:
        # Settings do not change while a worker lives, and to write them down takes a tenth of a second.
        return dict(write_settings())

    @classmethod
    async def from_template_and_values(
        cls, base_job_template: dict[str, Any], values: dict[str, Any], client: PrefectClient | None = None
    ) -> Self:
        """Resolve the work pool's template; one made for process workers does not name the limits: they are added.

        Args:
            base_job_template: The work pool's.
            values: The job variables of deployment and run.
            client: A client of the Prefect server.
        """
        placeholders = {name: f"{{{{ {name} }}}}" for name in ("time_limit", "memory_limit_mb", "grace_seconds")}
        template = {
            **base_job_template,
            "job_configuration": {**placeholders, **base_job_template["job_configuration"]},
        }
        configuration: Self = await super().from_template_and_values(template, values, client=client)
        return configuration
