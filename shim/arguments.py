"""Values are checked where a task is called, against the annotations of its signature.

The check takes what the flow's own, thorough validation can turn into the annotated type, as JSON may carry it, and
refuses what never can be. It needs neither Prefect nor pydantic, and a call only some microseconds.
"""

import types
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from inspect import Parameter, Signature
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from uuid import UUID

from shim.bounds import Within
from shim.errors import ArgumentInvalid

Check = Callable[[Any], bool]
LONGEST_SHOWN = 80


def checks_of(signature: Signature) -> dict[str, Check]:
    """Give a check for each parameter whose annotation can be checked.

    Args:
        signature: What callers may pass, with evaluated annotations.
    """
    checks = {name: _check_of(parameter.annotation) for name, parameter in signature.parameters.items()}
    variable = {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
    return {
        name: check
        for name, check in checks.items()
        if check is not None and signature.parameters[name].kind not in variable
    }


def check_values(
    task_name: str, signature: Signature, checks: Mapping[str, Check], args: Any, kwargs: Mapping[str, Any]
) -> None:
    """Check the values of a call whose number and names of arguments are right.

    Args:
        task_name: The task's name, for the message.
        signature: What callers may pass.
        checks: What `checks_of` gave for it.
        args: Positional arguments.
        kwargs: Keyword arguments.

    Raises:
        ArgumentInvalid: A value is not of its parameter's type; the message names the parameter.
    """
    for name, value in [*zip(signature.parameters, args, strict=False), *kwargs.items()]:
        check = checks.get(name)
        if check is not None and not check(value):
            shown = repr(value)
            shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}…"
            raise ArgumentInvalid(
                f"{task_name}: argument {name!r} must be {_describe(signature.parameters[name].annotation)}, "
                f"got {type(value).__name__} {shown}"
            )


def _check_of(annotation: Any) -> Check | None:
    """Give the check of a type, or None for types that only the flow's validation understands."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _within(_check_of(inner[0]), [bounds for bounds in inner[1:] if isinstance(bounds, Within)])
    if origin in {Union, types.UnionType}:
        return _any_of([_check_of(option) for option in inner])
    if origin is Literal:
        return lambda value: value in inner
    if origin in {list, tuple, set, frozenset} or annotation in {list, tuple, set, frozenset}:
        item = _check_of(inner[0]) if origin is list else None
        return lambda value: (
            isinstance(value, list | tuple | set | frozenset) and (item is None or all(map(item, value)))
        )
    if origin is dict or annotation is dict:
        return lambda value: isinstance(value, Mapping)
    return SCALARS.get(annotation) if isinstance(annotation, type) or annotation is None else None


def _within(check: Check | None, bounds: list[Within]) -> Check | None:
    if check is None or not bounds:
        return check
    return lambda value: check(value) and all(each.allows(value) for each in bounds)


def _describe(annotation: Any) -> str:
    """Write an annotation as people read it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = [str(each) for each in inner[1:] if isinstance(each, Within)]
        return ", ".join([_describe(inner[0]), *bounds])
    if origin in {Union, types.UnionType}:
        return " | ".join(map(_describe, inner))
    if origin is list:
        return f"list[{_describe(inner[0])}]"
    if annotation is type(None):
        return "None"
    return annotation.__name__ if isinstance(annotation, type) and not inner else str(annotation)


def _any_of(options: list[Check | None]) -> Check | None:
    known = [option for option in options if option is not None]
    return (lambda value: any(option(value) for option in known)) if len(known) == len(options) else None


def _parses(parse: Callable[[str], Any]) -> Check:
    def check(value: Any) -> bool:
        try:
            parse(value)
        except (ValueError, InvalidOperation):
            return False
        return True

    return check


def _typed(kinds: Any, parse: Callable[[str], Any]) -> Check:
    parses = _parses(parse)
    return lambda value: isinstance(value, kinds) or (isinstance(value, str) and parses(value))


SCALARS: dict[Any, Check] = {
    None: lambda value: value is None,
    type(None): lambda value: value is None,
    str: lambda value: isinstance(value, str),
    bool: lambda value: isinstance(value, bool) or value in (0, 1, "true", "false", "True", "False"),
    int: lambda value: (isinstance(value, float) and value.is_integer()) or _typed(int, int)(value),
    float: _typed(int | float | Decimal, float),
    Decimal: _typed(int | float | Decimal, Decimal),
    bytes: lambda value: isinstance(value, bytes | str),
    datetime: _typed(date | int | float, datetime.fromisoformat),
    date: _typed(date | int | float, date.fromisoformat),
    UUID: _typed(UUID, UUID),
}
