"""A process that sends mails until it is killed; started by `test_sending` with the number of mails."""

import asyncio
import sys

from db.maria_database import DatabaseSessionLocal
from hr.mail.notices import notification
from hr.mail.sending import Sending
from settings import get_settings


async def main(number: int, recipient: str) -> None:
    notices = {f"call {place}": notification(place + 1, 1, recipient) for place in range(number)}
    await Sending(DatabaseSessionLocal, get_settings(), notices, lambda *_: None).run()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
