"""What a mail says, in both languages, and that values are shown as text."""

from email import policy
from email.message import EmailMessage
from email.parser import BytesParser

import pytest

from hr.mail.notices import Notice, notification, status_update
from hr.mail.recipients import Recipient, choose_locale
from hr.mail.rendering import TEMPLATES, render
from setting_values import Locale
from settings import Settings


def read(notice: Notice, locale: Locale = "en", name: str | None = None) -> EmailMessage:
    mail = render(notice, Recipient(locale, name), sender="Meals <meals@example.org>", message_id="<1@example.org>")
    assert b"\n" not in mail.content.replace(b"\r\n", b"")
    return BytesParser(policy=policy.default).parsebytes(mail.content)


def part(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_a_mail_has_its_headers_and_both_bodies() -> None:
    message = read(notification(7, 3, "sara@example.org", ["omar@example.org"]), name="Sara")
    assert message["From"] == "Meals <meals@example.org>"
    assert (message["To"], message["Cc"]) == ("sara@example.org", "omar@example.org")
    assert message["Subject"] == "Meal request 7 waits for you"
    assert (message["Message-ID"], message["Auto-Submitted"]) == ("<1@example.org>", "auto-generated")
    assert message["Date"].datetime.tzinfo is not None
    assert "Hello Sara," in part(message, "plain")
    assert "Number of people: 3" in part(message, "plain")
    assert '<html lang="en" dir="ltr">' in part(message, "html")


def test_an_arabic_mail_reads_from_right_to_left() -> None:
    message = read(notification(7, 3, "sara@example.org"), "ar", "سارة")
    assert message["Subject"] == "طلب الوجبات رقم 7 بانتظارك"
    assert message["Content-Language"] == "ar"
    assert '<html lang="ar" dir="rtl">' in part(message, "html")
    assert "سارة" in part(message, "html")
    assert "عدد الأشخاص: 3" in part(message, "plain")


@pytest.mark.parametrize(
    ("status", "locale", "shown"),
    [("approved", "en", "approved"), ("Approved", "ar", "تمت الموافقة"), ("half done", "ar", "half done")],
)
def test_a_known_status_is_translated_and_another_one_shown_as_it_is(status: str, locale: Locale, shown: str) -> None:
    message = read(status_update(7, status, "sara@example.org"), locale)
    assert message["Subject"].endswith(f": {shown}")
    assert shown in part(message, "plain")
    assert shown in part(message, "html")


def test_values_are_shown_as_text_and_never_run() -> None:
    message = read(status_update(7, "<script>{{ 7 * 7 }}</script>", "sara@example.org"), name="<b>Sara</b>")
    assert "&lt;script&gt;{{ 7 * 7 }}&lt;/script&gt;" in part(message, "html")
    assert "&lt;b&gt;Sara&lt;/b&gt;" in part(message, "html")
    assert "<script>{{ 7 * 7 }}</script>" in part(message, "plain")


def test_every_language_has_every_template() -> None:
    names = {locale: {path.name for path in (TEMPLATES / locale).iterdir()} for locale in ("en", "ar")}
    assert names["en"] == names["ar"]


def test_the_language_is_the_addresss_own_then_its_domains_then_the_default() -> None:
    locales = {"@ar.example.org": "ar", "sara@ar.example.org": "en"}
    settings = Settings(mail_locales=locales, _env_file=None)
    assert choose_locale(settings, "SARA@ar.example.org") == "en"
    assert choose_locale(settings, "omar@AR.example.org") == "ar"
    assert choose_locale(settings, "omar@example.org") == "en"
    assert choose_locale(Settings(mail_locale="ar", _env_file=None), "omar@example.org") == "ar"
