"""Open-world labels: pairs with unknown truth are neither trained on nor evaluated."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from labelwright.entities.schema import EntitySchema, load_schema
from labelwright.entities.tables import from_records
from labelwright.models.decisions import LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.labels import label_set
from labelwright.training.data import LabelledEntities, read_labelled
from labelwright.training.evaluation.evaluate import evaluate_labeler, label_with_truth
from labelwright.training.fitting.fit import Configuration, fit_labeler

ROWS = 1_200
KNOWN = 0.1
QUICK = Configuration(trees=20, threads=1)


@pytest.fixture(scope="module")
def schema() -> EntitySchema:
    return dataclasses.replace(load_schema("text"), open_world=("step",))


@pytest.fixture(scope="module")
def data(schema: EntitySchema) -> LabelledEntities:
    """Rows of which a tenth has a label `step`; three quarters of these labels are `step=yes`."""
    random = np.random.default_rng(0)
    words = [f"{kind} {random.integers(300)}" for kind in random.choice(["cafe", "shop"], ROWS)]
    known, step = random.random(ROWS) < KNOWN, random.random(ROWS) < 0.75
    labels = [
        [text.split()[0], *([f"step={'yes' if s else 'no'}"] if t else [])]
        for text, t, s in zip(words, known, step, strict=True)
    ]
    entities = from_records([{"text": text} for text in words], schema)
    return LabelledEntities(entities, pa.array(labels, pa.list_(pa.string())))


def mean_probability(labeler: Labeler, data: LabelledEntities) -> float:
    predictions = labeler.label(data.entities, LabelQuery(only=("step=yes",)))
    return float(predictions.probabilities.mean())


def test_probabilities_follow_the_rows_with_known_labels(
    data: LabelledEntities, schema: EntitySchema
) -> None:
    aware = fit_labeler(data, QUICK)
    closed = dataclasses.replace(data.entities, schema=load_schema("text"))
    unaware = fit_labeler(dataclasses.replace(data, entities=closed), QUICK)
    assert mean_probability(aware, data) == pytest.approx(0.75, abs=0.1)
    assert mean_probability(unaware, data) == pytest.approx(0.75 * KNOWN, abs=0.05)
    assert aware.reranker.rate[aware.labels.names.index("step=yes")] > 0.6


def test_unknown_pairs_are_not_evaluated(data: LabelledEntities) -> None:
    labeler = fit_labeler(data, QUICK)
    predictions, _ = label_with_truth(labeler, data, LabelQuery(), 1)
    rows = predictions.rows()
    steps = np.char.startswith(np.array(predictions.labels.names)[predictions.ids], "step=")
    known = np.array(
        [any(n.startswith("step=") for n in names) for names in data.labels.to_pylist()]
    )
    assert (known[rows[steps]]).all()
    assert steps.sum() == 2 * known.sum()
    per_label = evaluate_labeler(labeler, data, LabelQuery(), 1).per_label
    asserted = dict(
        zip(per_label["label"].to_pylist(), per_label["asserted"].to_pylist(), strict=True)
    )
    assert asserted["step=yes"] <= known.sum()


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_labels_listed_as_absent_are_known(schema: EntitySchema, tmp_path: Path, form: str) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "a", "labels": ["step=yes"], "absent": []},
        {"text": "b", "labels": ["x"], "absent": ["step=yes"]},
        {"text": "c", "labels": ["x", "step=no"], "absent": None},
        {"text": "d", "labels": ["x"], "absent": None},
        {"text": "e", "labels": [], "absent": ["step=yes", "x"]},
    ]
    file = tmp_path / f"rows.{form}"
    table = pa.Table.from_pylist(rows)
    if form == "parquet":
        pq.write_table(table, file)
    elif form == "jsonl":
        table.to_pandas().to_json(file, orient="records", lines=True)
    else:
        joined = [
            {k: "|".join(v) or "[]" if isinstance(v, list) else v for k, v in r.items()}
            for r in rows
        ]
        pyarrow.csv.write_csv(pa.Table.from_pylist(joined), file)
    data = read_labelled([file], schema)
    assert not data.warnings
    labels = label_set(data.labels)
    matrix = data.matrix(labels)
    yes, no = (labels.names.index(f"step={value}") for value in ("yes", "no"))
    every = np.arange(5)
    assert matrix.known(every, np.full(5, yes, np.int32)).tolist() == [
        True,
        True,
        True,
        False,
        True,
    ]
    assert matrix.known(every, np.full(5, no, np.int32)).tolist() == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert matrix.known(every, np.full(5, labels.names.index("x"), np.int32)).all()
    assert data.fingerprint != dataclasses.replace(data, absent=None).fingerprint
    assert data.take(np.array([1, 4])).matrix(labels).all_known().tolist() == [
        [False, True, True],
        [False, True, True],
    ]
