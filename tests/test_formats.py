"""The same ten rows give the same entities in every format, and the same answers at every door."""

import decimal
import io
import json
import math
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import httpx
import mlflow
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelwright
from labelwright.entities.errors import DataError
from labelwright.entities.io.readers import read_batches
from labelwright.entities.io.uploads import from_csv, from_parquet
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_frame, from_records, from_table
from labelwright.models.registry import load_model
from tests.processes import Command, Service

if TYPE_CHECKING:
    from tests.conftest import World

pytest_plugins = ["tests.worlds"]

Json = dict[str, Any]
ROWS = 10
NAMES = [
    *("Joe's Pizza", "Löwen-Apotheke", "Spar\u00adkasse", "寿司 🍣", 'Two\nlines; "quoted", comma'),
    *("مطعم", "7-Eleven", "Café \u00e9", "=SUM(A1)", "NULL"),
]
RECORDS: list[Json] = [
    {
        "id": 75001.0 + row if row != 4 else None,
        "name": name,
        "alternative_names": ["a b", "c"] if row % 2 else None,
        "city": None if row == 3 else "New York",
        "postcode": None if row % 3 == 0 else 10000.0 + row,
        "phone": 33123456789.0 if row % 4 else None,
        "brand": str(uuid.UUID(int=row)),
        "lat": None if row == 5 else row * 9.25 - 40,
        "lon": None if row == 5 else row * 17.5 - 80,
        "tags": {"cuisine": "pizza;pasta", "capacity": 4.0} if row % 2 else None,
    }
    for row, name in enumerate(NAMES)
]
"""Rows with gaps in every column. Whole numbers are floats, as programs have them with gaps."""
COLUMNS = [*RECORDS[0]]


def column(name: str) -> list[Any]:
    return [record[name] for record in RECORDS]


def table() -> pa.Table:
    """The rows as an Arrow table."""
    return pa.table({name: pa.array(column(name)) for name in COLUMNS})


def cell(value: Any) -> Any:
    """A value as a cell of CSV or as text: tags as JSON, and lists joined by semicolons."""
    if isinstance(value, dict):
        return json.dumps(value)
    return ";".join(value) if isinstance(value, list) else value


def cells() -> pd.DataFrame:
    """The rows as a frame of text and numbers."""
    return pd.DataFrame({name: [cell(value) for value in column(name)] for name in COLUMNS})


def csv_bytes() -> bytes:
    return cells().to_csv(index=False).encode()


def parquet_bytes(given: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(given, sink)
    return sink.getvalue()


def json_lines() -> bytes:
    """JSON Lines with NaN for missing values, as pandas has them, and coordinates as text."""
    lines = (
        json.dumps({k: _json_value(k, v) for k, v in record.items()}) + "\n" for record in RECORDS
    )
    return "".join(lines).encode()


def _json_value(name: str, value: Any) -> Any:
    if value is None:
        return math.nan
    return f" {value} " if name == "lat" else value


def features() -> list[Json]:
    """GeoJSON with the position as a point, the id as a member, and all else as properties."""
    return [
        {
            "type": "Feature",
            "id": record["id"],
            "geometry": None
            if record["lat"] is None
            else {"type": "Point", "coordinates": [record["lon"], record["lat"]]},
            "properties": {
                name: record[name] for name in COLUMNS if name not in ("id", "lat", "lon")
            },
        }
        for record in RECORDS
    ]


FILES: dict[str, Callable[[], bytes]] = {
    "rows.csv": csv_bytes,
    "marked.csv": lambda: b"\xef\xbb\xbf" + csv_bytes().replace(b"\r\n", b"\n"),
    "rows.parquet": lambda: parquet_bytes(table()),
    "rows.jsonl": json_lines,
    "rows.ndjson": lambda: b"\xef\xbb\xbf" + json_lines(),
    "rows.geojson": lambda: json.dumps(
        {"type": "FeatureCollection", "features": features()}
    ).encode(),
    "rows.geojsonl": lambda: "\n".join(map(json.dumps, features())).encode(),
    "pandas.parquet": lambda: _written(lambda sink: table().to_pandas().to_parquet(sink)),
    "polars.parquet": lambda: _written(lambda sink: polars_frame().write_parquet(sink)),
    "polars.csv": lambda: polars_text().write_csv().encode(),
    "polars.ndjson": lambda: polars_frame().write_ndjson().encode(),
}


def _written(write: Callable[[io.BytesIO], object]) -> bytes:
    sink = io.BytesIO()
    write(sink)
    return sink.getvalue()


def polars_frame() -> pl.DataFrame:
    """The rows with Polars' own types: categories, lists of categories, and structs."""
    frame = pl.DataFrame(table())
    return frame.with_columns(
        pl.col("city").cast(pl.Categorical), pl.col("alternative_names").cast(pl.List(pl.String))
    )


def polars_text() -> pl.DataFrame:
    return pl.DataFrame(pa.Table.from_pandas(cells(), preserve_index=False))


def numpy_records() -> list[Json]:
    """Records with scalars of NumPy, pandas, `decimal` and `uuid`, and every form of missing."""
    missing = [None, math.nan, pd.NA, pd.NaT, np.float64("nan")]
    kinds: dict[str, Callable[[Any], Any]] = {
        "id": np.int64,
        "postcode": decimal.Decimal,
        "phone": np.float64,
        "brand": uuid.UUID,
        "lat": np.float64,
        "lon": decimal.Decimal,
        "alternative_names": np.array,
        "name": np.str_,
    }
    return [
        {
            name: missing[row % len(missing)]
            if record[name] is None
            else kinds.get(name, lambda value: value)(record[name])
            for name in COLUMNS
        }
        for row, record in enumerate(RECORDS)
    ]


def from_duckdb() -> pa.Table:
    """The rows with types of DuckDB: UUID, HUGEINT, ENUM, JSON, MAP and lists."""
    rows = table()
    with duckdb.connect() as connection:
        connection.register("rows", rows)
        relation = connection.sql(
            "SELECT id::HUGEINT AS id, name, alternative_names, city::ENUM ('New York') AS city, "
            "postcode::DECIMAL(9, 0) AS postcode, phone::BIGINT AS phone, brand::UUID AS brand, "
            "lat, lon, to_json(tags) AS tags FROM rows"
        )
        return pa.table(relation)


SOURCES: dict[str, Callable[[EntitySchema], Entities]] = {
    "Arrow": lambda schema: from_table(table(), schema),
    "Arrow views": lambda schema: from_table(pa.table(pl.DataFrame(table())), schema),
    "pandas": lambda schema: from_frame(table().to_pandas(), schema),
    "pandas of objects": lambda schema: from_frame(pd.DataFrame(numpy_records()), schema),
    "pandas of Arrow types": lambda schema: from_frame(
        table().to_pandas(types_mapper=pd.ArrowDtype), schema
    ),
    "pandas records": lambda schema: from_records(table().to_pandas().to_dict("records"), schema),
    "NumPy records": lambda schema: from_records(numpy_records(), schema),
    "Polars": lambda schema: from_table(pa.table(polars_frame()), schema),
    "Polars records": lambda schema: from_records(polars_frame().to_dicts(), schema),
    "DuckDB": lambda schema: from_table(from_duckdb(), schema),
    "uploaded CSV": lambda schema: from_csv(csv_bytes(), schema, ROWS),
    "uploaded Parquet": lambda schema: from_parquet(parquet_bytes(table()), schema, ROWS),
    "uploaded Parquet of DuckDB": lambda schema: from_parquet(
        parquet_bytes(from_duckdb()), schema, ROWS
    ),
}


@pytest.fixture(scope="module")
def entities(places: EntitySchema) -> Entities:
    """The entities that every format must give."""
    entities = from_records(RECORDS, places)
    assert not entities.rejected
    assert entities.ids.to_pylist() == [
        *map(str, range(75001, 75005)),
        "row-4",
        *map(str, range(75006, 75011)),
    ]
    assert entities.table["postcode"].to_pylist()[:3] == [None, "10001", "10002"]
    assert entities.table["phone"].to_pylist()[1] == "33123456789"
    assert entities.table["tags"].to_pylist()[1] == "capacity=4;cuisine=pizza;cuisine=pasta"
    return entities


def same(found: Entities, expected: Entities) -> None:
    assert not found.rejected
    assert not found.warnings
    assert found.table.schema.equals(expected.table.schema)
    for name in expected.table.column_names:
        assert found.table[name].to_pylist() == expected.table[name].to_pylist(), name


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_gives_the_same_entities(
    source: str, entities: Entities, places: EntitySchema
) -> None:
    same(SOURCES[source](places), entities)


@pytest.mark.parametrize("name", FILES)
def test_every_file_gives_the_same_entities(
    name: str, entities: Entities, places: EntitySchema, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(FILES[name]())
    (batch,) = read_batches(tmp_path / name, places)
    same(batch.entities, entities)


@pytest.mark.parametrize("suffix", [".tsv", ".json", ".arrow", ".xlsx"])
def test_a_file_of_another_format_is_refused_with_the_formats(
    suffix: str, places: EntitySchema, tmp_path: Path
) -> None:
    (tmp_path / f"a{suffix}").write_bytes(csv_bytes())
    with pytest.raises(DataError, match=r"must end in .*\.parquet, \.csv, \.jsonl"):
        list(read_batches(tmp_path / f"a{suffix}", places))


INFINITE: dict[str, Callable[[Path, EntitySchema], Entities]] = {
    "CSV": lambda path, schema: _read(
        path / "a.csv", b"name,lat,lon\na,1,2\nb,inf,2\nc,,\n", schema
    ),
    "JSON Lines": lambda path, schema: _read(
        path / "a.jsonl",
        b'{"name": "a", "lat": "1", "lon": 2}\n'
        b'{"name": "b", "lat": Infinity, "lon": 2}\n{"name": "c"}\n',
        schema,
    ),
    "GeoJSON": lambda path, schema: _read(
        path / "a.geojsonl",
        b"".join(
            b'{"type": "Feature", "geometry": null, "properties": {"name": "%b"}}\n' % name
            if position is None
            else b'{"type": "Feature", "properties": {"name": "%b", "lat": %b, "lon": "2"}}\n'
            % (name, position)
            for name, position in ((b"a", b"1"), (b"b", b"-Infinity"), (b"c", None))
        ),
        schema,
    ),
    "pandas": lambda path, schema: from_frame(_infinite(), schema),
    "records": lambda path, schema: from_records(_infinite().to_dict("records"), schema),
    "Arrow": lambda path, schema: from_table(pa.Table.from_pandas(_infinite()), schema),
    "Polars": lambda path, schema: from_table(pa.table(pl.from_pandas(_infinite())), schema),
}


def _infinite() -> pd.DataFrame:
    return pd.DataFrame(
        {"name": ["a", "b", "c"], "lat": [1, math.inf, math.nan], "lon": [2, 2, math.nan]}
    )


def _read(path: Path, content: bytes, schema: EntitySchema) -> Entities:
    path.write_bytes(content)
    (batch,) = read_batches(path, schema)
    return batch.entities


@pytest.mark.parametrize("source", INFINITE)
def test_infinity_is_the_error_of_its_row_in_every_format(
    source: str, places: EntitySchema, tmp_path: Path
) -> None:
    found = INFINITE[source](tmp_path, places)
    assert found.rejected == {1: "lat: must be finite"}
    assert found.table["name"].to_pylist() == ["a", None, "c"]
    assert found.table["lat"].to_pylist() == [1, None, None]


# The doors of the service and of the command line.


@pytest.fixture
def expected(entities: Entities, client: httpx.Client) -> list[Json]:
    """The results that every door must give: those of clean records at `/v1/labels`."""
    records = [
        {k: v for k, v in row.items() if v is not None} for row in entities.table.to_pylist()
    ]
    tags = [record["tags"] for record in RECORDS]
    clean = [r if t is None else r | {"tags": t} for r, t in zip(records, tags, strict=True)]
    results: list[Json] = client.post("/v1/labels", json={"entities": clean}).json()["results"]
    assert all("labels" in result for result in results)
    return results


def agree(found: Sequence[Json], expected: Sequence[Json]) -> None:
    assert [result["id"] for result in found] == [result["id"] for result in expected]
    for one, other in zip(found, expected, strict=True):
        assert [label["label"] for label in one["labels"]] == [
            label["label"] for label in other["labels"]
        ]
        assert [label["probability"] for label in one["labels"]] == pytest.approx(
            [label["probability"] for label in other["labels"]], abs=1e-6
        )


def records_with_nan() -> list[Json]:
    return [json.loads(line) for line in json_lines().splitlines()]


def test_json_doors_give_the_same_results(client: httpx.Client, expected: list[Json]) -> None:
    records = records_with_nan()
    columns = [*records[0]]
    split = {"columns": columns, "data": [[*record.values()] for record in records]}
    bodies: dict[str, list[Json]] = {
        "/v1/labels": [{"entities": records}],
        "/v1/review": [{"entities": records, "top_k": 5}],
        "/invocations": [
            {"dataframe_records": records},
            {"dataframe_split": split},
            {"instances": records},
            {"inputs": {name: [record[name] for record in records] for name in columns}},
        ],
    }
    for path, given in bodies.items():
        for body in given:
            response = client.post(path, content=json.dumps(body)).json()
            agree(response.get("results") or response["predictions"], expected)


def test_doors_for_tables_give_the_same_results(client: httpx.Client, expected: list[Json]) -> None:
    for content, kind in (
        (csv_bytes(), "text/csv"),
        (parquet_bytes(table()), "application/vnd.apache.parquet"),
        (FILES["polars.parquet"](), "application/vnd.apache.parquet"),
    ):
        response = client.post("/invocations", content=content, headers={"Content-Type": kind})
        agree(response.json()["predictions"], expected)


def test_streams_give_the_same_results(client: httpx.Client, expected: list[Json]) -> None:
    headers = {"Content-Type": "application/x-ndjson"}
    for name in ("rows.jsonl", "rows.ndjson", "polars.ndjson"):
        response = client.post("/v1/labels", content=FILES[name](), headers=headers)
        agree([*map(json.loads, response.text.splitlines())], expected)
    headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
    for given in (table(), pa.table(polars_frame()), from_duckdb()):
        sink = io.BytesIO()
        with pa.ipc.new_stream(sink, given.schema) as writer:
            writer.write_table(given)
        response = client.post("/v1/labels", content=sink.getvalue(), headers=headers)
        agree(pa.ipc.open_stream(response.content).read_all().to_pylist(), expected)


@pytest.mark.parametrize("binary", [False, True])
def test_the_open_inference_protocol_gives_the_same_results(
    client: httpx.Client, expected: list[Json], binary: bool
) -> None:
    tensors: list[Json] = []
    packed = b""
    for name, values in ((name, [cell(value) for value in column(name)]) for name in COLUMNS):
        numeric = name in ("lat", "lon")
        if not numeric:
            values = [v if v is None or isinstance(v, str) else str(int(v)) for v in values]
        tensor = {"name": name, "shape": [ROWS], "datatype": "FP64" if numeric else "BYTES"}
        if not binary:
            tensors.append({**tensor, "data": [math.nan if v is None else v for v in values]})
            continue
        if numeric:
            content = np.array([math.nan if v is None else v for v in values]).tobytes()
        else:
            texts = [(v or "").encode() for v in values]
            content = b"".join(len(text).to_bytes(4, "little") + text for text in texts)
        packed += content
        tensors.append({**tensor, "parameters": {"binary_data_size": len(content)}})
    head = json.dumps({"inputs": tensors}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    response = client.post("/v2/models/small/infer", content=head + packed, headers=headers)
    found = [*map(json.loads, response.json()["outputs"][0]["data"])]
    if binary:  # an empty text is an id, not a missing one
        found[4] = {**found[4], "id": "row-4"}
    agree(found, expected)


def test_the_python_client_gives_the_same_results(service: Service, expected: list[Json]) -> None:
    client = labelwright.Client(service.url)
    for records in (records_with_nan(), numpy_records(), table().to_pandas().to_dict("records")):
        agree([*client.label_rows(records)], expected)
    for given in (table(), table().to_pandas(), polars_frame(), from_duckdb()):
        agree(client.label(given).to_pylist(), expected)
    batches = client.label_batches(table().to_batches(max_chunksize=3))
    agree([row for batch in batches for row in batch.to_pylist()][:3], expected[:3])


def test_the_python_api_gives_the_same_results(
    trained_world: "World", expected: list[Json]
) -> None:
    model = labelwright.load(trained_world.uri)
    with duckdb.connect() as connection:
        connection.register("rows", table())
        for given in (
            *(table(), table().to_pandas(), numpy_records(), polars_frame()),
            *(table().to_batches()[0], table().to_reader(), connection.sql("SELECT * FROM rows")),
        ):
            agree(model.label(given).to_pylist(), expected)


@pytest.mark.filterwarnings("ignore::UserWarning:mlflow")
def test_pyfunc_gives_the_same_results(
    trained_world: "World", expected: list[Json], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{trained_world.home / 'mlflow.db'}")
    load_model(trained_world.uri)  # points MLflow at this world
    model = mlflow.pyfunc.load_model(trained_world.uri)
    frame = cells()
    for name in ("id", "postcode", "phone"):  # the signature of the model has text here
        frame[name] = [None if math.isnan(v) else str(int(v)) for v in frame[name]]
    tags = [t and {"cuisine": "pizza;pasta", "capacity": "4"} for t in column("tags")]
    frame["tags"] = pd.Series(tags, dtype=object)
    agree(model.predict(frame).to_dict("records"), expected)


def test_the_command_line_gives_the_same_results(
    command: Command, trained_world: "World", expected: list[Json], tmp_path: Path
) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content())
        output = tmp_path / "out.jsonl"
        assert command("label", tmp_path / name, output, "--model", trained_world.uri).code == 0
        agree([*map(json.loads, output.read_text("utf-8").splitlines())], expected)
    entity = json.dumps(records_with_nan()[0])
    printed = command("explain", "--entity", entity, "--model", trained_world.uri, "--json")
    agree(json.loads(printed.out.splitlines()[-1])["results"], expected[:1])
