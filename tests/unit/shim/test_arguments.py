"""Values of a wrong type are refused where a task is called."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest

from shim.arguments import check_values, checks_of
from shim.errors import ArgumentInvalid
from shim.signatures import call_signature


def called(  # noqa: PLR0917
    count: int = 0,
    name: str | None = None,
    ids: list[int] | None = None,
    amount: Decimal = Decimal(0),
    at: datetime | None = None,
    day: date | None = None,
    kind: Literal["a", "b"] = "a",
    share: float = 0.0,
    table: dict[str, Any] | None = None,
    anything: Any = None,
    *more: int,
) -> None: ...


SIGNATURE = call_signature(called, bound=False)


def check(*args: Any, **kwargs: Any) -> None:
    check_values("sample.called", SIGNATURE, checks_of(SIGNATURE), args, kwargs)


@pytest.mark.parametrize(
    "arguments",
    [
        {"count": 5},
        {"count": "5"},
        {"count": 5.0},
        {"name": None},
        {"name": "x"},
        {"ids": [1, 2]},
        {"ids": (1,)},
        {"amount": "1.5"},
        {"at": datetime(2026, 11, 22, 15, tzinfo=UTC)},
        {"at": "2026-11-22T15:00:00"},
        {"day": "2026-11-22"},
        {"kind": "b"},
        {"share": 1},
        {"table": {}},
        {"anything": UUID(int=7)},
        {"unknown": 1},
    ],
    ids=str,
)
def test_what_the_flow_can_use_passes(arguments: dict[str, Any]) -> None:
    check(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": "five"}, "argument 'count' must be int, got str 'five'"),
        ({"count": 1.5}, "argument 'count' must be int, got float 1.5"),
        ({"count": None}, "argument 'count' must be int, got NoneType None"),
        ({"name": 5}, "argument 'name' must be str | None, got int 5"),
        ({"ids": [1, "x"]}, "argument 'ids' must be list[int] | None, got list [1, 'x']"),
        ({"ids": "12"}, "argument 'ids'"),
        ({"amount": "much"}, "argument 'amount' must be Decimal, got str 'much'"),
        ({"at": "yesterday"}, "argument 'at'"),
        ({"kind": "c"}, "argument 'kind'"),
        ({"table": []}, "argument 'table'"),
    ],
    ids=lambda value: value if isinstance(value, str) else str(value),
)
def test_what_it_cannot_use_is_refused_and_the_argument_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentInvalid) as raised:
        check(**arguments)
    assert message in str(raised.value)
    assert "sample.called" in str(raised.value)


def test_positional_arguments_are_checked_too() -> None:
    with pytest.raises(ArgumentInvalid, match="argument 'name'"):
        check(1, 2)


def test_a_long_value_is_shortened_in_the_message() -> None:
    with pytest.raises(ArgumentInvalid) as raised:
        check(count="x" * 10_000)
    assert len(str(raised.value)) < 300
