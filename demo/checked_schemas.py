"""Has a Prefect server check each JSON schema once.

Prefect 3.8 validates the parameters and job variables of each flow run that is asked for, and checks the deployment's
schema and the work pool's for being schemas each time, three times in all: half of the time that the request takes.
"""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from prefect.utilities.schema_tools import validation

# Schemas of deployments and work pools; one takes a few kilobytes.
MOST_SCHEMAS = 1000


def check_schemas_once() -> None:
    """Have the server in this process check schemas that it has found valid no more."""
    validation._VALIDATOR.check_schema = staticmethod(remember_valid(validation._VALIDATOR.check_schema))


def remember_valid(check: Callable[..., None]) -> Callable[..., None]:
    """Give a check that is done once for equal schemas; an invalid one fails each time.

    Args:
        check: Raises if a schema is none.
    """

    @lru_cache(MOST_SCHEMAS)
    def check_text(text: str) -> None:
        check(json.loads(text))

    def check_schema(schema: Any, **options: Any) -> None:
        # The options name what the check uses by itself.
        check_text(json.dumps(schema))

    return check_schema
