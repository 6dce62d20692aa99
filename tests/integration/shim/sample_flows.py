"""The flows of sample tasks whose bodies stand apart from their contracts."""

import asyncio
import os
import signal

from shim.batches.calls import BatchedCall
from tests.integration.shim import sample_tasks


@sample_tasks.double.flow(name="double")
async def double(number: int, *, dry_run: bool = False) -> int:
    """Double a number.

    Args:
        number: What is doubled.
        dry_run: Whether to leave it as it is.
    """
    sample_tasks.record(sample_tasks.double.request.id, "double")
    return number if dry_run else 2 * number


@sample_tasks.note.flow(name="note")
async def note(text: str, *, failures: int = 0, seconds: float = 0.0) -> str:
    """Note a text."""
    sample_tasks.record(sample_tasks.note.request.id, f"alone {text}")
    return text


@sample_tasks.note.batch_flow(name="notes")
async def note_all(calls: list[BatchedCall]) -> None:
    """Note the texts of a batch; texts say what else happens."""
    for call in calls:
        text = call.arguments["text"]
        sample_tasks.record(call.id, f"together {text}", call.request.retries)
        await asyncio.sleep(call.arguments["seconds"])
        if text == "leave":
            continue
        if text == "break":
            raise sample_tasks.SampleError("the whole batch broke")
        if text == "die" and len(sample_tasks.effects_of(call.id)) == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if call.request.retries < call.arguments["failures"]:
            call.fail(sample_tasks.SampleError(f"attempt {call.request.retries}"))
        else:
            call.succeed(text)
