"""What `python -m db doctor` does."""

import logging
import sys
from collections.abc import Collection
from functools import partial

from rich.console import Console

from doctor import APPLICATION, BIOSTAR, HRIS, MAIL, PREFECT, REDIS, SYSTEMS
from doctor.application import examine_application
from doctor.findings import Examination, Finding, Status, examine, from_error
from doctor.report import print_findings, to_json, worst
from doctor.services import examine_mail, examine_prefect, examine_redis
from doctor.sources import examine_biostar, examine_hris
from errors import SettingsError
from settings import Settings, get_settings
from shim.errors import ShimError
from shim.settings import ShimSettings, read_settings


async def diagnose(systems: Collection[str], limit: float, *, as_json: bool) -> bool:
    """Look at the systems and print what is found.

    Args:
        systems: Keys of `doctor.SYSTEMS`; all of them if it is empty.
        limit: Seconds that each system may take.
        as_json: Print JSON in place of a table.

    Returns:
        Whether nothing failed.
    """
    # What is warned of is a finding here.
    logging.getLogger("db.sql_server").setLevel(logging.ERROR)
    findings = await find(systems, limit)
    if as_json:
        sys.stdout.write(f"{to_json(findings)}\n")
    else:
        print_findings(Console(), findings)
    return worst(findings) is not Status.FAILURE


async def find(systems: Collection[str], limit: float) -> list[Finding]:
    """Look at the systems that the settings name.

    Args:
        systems: Keys of `doctor.SYSTEMS`; all of them if it is empty.
        limit: Seconds that each system may take.

    Returns:
        What is found; settings that cannot be read are the only finding.
    """
    try:
        settings, shim = get_settings(), read_settings()
    except (SettingsError, ShimError) as error:
        return [from_error("settings", "readable", SettingsError(line)) for line in str(error).splitlines()]
    all_examinations = _list_examinations(_hurry(settings, limit), shim, limit)
    wanted = [name for key, name in SYSTEMS.items() if not systems or key in systems]
    return await examine({name: all_examinations[name] for name in wanted}, limit)


def _hurry(settings: Settings, limit: float) -> Settings:
    """Have servers give up within the limit: a thread of a driver cannot be stopped from outside."""
    seconds = max(1, int(limit))
    return settings.model_copy(
        update={
            "sql_server_login_timeout": min(settings.sql_server_login_timeout, seconds),
            "sql_server_statement_timeout": min(settings.sql_server_statement_timeout, seconds),
            "mail_timeout": min(settings.mail_timeout, limit),
        }
    )


def _list_examinations(settings: Settings, shim: ShimSettings, limit: float) -> dict[str, Examination]:
    return {
        APPLICATION: partial(examine_application, settings),
        HRIS: partial(examine_hris, settings),
        BIOSTAR: partial(examine_biostar, settings),
        REDIS: partial(examine_redis, shim, limit),
        PREFECT: examine_prefect,
        MAIL: partial(examine_mail, settings),
    }
