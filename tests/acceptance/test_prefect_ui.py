"""A person starts a job in Prefect's UI, in a real browser: form, run, artifact, log. Its pictures are the docs'."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from db import migrate
from db.maria_database import database
from deployments.deploy import WORK_POOL, deploy_all
from tests import servers
from tests.servers import PrefectServer
from tests.servers.prefect_worker import prefect_worker
from tests.servers.process import find_program

# Set it to docs/images to renew the pictures of the documentation.
PICTURES = "UI_PICTURES"
RUN_LINK = "//a[contains(@href, '/runs/flow-run/')]"
BROWSER_OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--window-size=1400,1000",
)


class Page:
    """What a person sees in the browser.

    Args:
        browser: The browser.
        pictures: Folder for pictures of it.
    """

    def __init__(self, browser: webdriver.Chrome, pictures: Path) -> None:
        self.browser = browser
        self.pictures = pictures

    def find(self, path: str, limit: float = 60) -> WebElement:
        """Give the first visible element of an XPath, as soon as there is one."""
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            with contextlib.suppress(StaleElementReferenceException):
                for element in self.browser.find_elements(By.XPATH, path):
                    if element.is_displayed():
                        return element
            time.sleep(0.2)
        self.picture("failed")
        raise AssertionError(f"{path} did not appear within {limit} s; the page says:\n{self.text()}")

    def find_after_reloading(self, path: str, opened_by: str, limit: float = 120) -> WebElement:
        """Give the first visible element of an XPath in a tab, loading the page again until there is one.

        Args:
            path: The XPath.
            opened_by: The XPath of the tab.
            limit: Seconds.
        """
        deadline = time.monotonic() + limit
        while True:
            try:
                return self.find(path, limit=5)
            except AssertionError:
                if time.monotonic() > deadline:
                    raise
            self.browser.refresh()
            self.click(opened_by)

    def click(self, path: str) -> None:
        """Click an element; again if the page was drawn anew meanwhile."""
        for _ in range(5):
            with contextlib.suppress(StaleElementReferenceException):
                self.find(path).click()
                return
        raise AssertionError(f"{path} cannot be clicked")

    def text(self) -> str:
        """Give all the text of the page."""
        return self.browser.find_element(By.TAG_NAME, "body").text

    def picture(self, name: str) -> None:
        """Take a picture of the window."""
        self.browser.save_screenshot(str(self.pictures / f"{name}.png"))


@pytest.fixture
def prefect_server() -> Iterator[PrefectServer]:
    """A server of its own, whose pages show the suite's deployments only."""
    with servers.prefect_server() as server:
        yield server


@pytest.fixture
def environment(
    prefect_server: PrefectServer, prefect_api: str, tmp_path: Path, settings_environment: Callable[..., None]
) -> dict[str, str]:
    """The environment of a worker, for deployments that are there and an application database."""
    url = f"sqlite:///{tmp_path / 'app.sqlite3'}"
    settings_environment(MARIA_DATABASE_URL=url)
    asyncio.run(migrate.upgrade(database))
    deploy_all()
    return prefect_server.environment() | {"MARIA_DATABASE_URL": url}


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    options = Options()
    options.binary_location = find_program("chromium", "chromium")
    for option in (*BROWSER_OPTIONS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(option)
    driver = Service(find_program("chromedriver", "chromium-driver"), log_output=subprocess.DEVNULL)
    browser = webdriver.Chrome(options=options, service=driver)
    pictures = Path(os.environ.get(PICTURES, tmp_path))
    try:
        yield Page(browser, pictures)
    finally:
        browser.quit()
        driver.stop()


def tab(name: str) -> str:
    """Give the path of a tab of a run's page."""
    return f"//*[normalize-space()='{name}' and not(*)]"


def open_deployments(page: Page, address: str) -> None:
    page.browser.get(f"{address}/deployments")
    page.find("//a[normalize-space()='hris-replication']")
    assert "At 02:00 AM every day" in page.text(), "the schedule in words"
    page.picture("deployments")


def fill_in_and_submit(page: Page) -> None:
    """Start the cleanup with a retention of seven days; ends on the page of the run."""
    page.click("//a[normalize-space()='history-cleanup']")
    page.click("//button[normalize-space()='Run']")
    page.click("//*[normalize-space()='Custom run']")
    days = page.find("//input[@type='number']")
    assert "Days for which executions" in page.text(), "the parameters are described"
    days.send_keys(Keys.CONTROL, "a")
    days.send_keys("7")
    page.picture("run-form")
    # On a busy machine the page may give up waiting for the server, and says so; a person clicks again.
    for _ in range(4):
        page.click("//button[normalize-space()='Submit']")
        with contextlib.suppress(AssertionError):
            page.find(RUN_LINK, limit=30)
            break
    page.click(RUN_LINK)
    page.find(tab("Job Variables"))


@pytest.mark.timeout(600)
def test_a_person_starts_a_job_with_parameters_and_sees_its_artifact_and_log(
    environment: dict[str, str], page: Page, prefect_server: PrefectServer, tmp_path: Path
) -> None:
    open_deployments(page, prefect_server.api_url.removesuffix("/api"))
    fill_in_and_submit(page)
    with prefect_worker(WORK_POOL, environment, tmp_path / "worker.log"):
        page.find("//*[normalize-space()='Completed' and not(*)]", limit=240)
        # The run's process sends its last lines after its last state; the page does not ask for them once it has that.
        page.click(tab("Logs"))
        page.find_after_reloading("//*[contains(., 'Finished in state Completed')]", opened_by=tab("Logs"))
    page.picture("run-log")
    page.click(tab("Parameters"))
    page.find("//*[contains(., 'retention_days') and contains(., '7')]")
    page.click(tab("Artifacts"))
    page.find("//*[contains(., 'history-cleanup') and contains(., 'deleted')]")
    page.picture("run-artifact")
