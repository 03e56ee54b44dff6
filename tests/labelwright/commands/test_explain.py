"""`labelwright explain`: reasons for people and for scripts."""

import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.labelwright.commands.summaries import last_line
from tests.processes import Command

pytest_plugins = ["tests.worlds"]


def test_an_entity_is_explained_for_people_and_for_scripts(command: Command, bundle: Path) -> None:
    entity = json.dumps({"id": "j\x9bj", "name": "Joe's Pizza\u202e", "country": "US"})
    asked = ("explain", "--model", bundle, "--entity", entity, "--label", "cuisine=pizza")
    said = command(*asked)
    assert said.code == 0
    assert said.err == ""
    first, title, *lines = said.out.splitlines()
    assert first == "j\\x9bj"
    assert re.fullmatch(r"  cuisine=pizza  probability 0\.\d{3}(, asserted)?", title)
    assert any(re.fullmatch(r' +\+\d+\.\d{3}  name "Pizza"', line) for line in lines)
    weights = [float(line.split()[0]) for line in lines]
    assert sum(weights[:-1]) == pytest.approx(weights[-1], abs=0.01)
    assert lines[-1].endswith("  log-odds before calibration")

    (result,) = last_line(command(*asked, "--json").out)["results"]
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
        said = command("explain", source, "--model", bundle, "--rows", count, "--json")
        assert said.code == 0
        results = last_line(said.out)["results"]
        assert [result["id"] for result in results] == rows["id"].to_pylist()[:count]
        assert [row for row, result in enumerate(results) if "error" in result] == [3]
    assert "\n  rejected: lat: must lie between -90 and 90\n" in said.out


def test_labels_can_be_printed_in_the_language_of_the_user(command: Command, bundle: Path) -> None:
    asked = ("explain", "--model", bundle, "--entity", '{"name": "Bar"}', "--label", "amenity=cafe")
    said = command(*asked, "--lang", "es")
    assert said.code == 0, said.err
    assert "\n  amenity=cafe (Cafetería)  probability " in said.out


def test_a_misspelt_field_of_an_entity_is_warned_of(command: Command, bundle: Path) -> None:
    said = command("explain", "--model", bundle, "--entity", '{"nmae": "Joe"}')
    assert said.code == 0
    assert said.err.startswith("labelwright: warning: column 'nmae'")
