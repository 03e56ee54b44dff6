"""`labelwright train` with rows without labels and a sentence encoder."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from labelwright.models.paths import tracking_uri
from labelwright.models.registry import load_model
from labelwright.training.teachers.cache import cache_folder
from tests.labelwright.commands.summaries import registered, train
from tests.processes import Command
from tests.training.teachers.encoders import write_encoder

pytest_plugins = ["tests.worlds"]

KINDS = ("cafe", "museum", "park", "school")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def table(labelled: int, unlabelled: int = 0) -> pa.Table:
    """Rows with a text and one label; the labels of the last rows are null."""
    kinds = [KINDS[row % 4] for row in range(labelled + unlabelled)]
    labels = [[kind] if row < labelled else None for row, kind in enumerate(kinds)]
    return pa.table(
        {
            "id": [str(row) for row in range(len(kinds))],
            "text": [f"{kind} number {row}" for row, kind in enumerate(kinds)],
            "labels": pa.array(labels, pa.list_(pa.string())),
        }
    )


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with 80 labelled and 40 unlabelled rows."""
    path = tmp_path_factory.mktemp("mixed") / "mixed.parquet"
    pq.write_table(table(80, 40), path)
    return path


@pytest.fixture(scope="module")
def more(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV file with 30 rows, without a column of labels."""
    path = tmp_path_factory.mktemp("more") / "more.csv"
    path.write_text("text\n" + "".join(f"{KINDS[row % 4]} of {row}\n" for row in range(30)))
    return path


def content(summary: dict[str, str]) -> str:
    return load_model(summary["model_uri"]).bundle.manifest.content


@pytest.mark.usefixtures("empty_world")
def test_rows_without_labels_of_both_options_are_taught(
    command: Command, mixed: Path, more: Path, encoder: Path
) -> None:
    base = ("--data", mixed, "--schema", "text", "--name", "kinds", "--encoder", encoder)
    summary = train(command, *base, "--unlabelled", more)
    run = MlflowClient(tracking_uri(), tracking_uri()).get_run(summary["run_id"])
    assert run.data.params["unlabelled_rows"] == "70"
    assert run.data.params["encoder"] == str(encoder)
    assert any(cache_folder().iterdir())  # the vectors are kept for the next training
    again = train(command, *base, "--unlabelled", more, "--threads", 2)
    assert content(again) == content(summary)
    fewer = train(command, *base)
    assert content(fewer) != content(summary)


@pytest.mark.usefixtures("empty_world")
def test_without_an_encoder_rows_without_labels_are_left_out_with_a_warning(
    command: Command, mixed: Path, more: Path
) -> None:
    base = ("train", "--data", mixed, "--schema", "text", "--name", "kinds", "--threads", 1)
    with_rows = command(*base, "--unlabelled", more)
    assert with_rows.code == 0, with_rows.err
    assert "name a sentence encoder with --encoder" in with_rows.err
    assert "40 rows left out: their labels are null" in with_rows.err
    without_rows = command(*base)
    contents = {
        load_model(f"models:/kinds/{version}").bundle.manifest.content for version in (1, 2)
    }
    assert without_rows.code == 0
    assert len(contents) == 1


@pytest.mark.usefixtures("empty_world")
def test_an_encoder_without_rows_to_teach_with_is_an_error(
    command: Command, tmp_path: Path, encoder: Path
) -> None:
    data = tmp_path / "data.parquet"
    pq.write_table(table(80), data)
    result = command("train", "--data", data, "--schema", "text", "--encoder", encoder)
    assert (result.code, result.err.count("\n")) == (3, 1)
    assert "no rows without labels" in result.err
    assert "--unlabelled" in result.err
    assert not registered()


@pytest.mark.usefixtures("empty_world")
def test_a_schema_without_text_cannot_be_taught(
    command: Command, mixed: Path, encoder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "words.parquet"
    pq.write_table(pq.read_table(mixed), data)
    result = command("train", "--data", data, "--schema", "words", "--encoder", encoder)
    assert result.code == 3
    assert "no column of the kind text" in result.err


@pytest.mark.usefixtures("empty_world")
def test_a_folder_without_a_tokenizer_is_an_error(
    command: Command, mixed: Path, tmp_path: Path, encoder: Path
) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    (folder / "model.onnx").write_bytes((encoder / "model.onnx").read_bytes())
    result = command("train", "--data", mixed, "--schema", "text", "--encoder", folder)
    assert (result.code, result.err.count("\n")) == (3, 1)
    assert "--encoder-tokenizer" in result.err


@pytest.mark.usefixtures("empty_world")
def test_retrain_skips_equal_inputs_and_trains_on_more_rows_without_labels(
    command: Command, mixed: Path, more: Path, encoder: Path
) -> None:
    base = ("retrain", "--data", mixed, "--schema", "text", "--name", "kinds", "--threads", 1)
    first = command(*base, "--encoder", encoder)
    assert "model " in first.out, first.err
    assert "nothing has changed" in command(*base, "--encoder", encoder).out
    assert "model " in command(*base, "--encoder", encoder, "--unlabelled", more).out
