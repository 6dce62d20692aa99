"""Bounds of an argument, written into a task's signature and held wherever the argument arrives."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Within:
    """Bounds of a whole number, or of the number of a list's items, both included.

        def clean(retention_days: Annotated[int, Within(1, 3650)] = 30): ...

    The shim holds them where the task is called; the flow, and the forms of Prefect's UI, learn them through pydantic.

    Attributes:
        least: The smallest number.
        most: The largest number.
    """

    least: int
    most: int

    def allows(self, value: Any) -> bool:
        """Tell whether a value, which is of the annotated type, lies within the bounds."""
        number = len(value) if _has_items(value) else int(value)
        return self.least <= number <= self.most

    def __str__(self) -> str:
        return f"from {self.least} to {self.most}"

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Tell pydantic, which asks for it, of the bounds."""
        schema = handler(source)
        names = ("min_length", "max_length") if schema["type"] == "list" else ("ge", "le")
        return schema | dict(zip(names, (self.least, self.most), strict=True))


def _has_items(value: Any) -> bool:
    return isinstance(value, Collection) and not isinstance(value, str | bytes)
