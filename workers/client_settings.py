"""Settings of Prefect in the processes of runs, which the worker finds out once for all of them."""

import sys
from contextlib import suppress
from uuid import uuid4

import httpx
from prefect.client.orchestration import get_client

# Prefect's clients ask for a token before their first change, and do without when this is the answer.
NO_TOKENS = 422


def find_log_settings() -> dict[str, str]:
    """Give variables that spare runs the search for what is to be coloured, where nobody sees colours.

    Returns:
        Names and values.
    """
    return {} if sys.stderr.isatty() else {"PREFECT_LOGGING_COLORS": "false"}


async def find_client_settings() -> dict[str, str]:
    """Give variables that spare each client of a run the questions that the worker has asked already.

    Returns:
        Names and values; none about what could not be asked.
    """
    # The worker's own client has compared the versions.
    found = {"PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false"}
    with suppress(httpx.TransportError):
        async with get_client() as client:
            try:
                await client.request("GET", "/csrf-token", params={"client": str(uuid4())})
            except httpx.HTTPStatusError as error:
                if error.response.status_code == NO_TOKENS:
                    found["PREFECT_CLIENT_CSRF_SUPPORT_ENABLED"] = "false"
    return found
