"""`Task.chunks`, `Task.map` and `Task.starmap`: each item becomes a flow run of its own."""

from typing import TYPE_CHECKING, Any

from celery.canvas import signature
from celery.result import allow_join_result

if TYPE_CHECKING:
    from celery import Celery


def add_item_tasks(app: "Celery") -> None:
    """Replace Celery's tasks behind chunks and maps, once the application is complete.

    Celery's own call the task's body where they run. These send each item as a call and wait for it before the next, so
    that a chunk is still worked off one after another. Items take their ids from the chunk: a chunk that is delivered
    twice finds the runs of the first.

    Args:
        app: The application.
    """
    for name, spread in (("celery.map", _as_only_argument), ("celery.starmap", tuple)):
        app.tasks.unregister(name)
        app.task(_make_body(spread), name=name, bind=True, shared=False, lazy=False)


def _as_only_argument(item: Any) -> tuple[Any]:
    return (item,)


def _make_body(spread: Any) -> Any:
    def run(self: Any, task: Any, it: Any) -> list[Any]:
        call = signature(task, app=self.app)
        in_worker = not (self.request.called_directly or self.request.is_eager)
        results = []
        for place, item in enumerate(it):
            arguments = spread(item)
            if not (in_worker and getattr(call.type, "runs_as_flow", False)):
                results.append(call.type(*arguments))
                continue
            options = {**call.options, "task_id": f"{self.request.id}-{place}"}
            sent = call.type.apply_async(arguments, **options)
            with allow_join_result():
                results.append(sent.get())
        return results

    return run
