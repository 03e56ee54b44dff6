"""`labelwright evaluate` and `labelwright label`: metrics and files of answers."""

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
    ]
)
"""What the documentation promises of a file of answers."""


def test_the_last_line_of_an_evaluation_holds_the_metrics(
    command: Command, data: Path, bundle: Path
) -> None:
    said = command("evaluate", "--data", data, "--model", bundle, "--json")
    assert said.code == 0
    metrics = last_line(said.out)
    assert {"p_at_1", "p_at_3", "p_at_5", "micro_f1", "macro_f1", "ece"} <= set(metrics)
    assert metrics["rows"] == ROWS
    assert 50 < metrics["p_at_1"] <= 100  # these rows were learned from
    assert metrics["p_at_1"] > metrics["p_at_3"] > metrics["p_at_5"] > 0
    assert 0 < metrics["macro_f1"] <= 1
    assert 0 < metrics["micro_f1"] <= 1
    assert 0 <= metrics["ece"] < 1


def test_an_evaluation_does_not_depend_on_the_format_of_the_file(
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
    assert metrics[0] == pytest.approx(metrics[1])


def test_a_column_that_is_not_in_the_schema_is_named_with_the_closest_that_is(
    command: Command, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    source = tmp_path / "typo.parquet"
    names = ["websit" if name == "website" else name for name in rows.column_names]
    pq.write_table(rows.rename_columns(names), source)
    warning = "column 'websit' is not in schema 'places'; did you mean 'website'?"
    for arguments in (("evaluate", "--data", source), ("label", source, tmp_path / "out.csv")):
        said = command(*arguments, "--model", bundle)
        assert said.code == 0
        assert f"labelwright: warning: {warning}\n" in said.err


def read_answers(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of answers, whatever its format."""
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
def test_every_row_gets_its_labels_in_order_and_rejects_their_reason(
    command: Command, places_file: Path, bundle: Path, tmp_path: Path, ending: str
) -> None:
    output = tmp_path / f"answers.{ending}"
    said = command("label", places_file, output, "--model", bundle)
    assert said.code == 0
    assert said.err == f"50 rows, 1 of them rejected -> {output}\n"
    given = pq.read_table(places_file)["id"].to_pylist()
    predictions = read_answers(output)
    assert [answer["id"] for answer in predictions] == given
    assert [row for row, answer in enumerate(predictions) if answer["labels"] is None] == [3]
    for answer in predictions[:3] + predictions[4:]:
        probabilities = [label["probability"] for label in answer["labels"]]
        assert len(probabilities) >= 5
        assert probabilities == sorted(probabilities, reverse=True)
    (reject,) = read_answers(tmp_path / f"answers.{ending}.rejects.jsonl")
    assert reject == {"row": 3, "id": given[3], "reason": "lat: must lie between -90 and 90"}
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        output.name,
        f"{output.name}.rejects.jsonl",
    ]


def test_answers_in_parquet_have_exactly_the_promised_schema(
    command: Command, places_file: Path, bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers.parquet"
    assert command("label", places_file, output, "--model", bundle, "--top-k", 2).code == 0
    assert pq.read_schema(output).equals(PREDICTIONS)
    counts = [len(row["labels"]) for row in read_answers(output) if row["labels"]]
    assert min(counts) == 2
    for row in read_answers(output):
        assert all(label["asserted"] for label in (row["labels"] or [])[2:])


def test_rejects_of_an_earlier_run_do_not_stay(
    command: Command, places_file: Path, rows: pa.Table, bundle: Path, tmp_path: Path
) -> None:
    output = tmp_path / "answers.csv"
    assert command("label", places_file, output, "--model", bundle).code == 0
    pq.write_table(rows, tmp_path / "good.parquet")
    assert command("label", tmp_path / "good.parquet", output, "--model", bundle).code == 0
    assert len(read_answers(output)) == ROWS
    assert not list(tmp_path.glob("*.rejects.jsonl"))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", *(e for e in ("jsonl", "jsonl.gz"))])
def test_text_files_are_labelled_as_parquet_is(
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
