"""Does a flow function keep what its task promises?"""

import inspect
from collections.abc import Callable
from inspect import Parameter, Signature
from typing import Any

from shim.errors import SignatureMismatch


def call_signature(function: Callable[..., Any], *, bound: bool) -> Signature:
    """Give the signature that callers of a task see.

    Args:
        function: The function under the decorator.
        bound: Whether its first parameter is the task itself (`bind=True`).

    Returns:
        The signature without that parameter, with evaluated annotations where they can be evaluated.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except NameError:
        signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    return signature.replace(parameters=parameters[1:] if bound else parameters)


def check_signatures(task_name: str, promised: Signature, flow_function: Callable[..., Any]) -> None:
    """Check that a flow function takes every call that its task accepts.

    The flow function may have more parameters than the task if they are keyword-only and have defaults: those are for
    people who start the flow from Prefect.

    Args:
        task_name: The task's name, for the message.
        promised: What callers of the task may pass (see `call_signature`).
        flow_function: The function that is to become the flow.

    Raises:
        SignatureMismatch: They differ; the message lists each difference.
    """
    offered = call_signature(flow_function, bound=False)
    differences = [*_missing_or_different(promised, offered), *_unexpected(promised, offered)]
    if differences:
        name = f"{flow_function.__module__}.{flow_function.__qualname__}"
        raise SignatureMismatch(
            f"flow function {name}{offered} does not fit task {task_name}{promised}: "
            f"{'; '.join(differences)}. Change one of them so that both take the same arguments"
        )


def _missing_or_different(promised: Signature, offered: Signature) -> list[str]:
    differences = []
    shared = [name for name in offered.parameters if name in promised.parameters]
    for name, parameter in promised.parameters.items():
        if name not in offered.parameters:
            differences.append(f"the flow has no parameter {name!r}")
        else:
            differences += _compare(parameter, offered.parameters[name])
    if not differences and shared != list(promised.parameters):
        differences.append(
            f"the order is {', '.join(shared)} in the flow and {', '.join(promised.parameters)} in the task"
        )
    return differences


def _compare(promised: Parameter, offered: Parameter) -> list[str]:
    differences = []
    if promised.kind is not offered.kind:
        differences.append(
            f"{promised.name!r} is {offered.kind.description} in the flow, {promised.kind.description} in the task"
        )
    if promised.default != offered.default:
        differences.append(f"{promised.name!r} has {_default(offered)} in the flow, {_default(promised)} in the task")
    annotated = Parameter.empty not in (promised.annotation, offered.annotation)
    if annotated and promised.annotation != offered.annotation:
        differences.append(f"{promised.name!r} is {_type(offered)} in the flow, {_type(promised)} in the task")
    return differences


def _unexpected(promised: Signature, offered: Signature) -> list[str]:
    return [
        f"the flow's own parameter {name!r} must be keyword-only and have a default"
        for name, parameter in offered.parameters.items()
        if name not in promised.parameters
        and (parameter.kind is not Parameter.KEYWORD_ONLY or parameter.default is Parameter.empty)
    ]


def _default(parameter: Parameter) -> str:
    return "no default" if parameter.default is Parameter.empty else f"default {parameter.default!r}"


def _type(parameter: Parameter) -> str:
    return inspect.formatannotation(parameter.annotation)
