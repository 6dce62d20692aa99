"""Who a recipient is: the name by which the application knows the address, and the language of the mail."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from db.tables import employee, user
from setting_values import Locale
from settings import Settings

# What a statement takes at once.
ADDRESSES_AT_ONCE = 1_000


@dataclass(frozen=True)
class Recipient:
    """A recipient as a mail addresses them.

    Attributes:
        locale: Language of the mail.
        name: The name, None when the application does not know the address.
    """

    locale: Locale
    name: str | None


def choose_locale(settings: Settings, address: str) -> Locale:
    """Give the language of the mails to an address: the address's own, its domain's, or the default."""
    lowered = address.lower()
    domain = "@" + lowered.rpartition("@")[2]
    return settings.mail_locales.get(lowered) or settings.mail_locales.get(domain) or settings.mail_locale


async def find_recipients(session: AsyncSession, settings: Settings, addresses: Iterable[str]) -> dict[str, Recipient]:
    """Find out how to address recipients.

    Args:
        session: Of the application database.
        settings: The settings.
        addresses: Addresses.

    Returns:
        A recipient for every address.
    """
    wanted = sorted(set(addresses))
    names: dict[str, tuple[str | None, str | None]] = {}
    query = select(user.c.email, user.c.full_name, employee.c.name_en, employee.c.name_ar).outerjoin(
        employee, employee.c.id == user.c.employee_id
    )
    for start in range(0, len(wanted), ADDRESSES_AT_ONCE):
        page = wanted[start : start + ADDRESSES_AT_ONCE]
        for email, full_name, name_en, name_ar in await session.execute(query.where(user.c.email.in_(page))):
            names[email.lower()] = (name_en or full_name, name_ar or full_name)
    found = {}
    for address in wanted:
        locale = choose_locale(settings, address)
        english, arabic = names.get(address.lower(), (None, None))
        found[address] = Recipient(locale, arabic if locale == "ar" else english)
    return found
