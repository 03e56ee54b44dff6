"""`labelwright explain`: reasons as text and as JSON."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.labelwright.commands.summaries import last_line
from tests.processes import Command

pytest_plugins = ["tests.worlds"]


def test_an_entity_is_explained_as_text_and_as_json(command: Command, bundle: Path) -> None:
    entity = json.dumps({"id": "j\x9bj", "name": "Joe's Pizza\u202e", "country": "US"})
    arguments = ("explain", "--model", bundle, "--entity", entity, "--label", "cuisine=pizza")
    completed = command(*arguments)
    assert completed.code == 0
    assert completed.err == ""
    first, title, *lines = completed.out.splitlines()
    assert first == "j\\x9bj"
    assert re.fullmatch(r"  cuisine=pizza  probability 0\.\d{3}(, asserted)?", title)
    assert any(re.fullmatch(r' +\+\d+\.\d{3}  name "Pizza"', line) for line in lines)
    weights = [float(line.split()[0]) for line in lines]
    assert sum(weights[:-1]) == pytest.approx(weights[-1], abs=0.01)
    assert lines[-1].endswith("  log-odds before calibration")

    (result,) = last_line(command(*arguments, "--json").out)["results"]
    (label,) = result["labels"]
    assert label["log_odds"] == pytest.approx(weights[-1], abs=1e-3)
    assert [round(reason["weight"], 3) for reason in label["reasons"]] == weights[:-1]


def test_the_first_rows_of_a_file_are_explained(
    command: Command, places_file: Path, bundle: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    rows = pq.read_table(places_file)
    for start in (0, 2, 5):
        pq.write_table(rows.slice(start, 3 if start else 2), folder / f"{start}.parquet")
    for count, source in ((5, places_file), (4, places_file), (7, folder)):
        completed = command("explain", source, "--model", bundle, "--rows", count, "--json")
        assert completed.code == 0
        results = last_line(completed.out)["results"]
        assert [result["id"] for result in results] == rows["id"].to_pylist()[:count]
        assert [row for row, result in enumerate(results) if "error" in result] == [3]
    assert "\n  rejected: lat: must lie between -90 and 90\n" in completed.out


def test_titles_of_labels_are_printed_in_the_requested_language(
    command: Command, bundle: Path
) -> None:
    arguments = (
        "explain",
        "--model",
        bundle,
        "--entity",
        '{"name": "Bar"}',
        "--label",
        "amenity=cafe",
    )
    completed = command(*arguments, "--lang", "es")
    assert completed.code == 0, completed.err
    assert "\n  amenity=cafe (Cafetería)  probability " in completed.out


def test_a_misspelt_field_gives_a_warning(command: Command, bundle: Path) -> None:
    completed = command("explain", "--model", bundle, "--entity", '{"nmae": "Joe"}')
    assert completed.code == 0
    assert completed.err.startswith("labelwright: warning: column 'nmae'")
