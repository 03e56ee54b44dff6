"""Reports: their figures agree with the evaluation; unusual models have reports."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from labelwright.entities.errors import StorageError
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_table
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.labels import label_matrix
from labelwright.training.data import LabelledEntities, split
from labelwright.training.evaluation.metrics import evaluate
from labelwright.training.evaluation.slices import RARE
from labelwright.training.fitting.fit import Configuration, fit_labeler
from labelwright.training.reporting.contents import TrainedModel
from labelwright.training.reporting.description import MAX_LENGTH, describe
from labelwright.training.reporting.report import write_report
from labelwright.training.tracking.gate import Verdict

FILES = ("mistakes.csv", "model_card.md", "per_label.csv", "plots", "promises.csv", "slices.csv")
SMALL = Configuration(candidates=3, trees=5, folds=2)


def trained_model(
    labeler: Labeler, train: LabelledEntities, test: LabelledEntities, name: str = "small"
) -> TrainedModel:
    """A trained model as the training job passes it to the report."""
    predictions = labeler.label(test.entities, LabelQuery())
    evaluation = evaluate(predictions, label_matrix(test.labels, labeler.labels))
    return TrainedModel(
        name,
        "1.2.3",
        labeler,
        train,
        test,
        predictions,
        evaluation,
        Configuration(),
        train.warnings,
    )


@pytest.fixture(scope="module")
def trained(labeler: Labeler, brands: Entities, brand_labels: pa.ListArray) -> TrainedModel:
    return trained_model(labeler, *split(LabelledEntities(brands, brand_labels)))


@pytest.fixture(scope="module")
def report(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    write_report(folder, trained)
    return folder


@pytest.fixture(scope="module")
def card(report: Path) -> str:
    return (report / "model_card.md").read_text("utf-8")


def cells(card: str, first: str) -> list[str]:
    """The cells of the table row with this first cell; there must be exactly one such row."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in card.splitlines() if line[:1] == "|"]
    (found,) = [[cell.strip() for cell in row] for row in rows if row[0].strip() == first]
    return found


def test_all_files_are_written(report: Path) -> None:
    assert sorted(file.name for file in report.iterdir()) == sorted(FILES)
    assert len(list((report / "plots").glob("*.png"))) == 4


def test_reports_are_reproducible(report: Path, trained: TrainedModel, tmp_path: Path) -> None:
    write_report(tmp_path, trained)
    for file in report.rglob("*.*"):
        assert (tmp_path / file.relative_to(report)).read_bytes() == file.read_bytes(), file.name


def test_the_card_has_the_metrics_of_the_evaluation(card: str, trained: TrainedModel) -> None:
    metrics = trained.evaluation.metrics
    assert cells(card, "P@1")[1] == f"{metrics.p_at_1:.2f}%"
    assert cells(card, "P@3")[1] == f"{metrics.p_at_3:.2f}%"
    assert cells(card, "P@5")[1] == f"{metrics.p_at_5:.2f}%"
    assert cells(card, "micro-F1")[1] == f"{metrics.micro_f1:.4f}"
    assert cells(card, "macro-F1")[1] == f"{metrics.macro_f1:.4f}"
    assert cells(card, "ECE")[1] == f"{metrics.ece:.4f}"
    assert f"{100 * metrics.ece:.2f} percentage points" in card
    precision, recall = (float(cells(card, m)[1].rstrip("%")) for m in ("precision", "recall"))
    assert 2 * precision * recall / (precision + recall) == pytest.approx(
        100 * metrics.micro_f1, abs=0.02
    )


def test_the_card_describes_the_training_data(card: str, trained: TrainedModel) -> None:
    train = trained.train
    assert cells(card, "Rows")[1] == f"{len(train):,}"
    assert cells(card, "Labels")[1] == f"{len(trained.labeler.labels):,}"
    assert cells(card, "Data fingerprint")[1] == f"`{train.fingerprint}`"
    assert f"`{trained.test.fingerprint}`" in card
    assert cells(card, "`name`")[1:] == ["text", "100.0%", "100.0%"]
    websites = train.entities.column("website")
    assert websites is not None
    assert cells(card, "`website`")[2] == f"{1 - websites.null_count / len(train):.1%}"
    assert cells(card, "`trees`")[1] == "100"
    assert "labelwright 1.2.3" in card


def test_label_frequencies_are_counted_in_the_training_rows(trained: TrainedModel) -> None:
    expected = label_matrix(trained.train.labels, trained.labeler.labels).counts()
    assert trained.frequency.tolist() == expected.tolist()


def test_the_limits_agree_with_the_figures(card: str, trained: TrainedModel) -> None:
    labels = len(trained.frequency)
    rare = int((trained.frequency < RARE).sum())
    assert f"{rare:,} of {labels:,} have fewer than {RARE} training rows" in card
    assert "Columns without a value in any training row have no effect: `address`, `city`" in card
    assert "`name`" not in card.split("Columns without a value")[1].splitlines()[0]
    unknown = int(trained.truth.foreign.sum())
    assert f" {unknown:,} of {unknown + len(trained.truth.present.ids):,} true labels" in card
    predictions = trained.predictions
    asserted = np.add.reduceat(predictions.asserted, predictions.indptr[:-1])
    assert f"On {(asserted == 0).sum():,} test rows" in card
    assert "None of them has the same `name` as a training row." in card


def test_columns_without_a_value_in_any_test_row_are_listed(
    trained: TrainedModel, tmp_path: Path
) -> None:
    table = trained.test.entities.table.drop_columns(["website"])
    entities = Entities(trained.test.entities.schema, table)
    test = LabelledEntities(entities, trained.test.labels)
    write_report(tmp_path, trained_model(trained.labeler, trained.train, test))
    card = (tmp_path / "model_card.md").read_text("utf-8")
    assert "Columns without a value in any test row were not measured: `website`.\n" in card


def test_test_rows_with_the_name_of_a_training_row_are_counted(
    trained: TrainedModel, tmp_path: Path
) -> None:
    test = trained.train.take(np.arange(30))
    twice = dataclasses.replace(
        trained_model(trained.labeler, trained.train, test), test_files=["a|b.parquet"]
    )
    write_report(tmp_path, twice)
    card = (tmp_path / "model_card.md").read_text("utf-8")
    assert "30 of them (100.0%) have the same `name` as a training row" in card
    assert "were read from separate files: `a|b.parquet`" in card


def test_the_tables_agree_with_the_evaluation(report: Path, trained: TrainedModel) -> None:
    slices = pyarrow.csv.read_csv(report / "slices.csv")
    assert slices["slice"][0].as_py() == "all"
    assert slices["micro_f1"][0].as_py() == pytest.approx(trained.evaluation.metrics.micro_f1)
    assert slices["rows"][0].as_py() == len(trained.test)
    per_label = pyarrow.csv.read_csv(report / "per_label.csv")
    expected = trained.evaluation.per_label
    assert per_label["label"].to_pylist() == expected["label"].to_pylist()
    assert per_label["training_rows"].to_pylist() == trained.frequency.tolist()
    for name in ("entities", "asserted", "correct"):
        assert per_label[name].to_pylist() == expected[name].to_pylist()
    mistakes = pyarrow.csv.read_csv(report / "mistakes.csv")
    assert mistakes.column_names == ["id", "entity", "kind", "label", "probability"]
    assert set(mistakes["kind"].to_pylist()) == {"given too much", "missed"}


def test_the_card_lists_weak_slices_with_their_figures(
    trained: TrainedModel, tmp_path: Path
) -> None:
    """The slice is weak, because the rows of one country have the labels of other rows."""
    test = trained.train.take(np.arange(600))
    countries = pa.array(["XA"] * 450 + ["XB"] * 150)
    table = test.entities.table.set_column(
        test.entities.table.column_names.index("country"), "country", countries
    )
    labels = pa.concat_arrays([test.labels[:450], test.labels[:150]])
    moved = LabelledEntities(Entities(test.entities.schema, table), labels)
    write_report(tmp_path, trained_model(trained.labeler, trained.train, moved))
    slices = {line["slice"]: line for line in read(tmp_path / "slices.csv")}
    foreign = slices["country=XB"]
    assert foreign["difference"] == pytest.approx(foreign["micro_f1"] - slices["all"]["micro_f1"])
    text = (tmp_path / "model_card.md").read_text("utf-8").split("## Weak slices")[1]
    assert (
        f"- `country=XB`: micro-F1 {foreign['micro_f1']:.3f} ({foreign['micro_f1_low']:.3f} to "
        f"{foreign['micro_f1_high']:.3f}) on 150 rows, {-foreign['difference']:.3f} lower"
    ) in text
    assert "`country=XA`" not in text


def read(file: Path) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = pyarrow.csv.read_csv(file).to_pylist()
    return lines


def test_the_best_labels_come_before_the_worst(card: str, trained: TrainedModel) -> None:
    known = [line for line in trained.evaluation.per_label.to_pylist() if line["entities"] >= 20]
    section = card.split("## Best and worst labels")[1].split("## ")[0]
    assert f"{len(known):,} labels with at least 20 test rows" in section
    best = max(line["f1"] for line in known)
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    assert rows[0][-2].strip() == f"{best:.3f}"
    assert {row[1].strip(" `") for row in rows} <= {line["label"] for line in known}
    assert len({row[1] for row in rows}) == len(rows) == min(len(known), 20)


def test_the_card_names_all_files_of_the_report(report: Path, card: str) -> None:
    named = set(re.findall(r"`([\w/]+\.(?:csv|png))`", card))
    written = {str(file.relative_to(report)) for file in report.rglob("*.*")}
    assert named == written - {"model_card.md"}
    assert "](" not in card, "MLflow's UI resolves no relative links"
    assert not re.search(r"<\w", card)


def test_tables_are_well_formed(card: str) -> None:
    """Every row of a table has the same number of cells and the same width as its header."""
    for table in re.findall(r"(?:^\|.*\|\n)+", card, re.M):
        lines = table.splitlines()
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
        assert len({len(line) for line in lines}) == 1
        assert re.fullmatch(r"\|( -+[-:] \|)+", lines[1])


def tiny(
    places: EntitySchema, labels: list[list[str]], columns: dict[str, list[str | None]]
) -> TrainedModel:
    """A model that is trained and measured on the same few rows."""
    data = LabelledEntities(
        from_table(pa.table(columns), places), pa.array(labels, pa.list_(pa.string()))
    )
    labeler = fit_labeler(data, SMALL)
    return trained_model(labeler, data, data.take(np.arange(12)), "tiny")


def test_a_model_with_one_label_has_a_report(places: EntitySchema, tmp_path: Path) -> None:
    names = [f"Café {i}" if i % 2 else f"Bank {i}" for i in range(40)]
    trained = tiny(places, [["cafe"] if i % 2 else [] for i in range(40)], {"name": [*names]})
    write_report(tmp_path, trained)
    card = (tmp_path / "model_card.md").read_text("utf-8")
    assert "A linear stage scores all labels (1)" in card
    assert "No label has 20 test rows or more" in card
    assert "No slice of the test rows has 100 rows or more" in card


def test_rows_without_a_name_column_have_a_report(places: EntitySchema, tmp_path: Path) -> None:
    labels = [["a", "b"] if i % 2 else ["c"] for i in range(40)]
    cities: list[str | None] = ["Metz" if i % 2 else "Nancy" for i in range(40)]
    write_report(tmp_path, tiny(places, labels, {"city": cities}))
    card = (tmp_path / "model_card.md").read_text("utf-8")
    assert "`name` was not given" in card
    mistakes = pyarrow.csv.read_csv(tmp_path / "mistakes.csv")
    assert mistakes["entity"].null_count == len(mistakes)


def test_rows_whose_names_are_all_null_have_a_report(places: EntitySchema, tmp_path: Path) -> None:
    labels = [["a"] if i % 2 else ["c"] for i in range(40)]
    cities: list[str | None] = ["Metz" if i % 2 else "Nancy" for i in range(40)]
    write_report(tmp_path, tiny(places, labels, {"city": cities, "name": [None] * 40}))
    card = (tmp_path / "model_card.md").read_text("utf-8")
    assert "None of them has the same `name`" in card
    assert cells(card, "`name`")[2] == "0.0%"


def test_a_model_that_asserts_nothing_has_a_report(trained: TrainedModel, tmp_path: Path) -> None:
    predictions = dataclasses.replace(
        trained.predictions, asserted=np.zeros_like(trained.predictions.asserted)
    )
    evaluation = evaluate(predictions, trained.truth)
    asserts_nothing = dataclasses.replace(trained, predictions=predictions, evaluation=evaluation)
    write_report(tmp_path, asserts_nothing)
    card = (tmp_path / "model_card.md").read_text("utf-8")
    assert cells(card, "precision")[1] == "-"
    assert cells(card, "recall")[1] == "0.00%"
    assert f"On {len(trained.test):,} test rows (100.0%) it asserts no label." in card
    assert "No test row has both a wrongly asserted label and a missed one." in card


def test_markup_in_values_is_escaped(places: EntitySchema, tmp_path: Path) -> None:
    names = [f"Café {i}" if i % 2 else f"Bank {i}" for i in range(60)]
    values = ["a|b", "`code` <b>", "x" * 300]
    trained = tiny(places, [[values[i % 3]] for i in range(60)], {"name": [*names]})
    test = trained.train.take(np.arange(60))
    unusual = trained_model(trained.labeler, trained.train, test, "*tiny* <b>")
    write_report(tmp_path, dataclasses.replace(unusual, warnings=["column 'a_b|c' <i>\n# x"]))
    card = (tmp_path / "model_card.md").read_text("utf-8")
    test_tables_are_well_formed(card)
    assert card.startswith("# Model card: \\*tiny\\* \\<b\\>\n")
    assert "- column 'a\\_b\\|c' \\<i\\> \\# x" in card
    assert cells(card, "`a\\|b`")[1] == "20"
    assert "`'code' <b>`" in card
    assert "x" * 100 not in card


def test_the_description_agrees_with_the_card(
    trained: TrainedModel, card: str, tmp_path: Path
) -> None:
    tables = write_report(tmp_path, trained)
    refused = Verdict(False, "slice 'country=*' -7.00 points")
    text = describe(trained, tables, refused, "7", "abc")
    assert text.startswith("Not promoted: slice 'country=\\*' -7.00 points.\n")
    assert f"P@1 **{cells(card, 'P@1')[1]}**" in text
    limits = card.split("Known limits\n\n")[1].split("\n\n")[0]
    assert limits in text
    links = re.findall(r"\]\(#/experiments/7/runs/abc/artifacts/([^)]*)\)", text)
    written = {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.*")}
    assert set(links) == written


def test_a_description_never_exceeds_the_limit_of_mlflow(
    trained: TrainedModel, tmp_path: Path
) -> None:
    tables = write_report(tmp_path, trained)
    names = [f"country={letter * 3_000}" for letter in "abcdefghij"]
    line = tables.slices.slice(0, 1).to_pylist()[0] | {"micro_f1_high": 0.1, "difference": -0.3}
    lines = [line | {"slice": name, "micro_f1": 0.05} for name in names]
    more = pa.Table.from_pylist(lines, tables.slices.schema)
    weak = pa.concat_tables([tables.slices, more])
    long = Verdict(False, "*" * 9_000)
    text = describe(trained, dataclasses.replace(tables, slices=weak), long, "7", "a" * 32)
    assert len(text) <= MAX_LENGTH
    assert "### Quality" in text
    assert "a" * 100 not in text


def test_a_folder_that_cannot_be_written_is_an_error(trained: TrainedModel, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match="the report was not written"):
        write_report(tmp_path / "taken", trained)
