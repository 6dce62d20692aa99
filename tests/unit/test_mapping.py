from pathlib import Path

import pytest

from errors import MappingError
from hr.mapping import load_mapping
from settings import REPOSITORY

DOCUMENTED = REPOSITORY / "hr" / "mappings" / "hris.toml"


def write(tmp_path: Path, *replacements: tuple[str, str]) -> Path:
    text = DOCUMENTED.read_text(encoding="utf-8")
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "ours.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_documented_hris_is_the_default_mapping() -> None:
    mapping = load_mapping(DOCUMENTED).mapping
    assert mapping.qualified_schema(mapping.employee) == "dbo"
    assert mapping.qualified_schema(mapping.account) == "Security"
    assert mapping.employee.name_ar == ("ArFName", "ArSName", "ArThName", "ArLName")


def test_a_database_name_with_a_hyphen_is_bracketed_before_the_schema(tmp_path: Path) -> None:
    mapping = load_mapping(write(tmp_path, ('schema = "dbo"', 'schema = "dbo"\ndatabase = "HMIS-AMH"'))).mapping
    assert mapping.qualified_schema(mapping.employee) == "[HMIS-AMH].dbo"


def test_the_place_of_a_key_is_its_line_in_the_file() -> None:
    lines = DOCUMENTED.read_text(encoding="utf-8").splitlines()
    place = load_mapping(DOCUMENTED).place("employee", "name_ar")
    assert place.startswith("hris.toml, line ")
    assert lines[int(place.split()[2]) - 1].startswith("name_ar = [")


@pytest.mark.parametrize(
    ("replacement", "told"),
    [
        (('code = "Code"', ""), "[employee.code] Field required"),
        (('code = "Code"', 'code = "Code"\ncolour = "Red"'), "[employee.colour] Extra inputs are not permitted"),
        (('code = "Code"', "code = 7"), "[employee.code] Input should be a valid string"),
        (('position_id = "PositionID"', 'title = "Title"'), "position_id and the section [position] belong together"),
        (('position_id = "PositionID"', 'position_id = "P"\ntitle = "T"'), "a title comes from one of them"),
        (("[position]", "[place]"), "[place] Extra inputs are not permitted"),
        (('system = "HRIS"', "system = "), "is not TOML"),
    ],
)
def test_a_mapping_that_cannot_be_used_is_refused_with_its_key(
    tmp_path: Path, replacement: tuple[str, str], told: str
) -> None:
    with pytest.raises(MappingError, match=r"ours\.toml") as refused:
        load_mapping(write(tmp_path, replacement))
    assert told in str(refused.value)


def test_a_mapping_file_that_is_not_there_is_told_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(MappingError, match=r"No such file.*HRIS_MAPPING"):
        load_mapping(tmp_path / "none.toml")
