"""One category a row: the option `--label-column` of the commands, and of Python."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

import labelwright
from labelwright.entities.label_groups import LabelGroup, Role
from labelwright.models.paths import tracking_uri
from labelwright.models.registry import load_model
from tests.labelwright.bad_input.outcomes import refused
from tests.labelwright.commands.summaries import last_line, train
from tests.processes import Command

pytest_plugins = ["tests.worlds"]


@pytest.fixture(scope="module")
def categories(rows: pa.Table) -> pa.Table:
    """Rows with their first label as plain text in the column `category`, and no `labels`."""
    first = [labels[0] if labels else None for labels in rows["labels"].to_pylist()]
    return rows.drop_columns(["labels"]).append_column("category", pa.array(first))


@pytest.mark.usefixtures("empty_world")
def test_a_column_of_text_gives_the_same_model_in_every_format(
    command: Command, categories: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(categories, tmp_path / "rows.parquet")
    pyarrow.csv.write_csv(categories, tmp_path / "rows.csv")
    options = ("--label-column", "category", "--name", "same")
    models = [
        load_model(train(command, "--data", tmp_path / name, *options)["model_uri"]).bundle
        for name in ("rows.parquet", "rows.csv")
    ]
    assert len({model.manifest.content for model in models}) == 1
    assert set(models[0].labeler.labels.names) <= set(categories["category"].to_pylist())
    in_python = labelwright.train(
        tmp_path / "rows.parquet", name="same", label_column="category", threads=1
    )
    assert load_model(in_python.model_uri).bundle.manifest.content == models[0].manifest.content
    data = ("--data", tmp_path / "rows.csv", "--label-column", "category", "--json")
    evaluated = command("evaluate", "--model", "models:/same@champion", *data)
    assert evaluated.code == 0, evaluated.err
    assert last_line(evaluated.out)["rows"] == len(categories)


@pytest.mark.usefixtures("empty_world")
def test_messages_about_a_missing_column_of_labels_list_the_columns(
    command: Command, categories: pa.Table, tmp_path: Path
) -> None:
    source = tmp_path / "rows.parquet"
    pq.write_table(categories.select(["name", "category"]), source)
    listed = "it has 'name', 'category'"
    refused(command("train", "--data", source), 3, f"column to learn from; {listed}")
    refused(command("train", "--data", source), 3, "--label-column NAME")
    missing = ("train", "--data", source, "--label-column", "kind")
    refused(
        command(*missing), 3, f"--label-column: {source} has no column 'kind' of labels; {listed}"
    )
    unmapped = ("train", "--data", source, "--map", "name=title")
    refused(command(*unmapped), 3, f"--map: the data has no column 'title'; {listed}")
    twice = ("train", "--data", source, "--label-column", "a", "--map", "labels=b")
    refused(command(*twice), 3, "give only one")


def asserted_at_most_once(home: str, rows: pa.Table, policies: tuple[str, ...]) -> None:
    """Assert the laws of one exclusive group of all labels for several policies."""
    model = labelwright.load(home)
    for policy in policies:
        table = model.label(rows, top_k=1_000, policy=policy)
        for labels in table["labels"].to_pylist():
            assert sum(label["asserted"] for label in labels) <= 1
            assert sum(label["probability"] for label in labels) <= 1 + 1e-5


@pytest.mark.usefixtures("empty_world")
def test_exclusive_labels_are_asserted_at_most_once(
    command: Command, rows: pa.Table, categories: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(categories, tmp_path / "one.parquet")
    pq.write_table(rows, tmp_path / "several.parquet")
    options = ("--label-column", "category", "--name", "one", "--exclusive")
    one = train(command, "--data", tmp_path / "one.parquet", *options)
    schema = load_model(one["model_uri"]).bundle.labeler.schema
    (group,) = schema.groups.items()
    assert group == ("category", LabelGroup(("*",), exclusive=True, role=Role.KIND))
    asserted_at_most_once(one["model_uri"], categories, ("balanced", "broad", "precise"))
    assert one["metrics"]["accuracy"] == one["metrics"]["p_at_1_labelled"] / 100
    run = MlflowClient(tracking_uri(), tracking_uri()).get_run(one["run_id"])
    assert run.data.metrics["accuracy"] == one["metrics"]["accuracy"]
    assert run.data.params["exclusive_groups"] == run.data.params["kinds"] == "category"
    completed = command(
        "train", "--data", tmp_path / "several.parquet", "--name", "several", "--exclusive"
    )
    assert completed.code == 0
    several = [row for row, labels in enumerate(rows["labels"].to_pylist()) if len(labels) > 1]
    assert (
        f"{len(several)} rows have several labels of the exclusive group 'labels', for example row "
        f"{several[0]}; they are kept as they are"
    ) in completed.err
    in_python = labelwright.train(
        tmp_path / "one.parquet", name="one", label_column="category", exclusive=True, threads=1
    )
    contents = {
        load_model(uri).bundle.manifest.content for uri in (one["model_uri"], in_python.model_uri)
    }
    assert len(contents) == 1


@pytest.mark.usefixtures("empty_world")
def test_a_schema_whose_labels_imply_each_other_cannot_be_exclusive(
    command: Command, categories: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(categories, tmp_path / "rows.parquet")
    (tmp_path / "shops.toml").write_text(
        'name = "shops"\n[columns.name]\nkind = "text"\n[implies]\n"a" = ["b"]\n'
    )
    options = ("--schema", tmp_path / "shops.toml", "--label-column", "category", "--exclusive")
    refused(
        command("train", "--data", tmp_path / "rows.parquet", *options),
        3,
        "--exclusive does not fit the schema: .* 'a' implies 'b'",
    )
