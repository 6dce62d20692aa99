"""Calls of the server's own procedures, by which drivers send statements with parameters."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.servers.tds.parameters import Parameter, read_parameter
from tests.servers.tds.reading import Reader
from tests.servers.tds.tokens import SqlError

BY_NUMBER = 0xFFFF
NUMBERS = {10: "sp_executesql", 11: "sp_prepare", 12: "sp_execute", 13: "sp_prepexec", 15: "sp_unprepare"}
# From here on a byte separates two calls instead of beginning a parameter.
SEPARATOR = 0x80
MOST_PARAMETERS, TOO_MANY_PARAMETERS = 2100, 8003
_NAME = re.compile(r"@(\w+)")


@dataclass
class Call:
    """A call.

    Attributes:
        name: The procedure.
        text: The statement that it means, if it says so itself.
        names: The statement's parameters.
        values: Their values.
        handle: The prepared statement that it means.
        size: Parameters that it was sent with, the procedure's own included.
        is_last: Whether no call follows in the same message.
    """

    name: str
    text: str = ""
    names: list[str] = field(default_factory=list)
    values: list[Parameter] = field(default_factory=list)
    handle: int = 0
    size: int = 0
    is_last: bool = True

    @property
    def prepares(self) -> bool:
        """Whether the statement gets a handle."""
        return self.name in ("sp_prepare", "sp_prepexec")

    @property
    def executes(self) -> bool:
        """Whether the statement is carried out."""
        return self.name in ("sp_executesql", "sp_execute", "sp_prepexec")

    @property
    def forgets(self) -> bool:
        """Whether the handle is given up."""
        return self.name == "sp_unprepare"


def read_calls(reader: Reader) -> Iterator[Call]:
    """Read the calls of a message."""
    while not reader.is_at_end:
        length = reader.u16()
        name = NUMBERS.get(number := reader.u16(), f"number {number}") if length == BY_NUMBER else reader.text(length)
        reader.u16()
        parameters = []
        while not reader.is_at_end and reader.peek() < SEPARATOR:
            parameters.append(read_parameter(reader))
        if not reader.is_at_end:
            reader.u8()
        call = _understand(name.rpartition(".")[2].lower(), parameters)
        call.size = len(parameters)
        call.is_last = reader.is_at_end
        yield call


def check_size(call: Call) -> None:
    """Refuse a call with more parameters than SQL Server takes.

    Raises:
        SqlError: It has more.
    """
    if call.size > MOST_PARAMETERS:
        raise SqlError(
            TOO_MANY_PARAMETERS,
            f"The incoming request has too many parameters. The server supports a maximum of {MOST_PARAMETERS} "
            "parameters. Reduce the number of parameters and resend the request.",
        )


def _understand(name: str, parameters: list[Parameter]) -> Call:
    values: list[Any] = [parameter.value for parameter in parameters]
    if name == "sp_executesql":
        return Call(name, values[0], _names(values[1] if len(values) > 1 else ""), parameters[2:])
    if name in ("sp_prepare", "sp_prepexec"):
        return Call(name, values[2], _names(values[1]), parameters[3:] if name == "sp_prepexec" else [])
    if name in ("sp_execute", "sp_unprepare"):
        return Call(name, values=parameters[1:], handle=values[0])
    if name.startswith("sp_datatype_info"):
        return Call("sp_executesql", f"{name} {values[0]}")
    return Call(name)


def _names(declared: str | None) -> list[str]:
    return _NAME.findall(declared or "")
