"""What a task declares so that its calls run together."""

from dataclasses import dataclass

from shim.errors import ShimError

MOST_CALLS = 1_000
LONGEST_WAIT = 0.5


@dataclass(frozen=True)
class Batch:
    """Calls of a task that arrive together run together.

        @shared_task(flow="flows.mail.send_notification", batch=Batch(flow="flows.mail.send_notifications"), ...)

    A batch is complete when it has `size` calls, when no other call came for `wait` seconds, or when its first call has
    been held for four times as long. While an earlier batch of the task is under way, more is gathered: until no other
    call came for twice as long (at most 0.5 s), or the first one has been held for 15 times as long. A call that asks
    for what a batch cannot give (`eta`, `countdown`, limits of its own) runs alone, in the task's own flow.

    Attributes:
        flow: Dotted path of the flow that runs a batch.
        size: Calls in a batch at most.
        wait: Seconds without another call after which a batch is complete, at most 0.5.
    """

    flow: str
    size: int = 500
    wait: float = 0.2

    def __post_init__(self) -> None:
        if not 1 <= self.size <= MOST_CALLS or not 0 < self.wait <= LONGEST_WAIT:
            raise ShimError(
                f"a batch has 1 to {MOST_CALLS} calls and waits at most {LONGEST_WAIT} s for another one, "
                f"not {self.size} calls and {self.wait} s"
            )
