"""What the fork server does once that each run would do again: all of it is private to Prefect and to pydantic."""

import ssl
from collections.abc import Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any

import certifi
from prefect.client import orchestration
from prefect.client.schemas.responses import OrchestrationResult
from prefect.settings import get_current_settings
from pydantic import BaseModel

# Each change of a state names this model, which pydantic makes anew, in 2 ms, whenever nobody has it any more.
STATE_ANSWER = OrchestrationResult[Any]


def warm_up() -> None:
    """Get ready what is the same for all runs."""
    share_ssl_contexts()
    build_models()


def share_ssl_contexts() -> None:
    """Have all of Prefect's clients in a process share their TLS contexts, made before the fork.

    Each would read all of the machine's certificates, 80 ms, and a run makes six, also for servers without TLS.
    """
    shared = SimpleNamespace(**{**vars(ssl), "create_default_context": cache(ssl.create_default_context)})
    shared.create_default_context(cafile=get_current_settings().api.ssl_cert_file or certifi.where())
    orchestration.ssl = shared  # type: ignore[assignment,attr-defined]  # Prefect gives no other way


def build_models() -> None:
    """Build the validators of Prefect's models, which wait for their first use."""
    for model in set(_find_models(BaseModel)):
        if not model.__pydantic_complete__:
            model.model_rebuild(raise_errors=False)


def _find_models(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for model in base.__subclasses__():
        yield model
        yield from _find_models(model)
