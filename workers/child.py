"""What a forked child does: prepare the deployment's code, then run Prefect's engine, or a hook, in this process.

The stock process worker starts two programs for that, one after the other, each of which imports Prefect. The steps and
their order are Prefect's, and so are the functions; they are private to it, so a new Prefect means looking at this
module again (the tests of the worker do).
"""

import asyncio
import logging
import os
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import NoReturn

from prefect._internal.control_listener import configure_from_env
from prefect._internal.metrics import RunMetrics
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, ServerDefaultResultStorage, State
from prefect.client.schemas.responses import DeploymentResponse
from prefect.engine import _drive_run_flow_result, handle_engine_signals
from prefect.flow_engine import _load_flow_from_runtime_entrypoint, run_flow
from prefect.logging.handlers import APILogHandler
from prefect.logging.loggers import flow_run_logger
from prefect.runner._workspace_resolver import (
    PreparedWorkspace,
    _find_project_root,
    _resolve_runtime_entrypoint,
    prepare_workspace,
)
from prefect.runner._workspace_runtime import PreparedWorkspaceManifest, read_model, write_private_model
from prefect.runner._workspace_runtime_bootstrap import main as run_hook
from prefect.runner._workspace_starter import _workspace_command, workspace_environment
from prefect.runner._workspace_supervisor import _hook_command, _restore_runner_environment
from prefect.states import Failed
from prefect.utilities.processutils import command_from_string, get_sys_executable, sanitize_subprocess_env

from workers.answers import answer_default_result_storage
from workers.entrypoints import note_what_can_be_shared
from workers.errors import WorkerError
from workers.lasting import begin_watches_later
from workers.limits import limit_memory
from workers.orders import Order
from workers.process_ids import tell_process_id
from workers.surroundings import REPOSITORY, set_import_path, take_environment

# An exit status like any other: the worker finds out by itself that the run is not its own any more.
LEASE_LOST = 75
SET_DIRECTORY = "prefect.deployments.steps.set_working_directory"


def carry_out(order: Order) -> int:
    """Do what was ordered, in this process, which does nothing else afterwards.

    Args:
        order: The order.

    Returns:
        The exit status.
    """
    _detach(order)
    take_environment(order.environment)
    os.chdir(order.directory)
    if order.work == "hook":
        return execute_hook(**order.arguments)
    limit_memory(order.memory_limit)
    if (answers := order.arguments["answers"]) is not None:
        storage = ServerDefaultResultStorage.model_validate(answers)
        answer_default_result_storage(storage.default_result_storage_block_id)
    deployment = order.arguments["deployment"]
    return execute_run(
        FlowRun.model_validate(order.arguments["flow_run"]),
        None if deployment is None else DeploymentResponse.model_validate(deployment),
        Path(order.arguments["workspace_root"]),
        Path(order.arguments["manifest"]),
        order.arguments["lease"],
        shareable=Path(order.arguments["shareable"]),
    )


def execute_hook(kind: str, manifest: str, flow_run: str, state: str) -> int:
    """Run the hooks of a run that has ended.

    Args:
        kind: `crashed` or `cancellation`.
        manifest: The file in which the run's process noted what it had prepared.
        flow_run: The file with the run.
        state: The file with its state.

    Returns:
        The exit status.
    """
    prepared = read_model(Path(manifest), PreparedWorkspaceManifest)
    take_environment(prepared.environment)
    os.chdir(prepared.working_directory)
    set_import_path(prepared.working_directory, prepared.environment)
    return run_hook(["hook", kind, manifest, flow_run, state])


def execute_run(
    flow_run: FlowRun,
    deployment: DeploymentResponse | None,
    workspace_root: Path,
    manifest: Path,
    lease: str | None,
    *,
    shareable: Path,
) -> int:
    """Prepare a run's code and run it.

    Args:
        flow_run: The run, as the worker has it.
        deployment: Its deployment.
        workspace_root: The folder that the deployment's pull steps start in.
        manifest: Where to note what was prepared, for hooks that run later.
        lease: The token of the run's lease, if it has one.
        shareable: Where to note a flow that could be imported before the fork.

    Returns:
        The exit status: 0 also for a run that failed, which its state tells.
    """
    runner_environment = dict(os.environ)
    try:
        workspace = _enter_folder(deployment, workspace_root)
        if workspace is None:
            workspace = asyncio.run(_prepare(flow_run, deployment, workspace_root))
    except Exception as error:  # noqa: BLE001 - pull steps run anything, and so raise anything
        return _fail(flow_run, "The deployment's code could not be prepared", error)
    environment = sanitize_subprocess_env(workspace_environment(workspace))
    _restore_runner_environment(environment, runner_environment)
    environment["PREFECT__FLOW_RUN_ID"] = str(flow_run.id)
    environment["PREFECT__FLOW_ENTRYPOINT"] = workspace.runtime_entrypoint
    environment["PREFECT__ENABLE_CANCELLATION_AND_CRASHED_HOOKS"] = "false"
    command = _workspace_command(workspace, None, environment=environment)
    words = command_from_string(command) if command else [get_sys_executable(), "-m", "prefect.engine"]
    write_private_model(
        manifest,
        PreparedWorkspaceManifest(
            working_directory=workspace.working_directory,
            project_root=workspace.project_root,
            runtime_entrypoint=workspace.runtime_entrypoint,
            hook_command=_hook_command(words),
            environment=environment,
        ),
    )
    os.chdir(workspace.working_directory)
    if command is not None:
        # The deployment's code wants an environment of its own: nothing of this process helps it.
        with get_client(sync_client=True) as client:
            client.update_flow_run(flow_run.id, infrastructure_pid=str(os.getpid()))
        os.execvpe(words[0], words, environment)  # noqa: S606 - what the stock worker does
    take_environment(environment)
    set_import_path(workspace.working_directory, environment)
    if lease is not None:
        _hold(flow_run, lease)
    return run_engine(flow_run, workspace.runtime_entrypoint, shareable)


def run_engine(flow_run: FlowRun, entrypoint: str, shareable: Path) -> int:
    """Import a flow and run it as Prefect's engine does as a program.

    Args:
        flow_run: The run.
        entrypoint: The flow.
        shareable: Where to note a flow that could be imported before the fork.

    Returns:
        The exit status.
    """
    configure_from_env()
    begin_watches_later()
    tell_process_id()
    with handle_engine_signals(flow_run.id):
        logger = flow_run_logger(flow_run)
        # Other folders have modules of their own, and a file is run anew for each run.
        is_ours = Path.cwd() == REPOSITORY and ".py:" not in entrypoint
        try:
            with note_what_can_be_shared(entrypoint, shareable) if is_ours else nullcontext():
                flow = _load_flow_from_runtime_entrypoint(entrypoint)
        except Exception as error:  # noqa: BLE001 - importing runs the deployment's code, which may raise anything
            return _fail(flow_run, f"The flow {entrypoint} could not be imported", error)
        with RunMetrics(flow_run, flow):
            _drive_run_flow_result(flow, run_flow(flow, flow_run=flow_run, error_logger=logger))  # type: ignore[arg-type]
    return 0


def _hold(flow_run: FlowRun, lease: str) -> None:
    """Have the suite's database refuse this process's writes once the run is somebody else's."""
    try:
        # Only now: the deployment's folder may have another version of it, or none.
        from db import fence
    except ImportError:
        return
    fence.hold(str(flow_run.id), lease, _stop)


def _stop() -> NoReturn:
    # Without a word to anybody: what there is to say, the run's new holder says.
    print("This attempt was taken for dead and its run went on elsewhere: nothing more is written.", file=sys.stderr)  # noqa: T201
    sys.stderr.flush()
    os._exit(LEASE_LOST)


def _enter_folder(deployment: DeploymentResponse | None, workspace_root: Path) -> PreparedWorkspace | None:
    """Prepare code that is there already: most deployments have one pull step, which names the code's folder.

    Prefect's own way of running steps would log, and tell of, each of them over a connection of its own.

    Returns:
        What is prepared; None if Prefect has to do it.
    """
    steps = deployment.pull_steps if deployment is not None else None
    if deployment is None or not deployment.entrypoint or not steps or len(steps) != 1:
        return None
    directory = (steps[0].get(SET_DIRECTORY) or {}).get("directory")
    if not isinstance(directory, str) or "{{" in directory or not Path(directory).is_absolute():
        return None
    os.chdir(directory)
    return PreparedWorkspace(
        workspace_root=workspace_root,
        working_directory=Path.cwd().resolve(),
        project_root=_find_project_root(Path.cwd(), workspace_root),
        runtime_entrypoint=_resolve_runtime_entrypoint(deployment.entrypoint),
        environment=dict(os.environ),
        sys_path=[],
    )


async def _prepare(flow_run: FlowRun, deployment: DeploymentResponse | None, workspace_root: Path) -> PreparedWorkspace:
    if deployment is None:
        raise WorkerError("the run has no deployment: nothing says where its code is")
    async with get_client() as client:
        return await prepare_workspace(client, flow_run, deployment, workspace_root)


def _fail(flow_run: FlowRun, what: str, error: Exception) -> int:
    """Make a run Failed that cannot begin: to try it again would not help."""
    logger = flow_run_logger(flow_run)
    logger.error("%s.", what, exc_info=error)
    APILogHandler().flush()
    with get_client(sync_client=True) as client:
        state: State[None] = Failed(message=f"{what}: {_describe(error)}")
        client.set_flow_run_state(flow_run.id, state, force=True)
    return 0


def _describe(error: BaseException) -> str:
    """Name an error and what caused it."""
    said = f"{type(error).__name__}: {error}"
    return said if error.__cause__ is None else f"{said}: {_describe(error.__cause__)}"


def _detach(order: Order) -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    if not order.shows_output:
        os.dup2(nothing, 1)
        os.dup2(nothing, 2)
    os.close(nothing)
    # Left by the fork server's own start.
    logging.captureWarnings(capture=False)
