"""The doctor, on real servers: what is well, what is not, and that it says what to do and no secret."""

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from prefect.settings import PREFECT_API_URL, temporary_settings

from db.__main__ import main
from doctor import SYSTEMS
from doctor.application import find_lacking_rights
from doctor.command import diagnose, find
from doctor.findings import Finding, Status, compare_clocks
from settings import REPOSITORY
from tests import servers
from tests.integration.attendance.world import HRIS_TABLES, write_biostar
from tests.integration.replication.test_replication import small_hris
from tests.integration.replication.world import write_source
from tests.servers.tds import TdsServer
from tests.servers.tds.drivers import DRIVERS, driver_name

Configure = Callable[..., None]
HRIS, BIOSTAR = "HMIS-DOC", "BioStar2_doc"
LIMIT = 10.0


@pytest.fixture(scope="module")
def sources(sql_server: TdsServer, tmp_path_factory: pytest.TempPathFactory) -> TdsServer:
    """The endpoint with an HRIS and a BioStar."""
    folder = tmp_path_factory.mktemp("sources")
    write_source(folder / "hris.sqlite3", small_hris(*range(1, 4)))
    with closing(sqlite3.connect(folder / "hris.sqlite3")) as connection:
        for name, columns in HRIS_TABLES.items():
            connection.execute(f"CREATE TABLE {name} ({columns})")
    write_biostar(folder / "biostar.sqlite3", {f"{datetime.now(UTC):%Y%m}": []})
    sql_server.serve_file(HRIS, folder / "hris.sqlite3", schemas={"User": "Security"})
    sql_server.serve_file(BIOSTAR, folder / "biostar.sqlite3")
    return sql_server


@pytest.fixture
def configured(
    sources: TdsServer,
    migrated_mariadb_url: str,
    redis_server: servers.RedisServer,
    smtp: servers.SmtpServer,
    settings_environment: Configure,
) -> Iterator[Configure]:
    """All systems are configured and well; gives a function that changes settings."""
    settings_environment(
        MARIA_DATABASE_URL=migrated_mariadb_url,
        CELERY_BROKER_URL=redis_server.url(),
        CELERY_RESULT_BACKEND=redis_server.url(),
    )
    address = f"{sources.user}:{quote(sources.password, safe='')}@localhost:{sources.port}"
    settings_environment(
        HRIS_DATABASE_URL=f"mssql://{address}/{HRIS}",
        BIOSTAR_DATABASE_URL=f"mssql://{address}/{BIOSTAR}",
        HRIS_CA_FILE=sources.authority,
        BIOSTAR_CA_FILE=sources.authority,
        SQL_SERVER_DRIVER=driver_name("freetds"),
        MAIL_URL=smtp.url,
    )
    yield settings_environment
    sources.behave()


@pytest.fixture(scope="module")
def smtp() -> Iterator[servers.SmtpServer]:
    with servers.smtp_server() as server:
        yield server


def look(*systems: str, limit: float = LIMIT) -> dict[tuple[str, str], Finding]:
    """Have the doctor look; gives what it found by system, as the command line calls it, and check."""
    keys = {name: key for key, name in SYSTEMS.items()}
    findings = asyncio.run(find(systems, limit))
    assert all("\n" not in finding.found + finding.remedy for finding in findings)
    return {(keys.get(finding.system, finding.system), finding.check): finding for finding in findings}


def test_all_is_well_on_real_servers(
    configured: Configure, sources: TdsServer, capsys: pytest.CaptureFixture[str]
) -> None:
    systems = ("application", "hris", "biostar", "redis", "mail")
    found = look(*systems)
    assert {finding.status for finding in found.values()} == {Status.OK}
    assert {system for system, check in found if check == "reachable"} == set(systems)
    assert {system for system, check in found if check == "clock"} == {"application", "hris", "biostar", "redis"}
    assert "MariaDB" in found["application", "reachable"].found
    assert f"SQL Server 16.0.1000.6 at localhost:{sources.port}/{HRIS}, " in found["hris", "reachable"].found
    assert found["hris", "driver"].found == "FreeTDS (FreeTDS), encryption verified"
    assert found["hris", "encryption"].found == "on, says the server"
    assert "8 tables of hris.toml" in found["hris", "mapping"].found

    assert asyncio.run(diagnose(systems, LIMIT, as_json=False))
    shown = capsys.readouterr().out
    assert f"{len(found)} ok, 0 warnings, 0 failures" in shown


def test_the_command_tells_what_fails_and_its_exit_status_says_so(
    configured: Configure, sources: TdsServer, smtp: servers.SmtpServer
) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "db", "doctor", "--json", "--timeout", "20", "hris", "mail"]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["status"] == "ok"

    environment["HRIS_DATABASE_URL"] = f"mssql://{sources.user}:wr0ng-s3cret@localhost:{sources.port}/{HRIS}"
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    told = json.loads(done.stdout)
    assert (done.returncode, told["status"]) == (1, "failure")
    failed = [finding for finding in told["findings"] if finding["status"] == "failure"]
    assert [(finding["system"], finding["check"]) for finding in failed] == [("HRIS", "reachable")]
    assert "Login failed for user 'hr_reader'" in failed[0]["found"]
    assert failed[0]["remedy"].startswith("Check the user and the password in HRIS_DATABASE_URL")
    assert "wr0ng" not in done.stdout + done.stderr


@pytest.mark.parametrize("fault", [{"on": "login"}, {"on": "statement", "matching": "HR_EmployeePosition"}])
def test_a_system_that_does_not_answer_does_not_hold_up_the_others(
    configured: Configure, sources: TdsServer, fault: dict[str, Any]
) -> None:
    sources.misbehave(action="stall", seconds=60, times=9, **fault)
    started = time.monotonic()
    found = look("hris", "redis", limit=2.0)
    assert time.monotonic() - started < 20
    assert found["redis", "reachable"].status is Status.OK
    failures = [finding for finding in found.values() if finding.status is Status.FAILURE]
    assert {finding.system for finding in failures} == {"HRIS"}
    assert all(finding.remedy for finding in failures)


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_sources_faults_are_named_with_what_to_do(
    configured: Configure, sources: TdsServer, tmp_path: Path, driver: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(sources.authority))
    mapping = tmp_path / "ours.toml"
    documented = (REPOSITORY / "hr" / "mappings" / "hris.toml").read_text()
    mapping.write_text(documented.replace("EnName", "EnglishName", 1).replace('TMS_Attendance"', 'TMS_Signs"'))
    address = f"{sources.user}:{quote(sources.password, safe='')}@localhost:{sources.port}"
    configured(
        SQL_SERVER_DRIVER=driver_name(driver),
        HRIS_MAPPING=mapping,
        HRIS_CA_FILE="",
        BIOSTAR_CA_FILE="",
        HRIS_ENCRYPTION="unverified",
        BIOSTAR_DATABASE_URL=f"mssql://{address}/master?encryption=off",
    )
    findings = asyncio.run(find(["hris", "biostar"], LIMIT))
    by_check = {(finding.system, finding.check): finding for finding in findings}
    assert by_check["HRIS", "driver"].status is Status.WARNING
    assert by_check["HRIS", "driver"].remedy.startswith("Set HRIS_ENCRYPTION=verified")
    assert "encryption off" in by_check["BioStar", "driver"].found
    assert by_check["HRIS", "encryption"].status is Status.OK
    assert by_check["BioStar", "encryption"].found == "off, says the server"
    assert by_check["BioStar", "events"].status is Status.WARNING
    problems = [finding for finding in findings if finding.check == "mapping"]
    assert [finding.status for finding in problems] == [Status.FAILURE, Status.FAILURE]
    assert "no column 'EnglishName' in dbo.HR_OrganizationUnit" in problems[0].found
    assert "no table dbo.TMS_Signs" in problems[1].found
    assert {finding.remedy for finding in problems} == {"Correct the mapping or grant the account SELECT"}


def test_whether_the_database_allows_snapshots_is_asked_where_they_are_wanted(configured: Configure) -> None:
    assert ("hris", "isolation") not in look("hris")
    configured(SQL_SERVER_ISOLATION="SNAPSHOT")
    assert look("hris")["hris", "isolation"].found == "the database allows SNAPSHOT"


def test_the_application_databases_faults_are_named_with_what_to_do(
    configured: Configure, mariadb_server: servers.MariaDBServer, migrated_mariadb_url: str
) -> None:
    name = migrated_mariadb_url.partition("?")[0].rpartition("/")[2]
    mariadb_server.execute(f"ALTER TABLE `{name}`.`employee` DROP COLUMN title")
    mariadb_server.execute("CREATE OR REPLACE USER 'reads'@'127.0.0.1' IDENTIFIED BY 'r3ads'")
    mariadb_server.execute(f"GRANT SELECT, INSERT ON `{name}`.* TO 'reads'@'127.0.0.1'")
    configured(MARIA_DATABASE_URL=f"mysql://reads:r3ads@127.0.0.1:{mariadb_server.port}/{name}")
    found = look("application")
    assert found["application", "schema"].found == "column 'title' of table 'employee' is missing"
    assert found["application", "schema"].remedy.startswith("add it as VARCHAR(128)")
    rights = found["application", "rights"]
    assert rights.status is Status.FAILURE
    assert rights.found == "the account lacks UPDATE, DELETE, CREATE, ALTER, DROP, INDEX, REFERENCES"

    empty = mariadb_server.create_database()
    configured(MARIA_DATABASE_URL=mariadb_server.url(empty))
    schema = look("application")["application", "schema"]
    assert (schema.status, schema.remedy) == (Status.FAILURE, "Run `python -m db migrate`")
    mariadb_server.drop_database(empty)

    configured(MARIA_DATABASE_URL=f"mysql://reads:wr0ng@127.0.0.1:{mariadb_server.port}/{name}")
    refused = look("application")["application", "reachable"]
    assert refused.status is Status.FAILURE
    assert "wr0ng" not in refused.found + refused.remedy


def test_redis_that_evicts_refuses_or_is_gone_is_told(
    configured: Configure, redis_server: servers.RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis(port=redis_server.port) as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        evicting = look("redis")["redis", "memory"]
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "0")
    assert (evicting.status, evicting.remedy) == (Status.WARNING, "Set maxmemory-policy noeviction")

    port = servers.free_port()
    for address in (f"redis://:s3cret@127.0.0.1:{port}/0", f"redis://u:s3cret@127.0.0.1:{redis_server.port}/0"):
        monkeypatch.setenv("CELERY_BROKER_URL", address)
        monkeypatch.setenv("CELERY_RESULT_BACKEND", address)
        gone = look("redis")["redis", "reachable"]
        assert gone.status is Status.FAILURE
        assert "CELERY_BROKER_URL" in gone.remedy
        assert "s3cret" not in gone.found


def test_a_mail_server_that_is_gone_is_told(configured: Configure) -> None:
    port = servers.free_port()
    configured(MAIL_URL=f"smtp://127.0.0.1:{port}")
    gone = look("mail")["mail", "reachable"]
    assert gone.status is Status.FAILURE
    assert f"127.0.0.1:{port}" in gone.found
    assert gone.remedy.startswith("Check MAIL_URL")


def test_prefects_server_deployments_and_workers_are_looked_at(configured: Configure, prefect_api: str) -> None:
    found = look("prefect", limit=60)
    assert found["prefect", "reachable"].status is Status.OK
    assert prefect_api in found["prefect", "reachable"].found
    assert found["prefect", "clock"].status is Status.OK
    assert {"workers", "deployments"} <= {check for _, check in found}
    lacking = found["prefect", "workers"]
    assert lacking.remedy.startswith("Run ") or lacking.status is Status.OK


def test_a_prefect_server_that_is_gone_is_told(configured: Configure) -> None:
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{servers.free_port()}/api"}):
        gone = look("prefect")["prefect", "reachable"]
    assert gone.status is Status.FAILURE
    assert "(PREFECT_API_URL) cannot be reached" in gone.found
    assert gone.remedy.startswith("Check that it runs")


def test_settings_that_cannot_be_read_are_the_finding(configured: Configure) -> None:
    configured(SITE_TIMEZONE="Mars", HRIS_DATABASE_URL="mssql://u:s3c@ret@host/db")
    findings = asyncio.run(find((), LIMIT))
    assert [finding.system for finding in findings] == ["settings", "settings"]
    assert {finding.status for finding in findings} == {Status.FAILURE}
    assert "s3c" not in "".join(finding.found for finding in findings)


def test_nothing_configured_is_warned_about_and_nothing_is_made(
    settings_environment: Configure, tmp_path: Path
) -> None:
    settings_environment(DATA_DIR=tmp_path / "data")
    found = look("application", "hris", "biostar", "mail")
    assert {finding.check for finding in found.values()} == {"configured"}
    assert Status.FAILURE not in {finding.status for finding in found.values()}
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("words", "told"), [(["hrms"], "'hrms' is none of"), (["--timeout", "0"], "from 1 to 600")])
def test_wrong_usage_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor", *words])
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_grants_are_read_with_their_wildcards() -> None:
    everything = ["GRANT ALL PRIVILEGES ON *.* TO `hr`@`%` IDENTIFIED BY PASSWORD '*ABC' WITH GRANT OPTION"]
    assert find_lacking_rights(everything, "hr") == []
    some = [
        "GRANT USAGE ON *.* TO `hr`@`%`",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON `hr\\_%`.* TO `hr`@`%`",
        "GRANT CREATE, DROP, REFERENCES, INDEX, ALTER ON `hr_data`.* TO `hr`@`%`",
    ]
    assert find_lacking_rights(some, "hr_data") == []
    assert find_lacking_rights(some, "hr_other") == ["CREATE", "ALTER", "DROP", "INDEX", "REFERENCES"]
    assert "SELECT" in find_lacking_rights(some, "hrXdata")


def test_clocks_that_differ_are_warned_about() -> None:
    assert compare_clocks("HRIS", 0.3).status is Status.OK
    ahead, behind = compare_clocks("HRIS", 61.25), compare_clocks("HRIS", -7.0)
    assert (ahead.status, ahead.found) == (Status.WARNING, "61.2 s ahead of this machine's")
    assert (behind.status, behind.found) == (Status.WARNING, "7.0 s behind this machine's")
