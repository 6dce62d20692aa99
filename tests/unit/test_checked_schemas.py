"""A server that checks each schema once still refuses what is none."""

from typing import Any

import pytest
from jsonschema import SchemaError  # type: ignore[import-untyped]
from prefect.utilities.schema_tools import is_valid_schema, validate, validation
from prefect.utilities.schema_tools.validation import ValidationError

from demo.checked_schemas import check_schemas_once, remember_valid


@pytest.fixture
def remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process check schemas once, as the server does, until the test ends."""
    monkeypatch.setattr(validation._VALIDATOR, "check_schema", validation._VALIDATOR.check_schema)
    check_schemas_once()


def test_equal_schemas_are_checked_once_and_others_again() -> None:
    checked: list[Any] = []
    check = remember_valid(checked.append)
    for schema in ({"type": "object"}, {"type": "object"}, {"type": "string"}, {"type": "object"}):
        check(schema)
    assert checked == [{"type": "object"}, {"type": "string"}]


@pytest.mark.usefixtures("remembers")
def test_what_is_no_schema_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="Invalid schema"):
            is_valid_schema({"type": "nonsense"})
        with pytest.raises(SchemaError):
            validation._VALIDATOR.check_schema({"type": "nonsense"})


@pytest.mark.usefixtures("remembers")
def test_values_are_validated_as_before() -> None:
    schema = {"type": "object", "properties": {"number": {"type": "integer"}}, "required": ["number"]}
    for _ in range(2):
        validate({"number": 1}, schema, raise_on_error=True)
        with pytest.raises(ValidationError):
            validate({"number": "one"}, schema, raise_on_error=True)
