"""A module that ends the process that imports it."""

import os

from prefect import flow

os._exit(3)


@flow
def never() -> None:
    """Cannot be reached."""
