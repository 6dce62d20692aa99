"""Bounds in a signature are held by the shim at the call and by pydantic in the flow."""

from typing import Annotated, Any

import pytest
from pydantic import TypeAdapter, ValidationError

from shim import Within
from shim.arguments import check_values, checks_of
from shim.errors import ArgumentInvalid
from shim.signatures import call_signature

Days = Annotated[int, Within(1, 30)]
Ids = Annotated[list[Annotated[int, Within(1, 99)]], Within(1, 3)]


def called(days: Days | None = None, ids: Ids | None = None) -> None: ...


SIGNATURE = call_signature(called, bound=False)


@pytest.mark.parametrize(
    "arguments", [{"days": 1}, {"days": 30}, {"days": "7"}, {"days": None}, {"ids": [1]}, {"ids": [1, 2, 99]}], ids=str
)
def test_what_lies_within_passes_here_and_there(arguments: dict[str, Any]) -> None:
    check_values("sample.called", SIGNATURE, checks_of(SIGNATURE), (), arguments)
    for name, value in arguments.items():
        TypeAdapter(SIGNATURE.parameters[name].annotation).validate_python(value)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"days": 0}, "'days' must be int, from 1 to 30 | None, got int 0"),
        ({"days": -1}, "got int -1"),
        ({"days": 10**30}, "got int 1000"),
        ({"days": "31"}, "got str '31'"),
        ({"days": "soon"}, "got str 'soon'"),
        ({"ids": []}, "'ids' must be list[int, from 1 to 99], from 1 to 3 | None, got list []"),
        ({"ids": [1, 2, 3, 4]}, "got list"),
        ({"ids": [0]}, "got list [0]"),
    ],
    ids=str,
)
def test_what_lies_outside_is_refused_here_and_there(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ArgumentInvalid) as refused:
        check_values("sample.called", SIGNATURE, checks_of(SIGNATURE), (), arguments)
    assert told in str(refused.value)
    for name, value in arguments.items():
        with pytest.raises(ValidationError):
            TypeAdapter(SIGNATURE.parameters[name].annotation).validate_python(value)


def test_forms_learn_the_bounds() -> None:
    assert TypeAdapter(Days).json_schema() == {"type": "integer", "minimum": 1, "maximum": 30}
    assert TypeAdapter(Ids).json_schema()["maxItems"] == 3
