"""Tests of the pages that the MLflow UI shows after a training, in a real browser."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from labelwright.models.paths import artifact_root, tracking_uri
from labelwright.training.fitting.fit import Configuration
from labelwright.training.tracking import versions
from tests.conftest import BRANDS
from tests.integration.pages import PATIENCE, Pages
from tests.processes import HOST, await_ready, environment, free_port

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

    from labelwright.entities.schema import EntitySchema
    from labelwright.training.job import Outcome

pytestmark = pytest.mark.integration
pytest_plugins = ["tests.integration.browser"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("ui")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABELWRIGHT_HOME", str(folder))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield folder


@pytest.fixture(scope="module")
def trained(home: Path, places: "EntitySchema") -> list["Outcome"]:
    """A champion and a refused challenger."""
    from labelwright.training.job import Task, train

    rows = pq.read_table(BRANDS)
    for name, size in {"fair": 2_000, "poor": 60}.items():
        pq.write_table(rows.slice(0, size), home / f"{name}.parquet")
    pq.write_table(rows.slice(2_000, 600), home / "test.parquet")
    return [
        train(Task([home / f"{name}.parquet"], [home / "test.parquet"], places, "shops", given))
        for name, given in (("fair", Configuration()), ("poor", Configuration(trees=10)))
    ]


@pytest.fixture(scope="module")
def server(trained: list["Outcome"], home: Path) -> Iterator[str]:
    """The MLflow UI on the state folder of `trained`."""
    port, log = free_port(), home / "ui.log"
    command = ["mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", tracking_uri(), "--default-artifact-root", str(artifact_root())]
    settings = {**environment(home), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with log.open("wb") as words:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, *store], env=settings, stdout=words, stderr=words
        )
    try:
        await_ready(f"http://{HOST}:{port}/health", lambda: process.poll() is None)
        yield f"http://{HOST}:{port}"
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(scope="module")
def pages(browser: "Chrome", server: str) -> Pages:
    return Pages(browser, server)


@pytest.fixture(scope="module")
def run(trained: list["Outcome"]) -> str:
    """The route of the champion's run."""
    from mlflow import MlflowClient

    run_id = trained[0].registered.run_id
    info = MlflowClient(tracking_uri()).get_run(run_id).info
    return f"experiments/{info.experiment_id}/runs/{run_id}"


def test_an_experiment_lists_its_runs_with_their_data(pages: Pages, run: str) -> None:
    pages.open(run.rpartition("/")[0], "2 matching runs", "fair.parquet", "poor.parquet")
    pages.keep("experiment")


def test_a_run_shows_its_description_and_tags(
    pages: Pages, run: str, trained: list["Outcome"]
) -> None:
    text = pages.open(run, "Promoted: it is the first version.", "Registered models", "shops v1")
    pages.click("Show more")
    pages.wait_for("Known limits")
    pages.keep("run")
    headings = pages.elements("h3")
    assert {"Quality", "Known limits"} <= set(headings)
    text = pages.text()
    assert "###" not in text
    assert "**" not in text
    value = trained[0].evaluation.with_margin
    assert f"P@1 {value('p_at_1', 2)}%: rows whose most probable label is true" in text
    assert f"ECE {value('ece', 4)}" in text
    assert "fair.parquet" in text
    assert "Finished" in text
    assert re.search(r"Source labelwright [0-9a-f]{7}\b", text), "the commit"
    assert "labelwright.version" in text


def test_links_of_a_description_lead_to_the_artifacts(pages: Pages, run: str) -> None:
    pages.open(run, "model card")
    link = pages.browser.find_element("link text", "model card").get_attribute("href")
    assert link == f"{pages.server}/#/{run}/artifacts/model_card.md"
    pages.open(link.partition("#/")[2], "Model card: shops")


def test_a_data_set_shows_its_columns_and_rows(pages: Pages, run: str) -> None:
    pages.open(run, "fair.parquet")
    pages.browser.find_element("xpath", "//*[contains(text(),'fair.parquet')]").click()
    text = pages.wait_for("2 datasets used", "alternative_names")
    pages.keep("dataset")
    assert "2,000" in text or '"num_rows": 2000' in text
    assert "No schema available" not in text


def test_the_model_card_is_rendered(pages: Pages, run: str) -> None:
    pages.open(f"{run}/artifacts/model_card.md", "Model card: shops", "Quality")
    pages.keep("card")
    assert "Model card: shops" in pages.elements("h1")
    assert {"Quality", "Weak slices", "Confused labels"} <= set(pages.elements("h2"))
    assert pages.elements("[role=table]")
    text = pages.text()
    assert not re.search(r"#{2,}|\]\(|\|\s*-{3}", text), "raw Markdown"


def test_every_label_is_in_a_table(pages: Pages, run: str) -> None:
    text = pages.open(f"{run}/artifacts/per_label.csv", "training_rows", "amenity=bank")
    pages.keep("per_label")
    assert "Previewing the first" in text


@pytest.mark.parametrize("name", ["precision_recall", "reliability", "frequency_f1", "confusions"])
def test_a_plot_is_shown(pages: Pages, run: str, name: str) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    pages.open(f"{run}/artifacts/plots/{name}.png", f"plots/{name}.png")
    drawn = "return [...document.images].some(i => i.naturalWidth > 800)"
    wait: Any = WebDriverWait(pages.browser, PATIENCE)
    wait.until(lambda browser: browser.execute_script(drawn), "the picture is not drawn")
    pages.keep(name)


def test_the_environment_is_recorded(pages: Pages, run: str) -> None:
    text = pages.open(f"{run}/artifacts/environment.txt", "lightgbm==")
    pages.keep("environment")
    assert re.search(r"python 3\.\d+\.\d+", text)


def test_a_model_shows_its_versions_and_the_champion(pages: Pages) -> None:
    text = pages.open("models/shops", "Version 2", "@ champion")
    pages.keep("model")
    assert "Labels entities of the schema places." in text
    assert text.count("@ champion") == 1
    assert "Promoted: " in text
    assert "Not promoted: " in text


def test_a_version_shows_the_verdict_of_its_gate(pages: Pages, trained: list["Outcome"]) -> None:
    refused = trained[1].verdict
    assert not refused.promoted
    text = pages.open("models/shops/versions/2", f"Not promoted: {refused.reason}")
    pages.keep("refused_version")
    assert {"Quality", "Known limits"} <= set(pages.elements("h3"))
    assert "###" not in text
    assert "@ champion" not in text
    assert f"{versions.VERDICT}" in text
    text = pages.open("models/shops/versions/1", "Promoted: it is the first version.")
    pages.keep("champion_version")
    assert "@ champion" in text
