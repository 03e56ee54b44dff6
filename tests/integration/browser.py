"""A real browser as a fixture.

Test modules load it with `pytest_plugins = ["tests.integration.browser"]`.
"""

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.integration.machines import need

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

SIZE = (1400, 1700)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator["Chrome"]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    need(
        {
            "chromium": "a browser: apt-get install chromium",
            "chromedriver": "its driver: apt-get install chromium-driver",
        }
    )
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
