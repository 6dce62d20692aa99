"""What a mail may tell whom: nothing that breaks a header, hides a recipient or names a template gets through."""

import pytest

from errors import InvalidArgument
from hr.mail.notices import Notice, notification, status_update

BAD_ADDRESSES = [
    "sara@example.org\nBcc: everyone@example.org",
    "sara@example.org\r\n",
    "sara@example.org\x00",
    "sara",
    "sara@",
    "@example.org",
    "sara@exa mple.org",
    "sara@example..org",
    "sara@example.org,omar@example.org",
    "sara@example.org;omar@example.org",
    "Sara <sara@example.org>",
    "<sara@example.org>",
    "sara @example.org",
    "sara\u202e@example.org",
    "سارة@example.org",
    "a" * 65 + "@example.org",
    "sara@" + "a" * 64 + ".org",
    "",
    " ",
]


@pytest.mark.parametrize("address", BAD_ADDRESSES)
def test_what_is_no_address_is_refused_by_the_arguments_name(address: str) -> None:
    with pytest.raises(InvalidArgument, match="argument 'to_recipient'"):
        notification(1, 1, address)
    with pytest.raises(InvalidArgument, match="argument 'cc_recipients'"):
        status_update(1, "approved", "sara@example.org", ["omar@example.org", address])


@pytest.mark.parametrize("address", [None, 5, b"sara@example.org", ["sara@example.org"]])
def test_what_is_no_text_is_refused_by_the_arguments_name(address: object) -> None:
    with pytest.raises(InvalidArgument, match="argument 'to_recipient' must be an address"):
        notification(1, 1, address)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("address", "taken"),
    [
        ("sara@example.org", "sara@example.org"),
        ("Sara.Adel+meals@Example.ORG", "Sara.Adel+meals@example.org"),
        ("sara@intranet.local", "sara@intranet.local"),
        ("sara@mailhost", "sara@mailhost"),
        ("sara@مثال.example", "sara@xn--mgbh0fb.example"),
    ],
)
def test_addresses_are_taken_as_mail_servers_take_them(address: str, taken: str) -> None:
    assert notification(1, 1, address).recipient == taken


@pytest.mark.parametrize("status", ["", "  ", "a\nSubject: b", "x" * 65, "a\x07", None, 5])
def test_a_status_is_one_short_line(status: object) -> None:
    with pytest.raises(InvalidArgument, match="argument 'status'"):
        status_update(1, status, "sara@example.org")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "values"), [("request_id", (0, 1)), ("request_id", (True, 1)), ("request_lines", (1, -1))]
)
def test_numbers_have_bounds(argument: str, values: tuple[int, int]) -> None:
    with pytest.raises(InvalidArgument, match=f"argument '{argument}'"):
        notification(*values, "sara@example.org")


def test_copies_are_a_list_of_at_most_fifty() -> None:
    with pytest.raises(InvalidArgument, match="argument 'cc_recipients' must be a list"):
        notification(1, 1, "sara@example.org", "omar@example.org")
    with pytest.raises(InvalidArgument, match="51 addresses, at most 50"):
        notification(1, 1, "sara@example.org", ["omar@example.org"] * 51)


def test_a_recipient_who_also_gets_a_copy_gets_one_mail() -> None:
    notice = notification(1, 1, "sara@example.org", ["sara@example.org", "omar@example.org"])
    assert notice.recipients == ["sara@example.org", "omar@example.org"]


def test_a_notice_survives_its_way_through_the_table() -> None:
    notice = status_update(7, "تمت الموافقة", "sara@example.org", ["omar@example.org"])
    assert Notice.from_json(notice.to_json()) == notice
