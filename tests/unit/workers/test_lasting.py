"""What is begun for runs that last is not begun for others, and ends with the run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tests.waiting import wait_until
from workers.lasting import enter_later

NAME: ContextVar[str] = ContextVar("name", default="nobody")


class Watch:
    """Notes who began it, and whether it has ended."""

    def __init__(self) -> None:
        self.begun_by: list[str] = []
        self.has_ended = threading.Event()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.begun_by.append(NAME.get())
        try:
            yield
        finally:
            self.has_ended.set()


def test_a_block_that_lasts_is_watched_in_its_own_context_until_it_ends() -> None:
    watch = Watch()
    NAME.set("the run")
    with enter_later(watch(), seconds=0.05):
        wait_until(lambda: watch.begun_by, "the watch begins")
        assert not watch.has_ended.is_set()
    assert watch.has_ended.wait(10)
    assert watch.begun_by == ["the run"]


def test_a_block_that_ends_soon_is_not_watched() -> None:
    watch = Watch()
    before = set(threading.enumerate())
    with enter_later(watch(), seconds=60):
        pass
    wait_until(lambda: set(threading.enumerate()) <= before, "no thread is left")
    assert watch.begun_by == []
