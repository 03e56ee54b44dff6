"""`labelwright labels`, and `labelwright train --label-book`."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

import labelwright
from labelwright.entities.io.label_books import load_book
from labelwright.models.paths import tracking_uri
from labelwright.models.registry import load_model
from tests.labelwright.bad_input.outcomes import refused
from tests.labelwright.commands.summaries import train
from tests.processes import Command

pytest_plugins = ["tests.worlds"]

BOOK = """\
label,title,synonyms,implies,replaces
amenity=observatory,Observatory,telescope|planetarium,amenity=science,observatory
amenity=science,Science centre,,,
"""


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("book") / "book.csv"
    path.write_text(BOOK)
    return path


def test_a_book_is_printed_and_converted(command: Command, book: Path, tmp_path: Path) -> None:
    printed = command("labels", book)
    assert "amenity=observatory (Observatory)" in printed.out
    assert "implies amenity=science; replaces observatory" in printed.out
    assert "2 labels, 4 different texts" in printed.out
    command("labels", book, "--out", tmp_path / "book.toml")
    assert command("labels", tmp_path / "book.toml").out == printed.out
    assert "Bäckerei" in command("labels", "osm", "--lang", "de", "--rows", 2_000).out


@pytest.mark.usefixtures("empty_world")
def test_a_model_knows_the_labels_of_a_book(
    command: Command, data: Path, book: Path, tmp_path: Path
) -> None:
    base = ("--data", data, "--name", "booked", "--threads", 1)
    summary = train(command, *base, "--label-book", book)
    parameters = MlflowClient(tracking_uri(), tracking_uri()).get_run(summary["run_id"]).data.params
    assert (parameters["book_labels"], parameters["labels_without_rows"]) == ("2", "2")
    model = labelwright.load(summary["model_uri"])
    table = model.label([{"name": "Telescope Observatory"}], top_k=20)
    found = [label["label"] for label in table["labels"][0].as_py()]
    assert {"amenity=observatory", "amenity=science"} <= set(found)
    explained = command(
        "explain", "--entity", '{"name": "Telescope House"}', "--model", summary["model_uri"],
        "--label", "amenity=observatory",
    ).out  # fmt: skip
    assert "(also in the label book)" in explained
    renamed = model.label([{"name": "x"}], only=["observatory"])["labels"][0].as_py()
    assert [label["label"] for label in renamed] == ["amenity=observatory"]
    assert model.model.bundle.labeler.book.titles()["amenity=observatory"] == "Observatory"
    exported = tmp_path / "exported.toml"
    command("labels", "--from", summary["model_uri"], "--out", exported)
    entries = load_book(str(exported)).entries
    assert entries["amenity=observatory"].replaces == ("observatory",)
    assert entries["amenity=observatory"].implies == ("amenity=science",)
    assert entries["amenity=bank"].titles["de"] == "Bank-Filiale"
    again = command("retrain", *base, "--label-book", book, "--json")
    assert json.loads(again.out.splitlines()[-1])["skipped"]
    without = train(command, *base)
    content = [load_model(each["model_uri"]).bundle.manifest.content for each in (summary, without)]
    assert content[0] != content[1]


def test_bad_books_are_refused(command: Command, data: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "book.csv"
    wrong.write_text("label,title\na,x\na,y\n")
    for arguments in (("labels", wrong), ("train", "--data", data, "--label-book", wrong)):
        refused(command(*arguments), 3, "row 3: the label is also in row 2")
    refused(command("labels", "cities"), 3, "built-in books: osm")
    assert pq.read_metadata(data).num_rows
