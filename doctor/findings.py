"""What the doctor finds, and how it looks at all systems at once."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

from httpx import HTTPError
from sqlalchemy.exc import DBAPIError

from errors import SuiteError
from utils.redaction import redact_text

# Where the error messages of this suite, which say what is wrong and then what to do, begin to say the latter.
_REMEDY = re.compile(
    r"(?<=[.:]) (?=(?:Check|Correct|Set|Give|Grant|Install|Name|Run|Use|Leave|In the database|The server's certificate|"
    r"FreeTDS does not say) )"
)
CLOCK_TOLERANCE = 5.0


class Status(StrEnum):
    """How it is with one thing."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        system: The system.
        check: What was looked at.
        status: How it is.
        found: What was found, in words.
        remedy: What to do, if something is to be done.
    """

    system: str
    check: str
    status: Status
    found: str
    remedy: str = ""


# Looks at one system, and gives what it finds as it goes.
Examination = Callable[[], AsyncGenerator[Finding, None]]


async def examine(examinations: Mapping[str, Examination], limit: float) -> list[Finding]:
    """Look at all systems at once.

    Args:
        examinations: By system.
        limit: Seconds that each of them may take.

    Returns:
        All findings, system by system; no secret is in them.
    """
    found = await asyncio.gather(*(_examine_one(system, look, limit) for system, look in examinations.items()))
    return [finding for findings in found for finding in findings]


async def _examine_one(system: str, look: Examination, limit: float) -> list[Finding]:
    findings: list[Finding] = []
    try:
        async with asyncio.timeout(limit), aclosing(look()) as found:
            async for finding in found:
                findings.append(_redact(finding))
    except TimeoutError:
        after = f" after the check of {findings[-1].check}" if findings else ""
        findings.append(
            Finding(
                system,
                "answers in time",
                Status.FAILURE,
                f"no answer within {limit:g} s{after}",
                "Look at the server and the network, or give it longer with --timeout",
            )
        )
    except (SuiteError, DBAPIError, HTTPError) as error:
        findings.append(_redact(from_error(system, "reachable", error)))
    return findings


def from_error(system: str, check: str, error: Exception) -> Finding:
    """Make a failure of an error of this suite.

    Args:
        system: The system.
        check: What was looked at.
        error: The error; its message says what is wrong and what to do.
    """
    found, *remedy = _REMEDY.split(" ".join(str(error).split()), maxsplit=1)
    return Finding(system, check, Status.FAILURE, found, "".join(remedy))


def compare_clocks(system: str, difference: float, precision: float = 0.0) -> Finding:
    """Say how a server's clock differs from this machine's.

    Args:
        system: The system.
        difference: Seconds that the server is ahead.
        precision: Seconds by which `difference` may be wrong.
    """
    if abs(difference) <= max(CLOCK_TOLERANCE, precision):
        return Finding(system, "clock", Status.OK, f"{abs(difference):.1f} s from this machine's")
    told = f"{abs(difference):.1f} s {'ahead of' if difference > 0 else 'behind'} this machine's"
    return Finding(system, "clock", Status.WARNING, told, "Synchronize the clocks of both machines (NTP)")


def _redact(finding: Finding) -> Finding:
    return Finding(
        finding.system, finding.check, finding.status, redact_text(finding.found), redact_text(finding.remedy)
    )
