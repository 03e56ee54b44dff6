"""Tests of the service's web page in a real browser: the tabs Try, Review and Model."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pyarrow.parquet as pq
import pytest

from tests.integration.machines import need
from tests.integration.pages import Pages
from tests.processes import Service, environment, serving

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from tests.conftest import World

pytestmark = pytest.mark.integration
pytest_plugins = ["tests.integration.browser"]

AXE = "axe-core@4.10.3"
HOSTILE = '<img src=x onerror="document.title=1">Bar'
PHONE = (390, 844)


@pytest.fixture(scope="module")
def service(world: "World", tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the registry of the shared world and a separate state folder."""
    home = tmp_path_factory.mktemp("page")
    shutil.copy(world.home / "mlflow.db", home)
    with serving(environment=environment(home), folder=home) as running:
        yield running


@pytest.fixture
def pages(browser: "Chrome", service: Service) -> Pages:
    return Pages(browser, service.url)


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source code of the accessibility checker axe-core, from its npm package."""
    need({"npm": "npm: apt-get install npm"})
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(["npm", "pack", "--silent", AXE], cwd=folder, check=True, timeout=300)
    (packed,) = folder.glob("*.tgz")
    shutil.unpack_archive(packed, folder, filter="data")
    return (folder / "package" / "axe.min.js").read_text("utf-8")


def typed(pages: Pages, field: str, text: str) -> None:
    """Type text into a field."""
    element = pages.browser.find_element("css selector", f"[name={field}]")
    element.clear()
    element.send_keys(text)


def press(pages: Pages, *keys: str) -> None:
    """Press keys at the element with the focus."""
    from selenium.webdriver import ActionChains

    ActionChains(pages.browser).send_keys(*keys).perform()


def review(pages: Pages, reviewer: str, rows: str, *first: str) -> None:
    """Start a review of rows and wait until the page shows `first`."""
    pages.open("review", "Which labels need a review?")
    typed(pages, "reviewer", reviewer)
    typed(pages, "rows", rows)
    pages.click("Begin")
    pages.wait_for(*first)


def hold(pages: Pages, path: str) -> None:
    """Delay requests to a path until `release` is called, as a slow network would."""
    pages.browser.execute_script(
        "const send = fetch, [path] = arguments;"
        "const free = new Promise((resolve) => { window.release = resolve; });"
        "window.fetch = async (...given) => {"
        "  if (given[0] === path) { window.held = true; await free; }"
        "  return send(...given);"
        "};",
        path,
    )


def release(pages: Pages) -> None:
    """Continue the delayed requests, and wait until the page has handled their responses."""
    assert pages.browser.execute_script("return window.held")
    pages.browser.execute_async_script(
        "const [done] = arguments; release(); setTimeout(done, 1000);"
    )


def corrections(service: Service, folder: Path) -> list[dict[str, Any]]:
    """All corrections stored by the service."""
    file = folder / "corrections.parquet"
    file.write_bytes(httpx.get(f"{service.url}/v1/feedback/export").raise_for_status().content)
    rows: list[dict[str, Any]] = pq.read_table(file).to_pylist()
    return rows


# The tab "Try".


def test_labels_follow_the_typing_and_the_link_restores_the_page(pages: Pages) -> None:
    pages.open("try", "Type a name.")
    typed(pages, "name", "Sparkasse Musterstadt")
    pages.wait_for("amenity=bank")
    assert "name=Sparkasse" in pages.browser.current_url
    link = pages.browser.current_url.partition("#/")[2]
    pages.open(link, "amenity=bank")
    pages.keep("try")


def test_the_letters_that_raised_a_label_are_marked(pages: Pages) -> None:
    pages.open("try?name=Sparkasse+Musterstadt", "amenity=bank")
    pages.browser.find_element("css selector", ".labels summary").click()
    marked = pages.browser.find_elements("css selector", ".labels mark.for")
    assert any("Spark" in mark.text for mark in marked)
    pages.wait_for("the frequency of the label")
    pages.keep("why")


def test_a_policy_moves_the_thresholds(pages: Pages) -> None:
    pages.open("try?name=Sparkasse", "amenity=bank")
    threshold = "return document.querySelector('.bar').title"
    balanced = pages.browser.execute_script(threshold)
    pages.open("try?name=Sparkasse&policy=precise", "amenity=bank")
    assert pages.browser.execute_script(threshold) != balanced


@pytest.mark.parametrize(
    "rows",
    [
        'name;city\n"Bar ""Zur; Post""";Ulm\nSparkasse;Ulm\n',
        '[{"name": "Bar"}, {"name": "Sparkasse"}]',
        '{"name": "Bar"}\n{"name": "Sparkasse"}',
        "name\tcity\nBar\tUlm\nSparkasse\tUlm",
    ],
    ids=["csv", "json", "jsonl", "cells"],
)
def test_rows_are_read_in_common_formats(pages: Pages, rows: str) -> None:
    pages.open("try", "Paste several")
    pages.browser.execute_script(
        "const rows = document.querySelector('[name=rows]');"
        "rows.value = arguments[0]; rows.dispatchEvent(new Event('input', {bubbles: true}));",
        rows,
    )
    pages.wait_for("Sparkasse", "amenity=bank")
    assert len(pages.browser.find_elements("css selector", ".results article")) == 2


def parsed(pages: Pages, text: str) -> Any:
    """The entities that the page reads from a text, or its error message."""
    pages.open("try", "Type a name.")
    return pages.browser.execute_async_script(
        "const [text, done] = arguments;"
        "import('/records.js').then(({parse}) => parse(text)).then(done, (e) => done(e.message));",
        text,
    )


@pytest.mark.parametrize(
    ("text", "entities"),
    [
        ('name,city\nBar,Ulm\n12" Sub,Ulm\nPub,', [["Bar", "Ulm"], ['12" Sub', "Ulm"], ["Pub"]]),
        ('name\tcity\n"Joe" Pizza\tUlm\nBar\tUlm', [['"Joe" Pizza', "Ulm"], ["Bar", "Ulm"]]),
        ('name,city\n"Joe,Ulm\nBar,Ulm', [['"Joe', "Ulm"], ["Bar", "Ulm"]]),
        ('name,city\n"Bar, ""Post""\n2",Ulm\n', [['Bar, "Post"\n2', "Ulm"]]),
        ("\tname\tcity\n0\tBar\tUlm\n\n1\tPub\t\t\n", [["Bar", "Ulm"], ["Pub"]]),
        ("name,city\rBar,Ulm\rPub,Ulm", [["Bar", "Ulm"], ["Pub", "Ulm"]]),
    ],
    ids=["inch", "copied", "unclosed", "quoted", "row_numbers", "old_line_ends"],
)
def test_no_row_of_cells_is_lost(pages: Pages, text: str, entities: list[list[str]]) -> None:
    named = [dict(zip(("name", "city"), cells, strict=False)) for cells in entities]
    assert parsed(pages, text) == named


def test_a_row_with_too_many_cells_is_named(pages: Pages) -> None:
    text = "name,city\nBar,Ulm\n\nJoe, Inc,Ulm\n"
    assert parsed(pages, text) == "row 4 has more cells than the first line has columns"


def test_a_hostile_name_stays_text(pages: Pages) -> None:
    pages.open("try", "Type a name.")
    typed(pages, "name", HOSTILE)
    pages.wait_for("%")
    pages.browser.find_element("css selector", ".labels summary").click()
    assert not pages.browser.find_elements("css selector", "main img")
    assert pages.browser.title == "labelwright"


def test_errors_are_shown(pages: Pages) -> None:
    pages.open("try?lat=200&lon=1", "must lie between")
    assert pages.browser.find_elements("css selector", ".results .problem")


# The tab "Review".


def test_a_review_by_keyboard_is_stored(pages: Pages, service: Service, tmp_path: Path) -> None:
    pages.open("review", "Which labels need a review?")
    typed(pages, "reviewer", "Ada")
    typed(pages, "rows", "id,name,labels,lat,lon\nx1,Sparkasse Musterstadt,shop=bakery,,\n"
          "x2,Kiosk,,,\nx3,Nowhere,,200,4\n")  # fmt: skip
    pages.click("Begin")
    pages.wait_for("1 of 2; 1 rows are rejected", "Sparkasse Musterstadt", "given labels disagree")
    pages.keep("review")
    from selenium.webdriver.common.keys import Keys

    press(pages, "a", "r", Keys.ENTER)
    pages.wait_for("2 of 2", "Kiosk")
    press(pages, "s")
    pages.wait_for("The review is complete.", "1 of 2 entities")
    press(pages, "u")
    pages.wait_for("2 of 2")
    (kept,) = [row for row in corrections(service, tmp_path) if row["entity_id"] == "x1"]
    assert kept["reviewer"] == "Ada"
    assert len(kept["confirmed"]) == len(kept["denied"]) == 1
    assert kept["confirmed"] == [kept["said"][0]["label"]]
    assert kept["model"]["name"] == "small"


def test_keys_pressed_while_saving_do_not_affect_the_next_entity(
    pages: Pages, service: Service, tmp_path: Path
) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.keys import Keys

    rows = "id,name,labels\nz1,Sparkasse,shop=bakery\nz2,Kiosk,\nz3,Bar,\n"
    review(pages, "Alan", rows, "1 of 3")
    hold(pages, "v1/feedback")
    press(pages, "a", Keys.ENTER, "s", "a", "r", "u", Keys.ENTER)
    for button in pages.browser.find_elements("css selector", ".actions button, .verdicts button"):
        ActionChains(pages.browser).move_to_element(button).click().perform()
    assert "1 of 3" in pages.text()
    release(pages)
    pages.wait_for("2 of 3")
    assert not pages.browser.find_elements("css selector", ".verdicts [aria-pressed=true]")
    press(pages, "s")
    pages.wait_for("3 of 3")
    (kept,) = [row for row in corrections(service, tmp_path) if row["reviewer"] == "Alan"]
    assert len([*kept["confirmed"], *kept["added"], *kept["denied"]]) == 1


def test_a_review_starts_once_and_again_after_an_error(pages: Pages) -> None:
    review(pages, "Edsger", "id,name,lat,lon\nx,Nowhere,200,4\n", "no row can be labelled")
    hold(pages, "v1/review")
    typed(pages, "rows", "id,name\nw1,Sparkasse\n")
    button = pages.browser.find_element("css selector", ".start button")
    button.click()
    assert not button.is_enabled()
    release(pages)
    pages.wait_for("1 of 1")


def add(pages: Pages, label: str) -> None:
    """Type a label into the field that adds labels."""
    press(pages, "+")
    press(pages, label)
    pages.click("Add")


def test_a_label_can_be_added(pages: Pages, service: Service, tmp_path: Path) -> None:
    review(pages, "Grace", "id,name\ny1,Sparkasse\n", "1 of 1")
    listed = pages.elements(".verdicts .name")
    known = httpx.get(f"{service.url}/v1/labels").raise_for_status().json()["labels"]
    unlisted = next(label["label"] for label in known if label["label"] not in listed)
    add(pages, unlisted)
    pages.wait_for(f"{unlisted} added")
    add(pages, listed[-1])
    assert pages.elements(".verdicts .name") == [*listed, unlisted]
    pages.click("Save and continue")
    pages.wait_for("The review is complete.")
    (kept,) = [row for row in corrections(service, tmp_path) if row["entity_id"] == "y1"]
    assert (kept["added"], kept["confirmed"]) == ([unlisted], [listed[-1]])


# The tab "Model".


def test_the_model_tab_shows_quality(pages: Pages) -> None:
    text = pages.open("model", "small, version 1", "micro-F1", "Labels", "Drift")
    pages.keep("model_page")
    assert re.search(r"\d+\.\d%\s+P@1: the most probable label is true", text)
    assert len(pages.browser.find_elements("css selector", "svg.chart")) == 2
    typed_into = pages.browser.find_element("css selector", "input[type=search]")
    typed_into.send_keys("bank")
    pages.wait_for("amenity=bank")
    assert len(pages.elements("tbody tr")) < 30


# All tabs.


def test_a_late_response_does_not_replace_a_newer_one(pages: Pages) -> None:
    pages.open("review", "Which labels need a review?")
    hold(pages, "v1/model/report")
    for link in ("Model", "Try"):
        pages.click(link)
    pages.wait_for("Type a name.")
    typed(pages, "name", "Sparkasse")
    pages.wait_for("amenity=bank")
    release(pages)
    assert "micro-F1" not in pages.text()
    field = pages.browser.find_element("css selector", "[name=name]")
    assert field.get_attribute("value") == "Sparkasse"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("route", ["try?name=Sparkasse", "review", "model"])
def test_axe_finds_nothing_serious(pages: Pages, axe: str, route: str, dark: bool) -> None:
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    pages.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    pages.open(route, "small, version 1")
    for summary in pages.browser.find_elements("css selector", "summary")[:2]:
        summary.click()
    found = pages.browser.execute_async_script(
        f"{axe}; axe.run().then(arguments[arguments.length - 1])"
    )
    serious = [
        (v["id"], [node["html"] for node in v["nodes"]][:3])
        for v in found["violations"]
        if v["impact"] in ("serious", "critical")
    ]
    assert not serious
    assert found["passes"]
    if dark:
        pages.keep(f"{route.partition('?')[0]}_dark")


def test_the_page_fits_a_phone(pages: Pages) -> None:
    metrics = {"width": PHONE[0], "height": PHONE[1], "deviceScaleFactor": 2, "mobile": True}
    pages.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        for route in ("try?name=Sparkasse", "review", "model"):
            pages.open(route, "small, version 1")
            wide = "return document.documentElement.scrollWidth"
            assert pages.browser.execute_script(wide) <= PHONE[0]
            pages.keep(f"{route.partition('?')[0]}_phone")
    finally:
        pages.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_browser_logs_no_errors(pages: Pages) -> None:
    browser: Any = pages.browser
    browser.get_log("browser")
    for route in ("try?name=Sparkasse", "review"):
        pages.open(route, "small, version 1")
    assert browser.get_log("browser") == []
