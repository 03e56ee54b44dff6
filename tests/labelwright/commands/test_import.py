"""`labelwright import`, and training on imported files."""

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import osmium
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from osmium.osm.mutable import Node

import labelwright
from labelwright.entities.errors import RequestError
from labelwright.entities.io.schema_metadata import schema_metadata
from labelwright.entities.redirects import Redirects
from labelwright.entities.schema import EntitySchema
from tests.entities.importers.published import FOURSQUARE, OVERTURE, overture_place, write
from tests.labelwright.commands.summaries import train
from tests.processes import Command

pytest_plugins = ["tests.worlds"]


@pytest.fixture
def extract(tmp_path: Path) -> Path:
    path = tmp_path / "small.osm.pbf"
    with osmium.SimpleWriter(path) as writer:
        tags = {"name": "Joe's", "amenity": "cafe", "wheelchair": "yes"}
        writer.add_node(Node(id=1, location=(7.0, 50.0), tags=tags))
        writer.add_node(Node(id=2, location=(-7.0, 50.0), tags=tags))
    return path


def test_an_extract_is_imported_with_a_custom_mapping(
    command: Command, extract: Path, tmp_path: Path
) -> None:
    printed = command("import", "osm", "--print-mapping")
    assert (printed.code, printed.err) == (0, "")
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(printed.out)
    assert "amenity" in tomllib.loads(printed.out)["labels"]

    out = tmp_path / "out.parquet"
    completed = command("import", "osm", extract, out)
    assert completed.code == 0, completed.err
    assert completed.out == (
        f"2 places, 2 of them labelled -> {out}\n"
        "2 labels, 0 of them imply others; 1 label groups have an open world\n"
    )
    mapping.write_text(printed.out.replace('"amenity", ', ""))
    completed = command("import", "osm", extract, out, "--mapping", mapping)
    assert completed.out.startswith("0 places")
    completed = command("import", "osm", extract, out, "--bbox=-8,49,-6,51")
    assert completed.out.startswith("1 places")


def test_overture_and_foursquare_are_imported(command: Command, tmp_path: Path) -> None:
    taxonomy = {"hierarchy": ["food", "cafe"]}
    write(tmp_path / "o.parquet", [overture_place(1, 7, 50, taxonomy=taxonomy)], OVERTURE)
    place = {"name": "x", "fsq_category_labels": ["Food > Cafe"], "longitude": 7, "latitude": 50}
    write(tmp_path / "f.parquet", [{**place, "fsq_place_id": "1"}], FOURSQUARE)
    out = tmp_path / "out.parquet"
    for source, file in (("overture", "o.parquet"), ("foursquare", "f.parquet")):
        completed = command("import", source, tmp_path / file, out, "--bbox=6,49,8,51")
        assert completed.code == 0, completed.err
        assert completed.out == (
            f"1 places, 1 of them labelled -> {out}\n"
            "2 labels, 1 of them imply others; 0 label groups have an open world\n"
        )


@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (2, ()),
        (2, ("osm",)),
        (2, ("elsewhere", "a", "b")),
        (3, ("osm", "nowhere.osm.pbf", "out.parquet")),
        (3, ("osm", "small.osm.pbf", "out.csv")),
        (3, ("osm", "small.osm.pbf", "out.parquet", "--bbox=1,2,3")),
        (3, ("osm", "small.osm.pbf", "out.parquet", "--mapping", "nowhere.toml")),
        (3, ("overture", "nowhere", "out.parquet")),
        (3, ("foursquare", "small.osm.pbf", "out.parquet")),
        (6, ("osm", "small.osm.pbf", "nowhere/out.parquet")),
    ],
    ids=str,
)
@pytest.mark.usefixtures("extract")
def test_errors_have_an_exit_code_and_one_line(
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    arguments: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    completed = command("import", *arguments)
    assert completed.code == code
    assert completed.err.startswith("usage: labelwright" if code == 2 else "labelwright: ")
    assert code == 2 or completed.err.count("\n") == 1
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.usefixtures("empty_world")
def test_mapped_columns_embedded_schema_and_redirects_reach_the_model(
    command: Command, rows: pa.Table, places: EntitySchema, tmp_path: Path
) -> None:
    """One test checks these three features together, because each needs a slow training."""
    schema = dataclasses.replace(
        places, open_world=("takeaway",), redirects=Redirects({"x=1": "x=2"})
    )
    source, table = tmp_path / "rows.parquet", tmp_path / "redirects.csv"
    named = rows.rename_columns({"name": "title"}).replace_schema_metadata(schema_metadata(schema))
    pq.write_table(named, source)
    table.write_text("old,new\ncuisine=pizza,cuisine=flatbread\nshop=supermarket,\n")
    options: tuple[Any, ...] = ("--data", source, "--map", "name=title", "--redirects", table)
    model = labelwright.load(train(command, *options, "--name", "own")["model_uri"])
    assert model.schema.open_world == ("takeaway",)
    assert set(model.schema.redirects.targets) == {"x=1", "cuisine=pizza", "shop=supermarket"}
    assert "cuisine=flatbread" in model.labels
    assert not {"cuisine=pizza", "shop=supermarket"} & {*model.labels}

    (old,), (new,) = (
        model.label([{"name": "Pizza"}], only=[name]).to_pylist()
        for name in ("cuisine=pizza", "cuisine=flatbread")
    )
    assert old == new
    assert [label["label"] for label in new["labels"]] == ["cuisine=flatbread"]
    with pytest.raises(RequestError, match="retired"):
        model.label([{"name": "Pizza"}], only=["shop=supermarket"])

    uri = ("--model", "models:/own@champion")
    completed = command("evaluate", *uri, "--data", source, "--map", "name=title")
    assert completed.code == 0, completed.err
    assert "cuisine=flatbread" in completed.out
    assert "cuisine=pizza" not in completed.out
