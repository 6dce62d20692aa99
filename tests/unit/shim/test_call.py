"""A call travels with its types, and its run shows it readably."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from shim.call import LONGEST_PARAMETERS, Call, readable
from shim.errors import ArgumentInvalid
from shim.outcome import Outcome
from shim.signatures import call_signature

VALUES = [Decimal("1.50"), datetime(2026, 11, 22, tzinfo=UTC), UUID(int=7), b"\x00", None, "text", 1.5, {"a": [1]}]


def body(amount: Any, *more: Any, text: str = "", **rest: Any) -> None: ...


def call(*args: Any, **kwargs: Any) -> Call:
    from kombu.utils.json import dumps

    return Call({"id": "c1", "task": "sample.body", "retries": 0}, dumps([args, kwargs, {"chain": None}]))


def parameters(sent: Call) -> dict[str, Any]:
    return sent.parameters(call_signature(body, bound=False))


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_a_call_comes_out_of_a_runs_context_as_it_went_in(value: Any) -> None:
    context = json.loads(json.dumps(call(value, text="x").to_context()))

    received = Call.from_context(context, lambda _: "")
    assert received is not None
    assert received.args == (value,)
    assert received.kwargs == {"text": "x"}
    assert received.id == "c1"


def test_a_long_body_travels_beside_the_context() -> None:
    sent = call("x" * 100_000)
    assert sent.is_long()

    context = sent.to_context("artifact-1")
    assert len(json.dumps(context)) < 1000
    received = Call.from_context(context, {"artifact-1": sent.body}.__getitem__)
    assert received == sent


def test_a_run_without_a_caller_has_no_call() -> None:
    assert Call.from_context({}, lambda _: "") is None
    assert Call.from_context(None, lambda _: "") is None


def test_parameters_are_the_arguments_by_name_as_json_shows_them() -> None:
    sent = call(Decimal("1.50"), 2, text="x", on=datetime(2026, 11, 22, tzinfo=UTC))
    assert parameters(sent) == {
        "amount": "1.50",
        "more": [2],
        "text": "x",
        "rest": {"on": "2026-11-22T00:00:00+00:00"},
    }


def test_long_parameters_are_shortened_and_say_so() -> None:
    shown = parameters(call(["x" * 1000] * 1000, text="kept"))
    assert shown["text"] == "kept"
    assert shown["amount"].endswith("characters in all)")
    assert len(json.dumps(shown)) < LONGEST_PARAMETERS


def test_arguments_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ArgumentInvalid, match="missing a required argument: 'amount'"):
        parameters(call())


def test_what_a_float_cannot_be_in_json_becomes_text() -> None:
    assert readable(float("nan")) == "nan"
    assert readable({1, 2}) in ([1, 2], [2, 1])


def test_a_task_that_replaces_itself_gets_a_run_of_its_own() -> None:
    first = Call({"id": "c1", "task": "t"}, "[]")
    second = Call({"id": "c1", "task": "t", "replaced_task_nesting": 1}, "[]")
    assert first.key == "c1"
    assert second.key == "c1:1"


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_an_outcome_keeps_its_types(value: Any) -> None:
    assert Outcome.decode(Outcome("SUCCESS", value).encode()).value == value


def test_an_error_keeps_type_name_module_and_arguments_without_importing_anything() -> None:
    error = type("Remote", (Exception,), {"__module__": "nowhere.to.be.found"})("text", 42)
    received = Outcome.decode(Outcome("FAILURE", error, "traceback").encode()).error
    assert received is not None
    assert (type(received).__name__, type(received).__module__) == ("Remote", "nowhere.to.be.found")
    assert received.args == ("text", 42)
