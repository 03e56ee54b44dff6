"""`labelwright evaluate` and `labelwright label`: metrics and output files."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tests.labelwright.commands.files import ROWS, write_csv, write_jsonl
from tests.labelwright.commands.summaries import last_line
from tests.processes import Command

pytest_plugins = ["tests.worlds"]

PREDICTIONS = pa.schema(
    [
        pa.field("id", pa.string()),
        pa.field(
            "labels",
            pa.list_(
                pa.struct(
                    [
                        pa.field("label", pa.string()),
                        pa.field("probability", pa.float32()),
                        pa.field("asserted", pa.bool_()),
                    ]
                )
            ),
        ),
        pa.field(
            "primary",
            pa.struct(
                [
                    pa.field("label", pa.string()),
                    pa.field("probability", pa.float32()),
                    pa.field("asserted", pa.bool_()),
                ]
            ),
        ),
    ]
)
"""The documented schema of an output file."""


def test_evaluate_prints_the_metrics_as_json(command: Command, data: Path, bundle: Path) -> None:
    completed = command("evaluate", "--data", data, "--model", bundle, "--json")
    assert completed.code == 0
    metrics = last_line(completed.out)
    assert {"p_at_1", "p_at_3", "p_at_5", "micro_f1", "macro_f1", "ece"} <= set(metrics)
    assert metrics["rows"] == ROWS
    assert 50 < metrics["p_at_1"] <= 100  # these rows were learned from
    assert metrics["p_at_1"] > metrics["p_at_3"] > metrics["p_at_5"] > 0
    assert 0 < metrics["macro_f1"] <= 1
    assert 0 < metrics["micro_f1"] <= 1
    assert 0 <= metrics["ece"] < 1


def test_an_evaluation_does_not_depend_on_the_file_format(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    some = rows.slice(0, 20)
    field = some.schema.field("labels")
    without = rows.slice(20, 2).set_column(
        some.column_names.index("labels"), field, pa.array([[], []], field.type)
    )
    some = pa.concat_tables([some, without])
    pq.write_table(some, tmp_path / "some.parquet")
    files = (tmp_path / "some.parquet", write_csv(some, tmp_path / "some.csv"))
    metrics = [
        last_line(command("evaluate", "--data", file, "--model", bundle, "--json").out)
        for file in files
    ]
    margins = [part.pop("margins") for part in metrics]
    assert metrics[0] == pytest.approx(metrics[1])
    assert margins[0] == pytest.approx(margins[1])
    assert 0 < margins[0]["p_at_1"] < 100


def test_the_warning_for_an_unknown_column_names_the_closest_one(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    source = tmp_path / "typo.parquet"
    names = ["websit" if name == "website" else name for name in rows.column_names]
    pq.write_table(rows.rename_columns(names), source)
    warning = "column 'websit' is not in schema 'places'; did you mean 'website'?"
    for arguments in (("evaluate", "--data", source), ("label", source, tmp_path / "out.csv")):
        completed = command(*arguments, "--model", bundle)
        assert completed.code == 0
        assert f"labelwright: warning: {warning}\n" in completed.err


def read_output(path: Path) -> list[dict[str, Any]]:
    """The rows of an output file in any format."""
    if path.suffix == ".parquet":
        found: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        return found
    if path.suffix == ".csv":
        text = pyarrow.csv.ConvertOptions(
            column_types={"id": pa.string(), "labels": pa.string()}, strings_can_be_null=True
        )
        cells = pyarrow.csv.read_csv(path, convert_options=text).to_pylist()
        return [row | {"labels": row["labels"] and json.loads(row["labels"])} for row in cells]
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("ending", ["parquet", "csv", "jsonl"])
def test_every_row_has_labels_in_order_or_a_reason_for_its_rejection(
    command: Command, places_file: Path, bundle: Path, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"labelled.{ending}"
    completed = command("label", places_file, output, "--model", bundle)
    assert completed.code == 0
    assert completed.err == f"50 rows, 1 of them rejected -> {output}\n"
    given = pq.read_table(places_file)["id"].to_pylist()
    predictions = read_output(output)
    assert [result["id"] for result in predictions] == given
    assert [row for row, result in enumerate(predictions) if result["labels"] is None] == [3]
    for result in predictions[:3] + predictions[4:]:
        probabilities = [label["probability"] for label in result["labels"]]
        assert len(probabilities) >= 5
        assert probabilities == sorted(probabilities, reverse=True)
    (reject,) = read_output(tmp_path / f"labelled.{ending}.rejects.jsonl")
    assert reject == {"row": 3, "id": given[3], "reason": "lat: must lie between -90 and 90"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        output.name,
        f"{output.name}.rejects.jsonl",
    ]


def test_parquet_output_has_the_documented_schema(
    command: Command, places_file: Path, bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "labelled.parquet"
    assert command("label", places_file, output, "--model", bundle, "--top-k", 2).code == 0
    assert pq.read_schema(output).equals(PREDICTIONS)
    counts = [len(row["labels"]) for row in read_output(output) if row["labels"]]
    assert min(counts) == 2
    for row in read_output(output):
        assert all(label["asserted"] for label in (row["labels"] or [])[2:])


def test_rejected_rows_of_an_earlier_run_are_removed(
    command: Command, places_file: Path, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "labelled.csv"
    assert command("label", places_file, output, "--model", bundle).code == 0
    pq.write_table(rows, tmp_path / "good.parquet")
    assert command("label", tmp_path / "good.parquet", output, "--model", bundle).code == 0
    assert len(read_output(output)) == ROWS
    assert not list(tmp_path.glob("*.rejects.jsonl"))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", *(e for e in ("jsonl", "jsonl.gz"))])
def test_text_files_get_the_same_labels_as_parquet(
    command: Command, rows: pa.Table, data: Path, bundle: Path, tmp_path: Path, ending: str
) -> None:
    plain = tmp_path / f"plain.{ending.removesuffix('.gz')}"
    (write_csv if "csv" in ending else write_jsonl)(rows, plain)
    source = tmp_path / f"source.{ending}"
    with pa.output_stream(str(source), compression="detect") as stream:
        stream.write(plain.read_bytes())
    for number, file in enumerate((data, source)):
        assert command("label", file, tmp_path / f"{number}.jsonl", "--model", bundle).code == 0
    assert (tmp_path / "0.jsonl").read_bytes() == (tmp_path / "1.jsonl").read_bytes()
