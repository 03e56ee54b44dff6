"""Visible text and screenshots of pages in a real browser.

Screenshots are stored in LABELWRIGHT_SCREENSHOTS, by default build/screenshots.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(__file__).parents[2]
SCREENSHOTS = Path(os.environ.get("LABELWRIGHT_SCREENSHOTS", ROOT / "build" / "screenshots"))
PATIENCE = 60


class Pages:
    """The pages of a web application, read as text and stored as screenshots."""

    def __init__(self, browser: "Chrome", server: str) -> None:
        self.browser = browser
        self.server = server

    def open(self, route: str, *expected: str) -> str:
        """Open a page and wait until it shows all expected texts."""
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
        """Store a screenshot of the page."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        assert self.browser.save_screenshot(str(SCREENSHOTS / f"{name}.png"))
