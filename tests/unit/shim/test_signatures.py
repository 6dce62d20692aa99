"""A flow function keeps what its task promises, or the import says how it does not."""

from typing import Any

import pytest

from shim.errors import SignatureMismatch
from shim.signatures import call_signature, check_signatures


def contract(self: Any, a: int, b: str | None = None) -> None: ...


def check(function: Any) -> None:
    check_signatures("sample.contract", call_signature(contract, bound=True), function)


def test_equal_signatures_pass() -> None:
    async def flow(a: int, b: str | None = None) -> None: ...

    check(flow)


def test_a_flow_may_have_keyword_only_parameters_of_its_own() -> None:
    async def flow(a: int, b: str | None = None, *, dry_run: bool = False) -> None: ...

    check(flow)


def test_annotations_may_be_left_out() -> None:
    def flow(a, b=None): ...  # type: ignore[no-untyped-def]

    check(flow)


def missing(a: int) -> None: ...
def other_default(a: int, b: str | None = "x") -> None: ...
def other_type(a: str, b: str | None = None) -> None: ...
def other_kind(a: int, *, b: str | None = None) -> None: ...
def other_order(b: str | None, a: int) -> None: ...
def demanding(a: int, b: str | None = None, *, force: bool) -> None: ...
def positional(a: int, b: str | None = None, force: bool = False) -> None: ...


@pytest.mark.parametrize(
    ("function", "difference"),
    [
        (missing, "the flow has no parameter 'b'"),
        (other_default, "'b' has default 'x' in the flow, default None in the task"),
        (other_type, "'a' is str in the flow, int in the task"),
        (other_kind, "'b' is keyword-only in the flow, positional or keyword in the task"),
        (other_order, "'b' has no default in the flow, default None in the task"),
        (demanding, "the flow's own parameter 'force' must be keyword-only and have a default"),
        (positional, "the flow's own parameter 'force' must be keyword-only and have a default"),
    ],
)
def test_each_difference_is_named(function: Any, difference: str) -> None:
    with pytest.raises(SignatureMismatch) as raised:
        check(function)
    assert difference in str(raised.value)
    assert "sample.contract" in str(raised.value)
