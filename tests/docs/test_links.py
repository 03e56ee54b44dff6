"""Links between pages: every target exists, and the README links to all pages."""

import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT

LINK = re.compile(r"\]\(([^)#:]+\.md)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_linked_page_exists(page: Path) -> None:
    assert [
        link for link in LINK.findall(page.read_text()) if not (page.parent / link).exists()
    ] == []


def test_the_readme_links_to_every_page() -> None:
    linked = {ROOT / link for link in LINK.findall((ROOT / "README.md").read_text())}
    assert set((ROOT / "docs").glob("*.md")) <= linked
