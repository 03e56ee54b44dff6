"""A real browser: what is seen on pages, and pictures of them.

Pictures are kept in LABELWRIGHT_SCREENSHOTS, by default build/screenshots. A test module asks for
it by `pytest_plugins = ["tests.integration.browser"]`.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(__file__).parents[2]
SCREENSHOTS = Path(os.environ.get("LABELWRIGHT_SCREENSHOTS", ROOT / "build" / "screenshots"))
NEEDED = {"chromium": "chromium", "chromedriver": "chromium-driver"}
"""Programs, and the Debian packages they come in."""
SIZE = (1400, 1700)
PATIENCE = 60


def required(programs: Mapping[str, str]) -> None:
    """Skip where programs are missing, naming their Debian packages; in CI that is a failure."""
    missing = [package for program, package in programs.items() if shutil.which(program) is None]
    if missing:
        stop = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        stop(f"not installed: apt-get install {' '.join(missing)}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Chrome"]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    required(NEEDED)
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
        f"--window-size={SIZE[0]},{SIZE[1]}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options, Service(str(shutil.which("chromedriver"))))
    try:
        yield chrome
    finally:
        chrome.quit()


class Pages:
    """The pages of the UI: what is seen on them, as text, and kept as pictures."""

    def __init__(self, browser: "Chrome", server: str) -> None:
        self.browser = browser
        self.server = server

    def open(self, route: str, *expected: str) -> str:
        """Go to a page, and wait until it shows what is expected."""
        self.browser.get("about:blank")
        self.browser.get(f"{self.server}/#/{route}")
        return self.wait_for(*expected)

    def wait_for(self, *expected: str) -> str:
        from selenium.webdriver.support.wait import WebDriverWait

        wait: Any = WebDriverWait(self.browser, PATIENCE)
        wait.until(
            lambda _: all(words in self.text() for words in expected),
            f"the page does not show {expected}",
        )
        return self.text()

    def text(self) -> str:
        """The visible text, on one line."""
        body: str = self.browser.execute_script("return document.body.innerText")
        return " ".join(body.split())

    def elements(self, selector: str) -> list[str]:
        """The visible texts of elements."""
        found = self.browser.find_elements("css selector", selector)
        return [" ".join(element.text.split()) for element in found if element.text.strip()]

    def click(self, words: str) -> None:
        self.browser.find_element("xpath", f"//*[normalize-space(text())='{words}']").click()

    def keep(self, name: str) -> None:
        """Keep a picture of the page as it is."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        assert self.browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))
