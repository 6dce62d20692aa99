"""Which modules the warm process imports before any run: those of the deployments in `prefect.yaml`."""

from pathlib import Path

import yaml

from workers.errors import WorkerError

REPOSITORY = Path(__file__).resolve().parents[1]


def find_flow_modules(prefect_yaml: Path = REPOSITORY / "prefect.yaml") -> list[str]:
    """Give the modules that hold the deployments' flows.

    Args:
        prefect_yaml: The list of the deployments. If there is none, nothing but Prefect itself is imported early.

    Raises:
        WorkerError: The file is not a list of deployments.
    """
    if not prefect_yaml.exists():
        return []
    try:
        blocks = (yaml.safe_load(prefect_yaml.read_text()) or {}).get("deployments") or []
        entrypoints = [block["entrypoint"] for block in blocks if block.get("entrypoint")]
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise WorkerError(f"{prefect_yaml} cannot be read: {error}. `prefect deploy --all` says where") from error
    return _find_modules(entrypoints)


def _find_modules(entrypoints: list[str]) -> list[str]:
    """Give the modules of entry points such as `flows.hris.replicate` and `tasks.menu:export.prefect_flow`.

    Entry points that name a file, `flow.py:run`, are left out: Prefect runs such a file anew for each run.
    """
    modules = []
    for entrypoint in entrypoints:
        module, colon, _ = entrypoint.partition(":")
        if not colon:
            module = entrypoint.rpartition(".")[0]
        if module and not module.endswith(".py") and module not in modules:
            modules.append(module)
    return modules
