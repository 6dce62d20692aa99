"""A SQLAlchemy URL, an ODBC connection string: one URL is made of either, and nothing of a wrong one is repeated."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from database_urls import ENCRYPTIONS, parse_database_url

DRIVER = "ODBC Driver 18 for SQL Server"


@pytest.mark.parametrize(
    ("text", "address", "options"),
    [
        ("mssql://u:p%40w@host/HMIS-AMH", ("u", "p@w", "host", None, "HMIS-AMH"), {}),
        ("mssql+pyodbc://u:p@host:1444/db?driver=FreeTDS", ("u", "p", "host", 1444, "db"), {"driver": "FreeTDS"}),
        ("mssql://u:p@server\\INST/db", ("u", "p", "server\\INST", None, "db"), {}),
        ("mssql+pyodbc://u:p@source", ("u", "p", None, None, None), {"dsn": "source"}),
        (
            "mssql+pyodbc:///?odbc_connect=Driver%3D%7BFreeTDS%7D%3BServer%3Dhost%3BDatabase%3Ddb%3BUID%3Du%3BPWD%3Dp",
            ("u", "p", "host", None, "db"),
            {"driver": "FreeTDS"},
        ),
        (
            f"DRIVER={{{DRIVER}}};Server=tcp:host,1444;Database={{HMIS-AMH}};Uid=u;Pwd={{a;}}}}=b}};Encrypt=yes;",
            ("u", "a;}=b", "host", 1444, "HMIS-AMH"),
            {"driver": DRIVER, "encryption": "verified"},
        ),
        (
            " server = host\\INST ; DATABASE=db;user id=u;PASSWORD= p ;TrustServerCertificate=Yes",
            ("u", "p", "host\\INST", None, "db"),
            {"encryption": "unverified"},
        ),
        ("Server=h;Database=d;Trusted_Connection=yes", (None, None, "h", None, "d"), {"Trusted_Connection": "yes"}),
        ("DSN=source;UID=u;PWD=p", ("u", "p", None, None, None), {"dsn": "source"}),
    ],
)
def test_every_way_to_write_an_address_gives_the_same_kind_of_url(
    text: str, address: tuple[object, ...], options: dict[str, str]
) -> None:
    url = parse_database_url(text)
    assert url.drivername == "mssql+aioodbc"
    assert (url.username, url.password, url.host, url.port, url.database) == address
    assert url.query == options


@pytest.mark.parametrize(
    ("written", "encryption"),
    [
        ("Encrypt=yes", "verified"),
        ("Encrypt=Mandatory;TrustServerCertificate=no", "verified"),
        ("Encrypt=strict", "strict"),
        ("Encrypt=yes;TrustServerCertificate=yes", "unverified"),
        ("Encrypt=no;TrustServerCertificate=yes", "off"),
        ("Encrypt=optional", "off"),
        ("Encryption=require", "verified"),
        ("Encryption=off", "off"),
    ],
)
def test_both_drivers_words_for_encryption_are_understood(written: str, encryption: str) -> None:
    assert parse_database_url(f"Server=h;Database=d;{written}").query == {"encryption": encryption}
    options = written.replace(";", "&")
    assert parse_database_url(f"mssql://h/d?{options}").query == {"encryption": encryption}
    assert encryption in ENCRYPTIONS


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Server=h;Database=d;PWD=s3c;ret", "a keyword has no value"),
        ("Server=h;Database=d;PWD=s3c;ret=1", "not supported"),
        ("Server=h;Database=d;PWD=s3c;Server=ret", "keyword twice"),
        ("Server=h;Database=d;PWD={s3cret", "brace is not closed"),
        ("Server=h;Database=d;PWD={s3c}ret}", "brace is not closed"),
        ("Server=h,s3cret;Database=d", "port that is not a number"),
        ("Server=h,70000;Database=d", "port that is not a number"),
        ("Server=np:h;Database=d", "only tcp: is"),
        ("Database=d;PWD=s3cret", "no server or no database"),
        ("Server=h;Database=d;Encrypt=s3cret", "encryption is one of"),
        ("Server=h;Database=d;Encryption=request", "encryption is one of"),
        ("Server=h;Database=d;TrustServerCertificate=s3cret", "neither yes nor no"),
        ("Server=h;Database=d;Encrypt=strict;TrustServerCertificate=yes", "choose one"),
        ("Server=h;DSN=s;PWD=s3cret", "both a server and a data source"),
        ("Server=h;Database=d;PWD=s3c\nret", "control character"),
        ("mssql://u:s3c@ret@host/db", "more than one @"),
        ("mssql://u:s3cret@host/db?fast_executemany=true", "not supported"),
        ("mssql://u:s3cret@host/db?Encrypt=yes&encrypt=no", "option twice"),
        ("mssql://u:s3cret@host/db?odbc_connect=Server%3Dh", "odbc_connect and something else"),
        ("mssql://u:s3cret@host:ret/db", "is not a database URL"),
        ("s3cret", "is not a database URL"),
    ],
)
def test_a_wrong_text_is_refused_without_repeating_it(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refusal:
        parse_database_url(text)
    message = str(refusal.value)
    assert "s3c" not in message
    assert "ret " not in message
    assert "\n" not in message


printable = st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=40).filter(
    str.isprintable
)


@given(password=printable)
@example("};{")
@example("=;")
def test_a_braced_password_arrives_as_it_is(password: str) -> None:
    braced = password.replace("}", "}}")
    url = parse_database_url(f"Server=h;PWD={{{braced}}};Database=d;UID=u")
    assert (url.host, url.password, url.database, url.username) == ("h", password, "d", "u")


# Letters that no message and no supported keyword is made of.
secrets = st.text("ĦŁŒØÞ", min_size=4, max_size=8)
noise = st.text("@;={}/\\:?&%#'\" \n[]Aa1", max_size=6)


@given(
    pieces=st.lists(st.tuples(noise, secrets), min_size=1, max_size=3),
    place=st.sampled_from(
        [
            "Server=h;Database=d;UID=u;PWD={}",
            "PWD={};Server=h;Database=d",
            "Server=h;Database=d;PWD={{{}}};X=y",
            "mssql://u:{}@host/db",
            "mssql://u:{}@host:port/db?x=y",
            "mssql+pyodbc:///?odbc_connect=Server%3Dh%3BPWD%3D{}",
            "{}",
        ]
    ),
)
def test_nothing_of_a_password_gets_into_a_message_or_beside_the_password(
    pieces: list[tuple[str, str]], place: str
) -> None:
    password = "".join(noise + secret for noise, secret in pieces)
    try:
        url = parse_database_url(place.format(password))
    except ValueError as refusal:
        shown = f"{refusal} {refusal!r}"
    else:
        shown = f"{url} {url!r} {url.render_as_string(hide_password=True)}"
    assert not set("ĦŁŒØÞ") & set(shown)
