"""A Prefect server for flows that are called eagerly where none is configured.

The steps of a flow need Prefect's API. Without an address Prefect starts a temporary server by itself, but one for each
thread that asks first, and not all of them end. Here it is one for the process, and it ends with it.
"""

import atexit
import os
import threading

START_LIMIT_SECONDS = 120

_starting = threading.Lock()


def ensure_prefect() -> None:
    """Start a temporary Prefect server for this process unless an address is configured or one runs already."""
    from prefect.context import refresh_global_settings_context
    from prefect.server.api.server import SubprocessASGIServer
    from prefect.settings import get_current_settings

    with _starting:
        if get_current_settings().api.url is not None:
            return
        server = SubprocessASGIServer()
        server.start(timeout=START_LIMIT_SECONDS)
        atexit.register(server.stop)
        # Prefect's own threads read the settings of the process, not those of a context.
        os.environ["PREFECT_API_URL"] = server.api_url
        refresh_global_settings_context()
