"""Plots of a report: figures, files, and labels with unusual characters."""

import struct
from pathlib import Path

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery, Predictions
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix
from labelwright.training.data import LabelledEntities, split
from labelwright.training.evaluation.metrics import evaluate
from labelwright.training.evaluation.mistakes import confusions
from labelwright.training.reporting.plots import (
    RARE_COLOUR,
    curve,
    frequency_f1,
    precision_recall,
    reliability,
    write_plots,
)
from labelwright.training.reporting.plots import confusions as confusions_figure

NAMES = ("confusions", "frequency_f1", "precision_recall", "reliability")


@pytest.fixture(scope="module")
def test_rows(rows: LabelledEntities) -> LabelledEntities:
    return split(rows)[1]


@pytest.fixture(scope="module")
def rows(brands: Entities, brand_labels: pa.ListArray) -> LabelledEntities:
    return LabelledEntities(brands, brand_labels)


@pytest.fixture(scope="module")
def predictions(labeler: Labeler, test_rows: LabelledEntities) -> Predictions:
    return labeler.label(test_rows.entities, LabelQuery())


@pytest.fixture(scope="module")
def truth(labeler: Labeler, test_rows: LabelledEntities) -> LabelMatrix:
    return label_matrix(test_rows.labels, labeler.labels)


def per_label(predictions: Predictions, truth: LabelMatrix, frequency: list[int]) -> pa.Table:
    table = evaluate(predictions, truth).per_label
    return table.append_column("training_rows", pa.array(frequency, pa.int64()))


def texts(figure: Figure) -> str:
    """All texts of a figure, one on each line."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [axes.get_xlabel(), axes.get_ylabel(), *(t.get_text() for t in axes.texts)]
    for legend in figure.legends:
        found += [text.get_text() for text in legend.get_texts()]
    return "\n".join(found)


def check_picture(file: Path) -> npt.NDArray[np.float64]:
    """Check the size of a PNG, and that its edges are empty; returns its pixels."""
    content = file.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", content[16:24])
    assert 800 <= width <= 1_400
    assert 200 <= height <= 1_400
    assert len(content) < 1_000_000
    pixels = np.asarray(imread(file), np.float64)[..., :3]
    assert pixels.shape[:2] == (height, width)
    inked = pixels.min(axis=2) < 0.9
    assert 0.005 < inked.mean() < 0.6
    edge = np.concatenate([inked[0], inked[-1], inked[:, 0], inked[:, -1]])
    assert not edge.any()  # no text or line is cut off
    return pixels


def test_all_plots_of_a_model_are_written_and_reproducible(
    tmp_path: Path, predictions: Predictions, truth: LabelMatrix
) -> None:
    table = per_label(predictions, truth, [50 + i for i in range(len(predictions.labels))])
    confused = confusions(predictions, truth, 20)
    before = dict(mpl.rcParams)
    write_plots(tmp_path, predictions, truth, table, confused)
    assert sorted(file.stem for file in tmp_path.iterdir()) == sorted(NAMES)
    for file in tmp_path.iterdir():
        check_picture(file)
    assert dict(mpl.rcParams) == before
    first = {file: file.read_bytes() for file in tmp_path.iterdir()}
    write_plots(tmp_path, predictions, truth, table, confused)
    assert {file: file.read_bytes() for file in tmp_path.iterdir()} == first


def test_the_curve_has_a_point_for_each_threshold() -> None:
    probabilities = np.array([0.2, 0.9, 0.8, 0.8, 0.5], np.float32)
    correct = np.array([False, True, True, False, True])
    recall, precision = curve(probabilities, correct, positives=4)
    assert recall.tolist() == [1 / 4, 2 / 4, 3 / 4, 3 / 4]
    assert precision.tolist() == [1, 2 / 3, 3 / 4, 3 / 5]


def test_a_long_curve_has_fewer_points_and_the_same_shape() -> None:
    random = np.random.default_rng(0)
    probabilities = random.random(100_000).astype(np.float32)
    correct = random.random(100_000) < probabilities
    recall, precision = curve(probabilities, correct, int(correct.sum()))
    assert len(recall) <= 1_000
    assert (np.diff(recall) >= 0).all()
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(correct.mean())
    order = np.argsort(-probabilities)
    found = np.cumsum(correct[order])
    exact = np.interp(recall, found / found[-1], found / np.arange(1, 100_001))
    assert np.abs(exact - precision)[5:].max() < 0.02


def test_precision_and_recall_of_the_asserted_labels(
    predictions: Predictions, truth: LabelMatrix
) -> None:
    table = evaluate(predictions, truth).per_label
    given, right = table["asserted"].to_numpy().sum(), table["correct"].to_numpy().sum()
    true = len(truth.present.ids) + truth.foreign.sum()
    shown = texts(precision_recall(predictions, truth, np.full(len(predictions.labels), 5)))
    assert f"precision {right / given:.1%}" in shown
    assert f"recall {right / true:.1%}" in shown
    assert "rare labels" in shown
    assert "common labels" not in shown


def test_the_calibration_error_is_in_the_title(
    predictions: Predictions, truth: LabelMatrix
) -> None:
    figure = reliability(predictions, truth)
    error = evaluate(predictions, truth).metrics.ece
    assert f"{100 * error:.1f} percentage points" in texts(figure)
    line = next(line for line in figure.axes[0].lines if line.get_label() == "this model")
    stated = np.asarray(line.get_xdata(), np.float64)
    assert (np.diff(stated) >= 0).all()


def test_each_label_of_the_test_rows_has_a_dot(
    predictions: Predictions, truth: LabelMatrix
) -> None:
    count = len(predictions.labels)
    table = per_label(predictions, truth, [1] * 5 + [500] * (count - 5))
    figure = frequency_f1(table)
    dots = [len(np.asarray(part.get_offsets())) for part in figure.axes[0].collections]
    seen = truth.counts() > 0
    assert dots == [seen[:5].sum(), seen[5:].sum()]
    f1 = table["f1"].to_numpy()[seen]
    assert f"{f1[table['training_rows'].to_numpy()[seen] > 5].mean():.2f} for common" in texts(
        figure
    )


def test_confused_pairs_have_bars_with_the_most_frequent_on_top() -> None:
    confused = pa.table({"given": ["a", "c"], "missed": ["b", "d"], "rows": [1_200, 7]})
    figure = confusions_figure(confused, 5_000)
    lines = texts(figure).splitlines()
    expected = [
        "a", "instead of b", "1,200", "c", "instead of d", "7",
    ]  # fmt: skip
    assert [text for text in lines if text in expected] == expected
    assert [bar.get_width() for bar in figure.axes[0].patches] == [1_200, 7]  # type: ignore[attr-defined]
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]  # the first bar is on top


def test_labels_with_markup_or_without_glyphs_are_drawn(tmp_path: Path) -> None:
    names = ("$\\frac", "寿司=🍣", "a\nb" * 40, "100% <b>")
    labels = LabelSet(names)
    predictions = Predictions(
        labels,
        np.array([0, 2, 4]),
        np.array([0, 2, 1, 2], np.int32),
        np.array([0.9, 0.8, 0.7, 0.6], np.float32),
        np.ones(4, np.bool_),
    )
    truth = label_matrix(pa.array([[names[1]], [names[3]]]), labels)
    confused = confusions(predictions, truth, 20)
    assert len(confused) == 4
    write_plots(
        tmp_path, predictions, truth, per_label(predictions, truth, [1, 2, 3, 200]), confused
    )
    for file in tmp_path.iterdir():
        check_picture(file)


@pytest.mark.parametrize("true", [[["a"]], [[]], [["unknown"]]])
def test_a_single_row_and_label_can_be_drawn(tmp_path: Path, true: list[list[str]]) -> None:
    predictions = Predictions(
        LabelSet(("a",)),
        np.array([0, 1]),
        np.zeros(1, np.int32),
        np.array([0.4], np.float32),
        np.zeros(1, np.bool_),
    )
    truth = label_matrix(pa.array(true, pa.list_(pa.string())), predictions.labels)
    confused = confusions(predictions, truth, 20)
    assert "No label is asserted" in texts(precision_recall(predictions, truth, np.array([3])))
    write_plots(tmp_path, predictions, truth, per_label(predictions, truth, [3]), confused)
    for name in NAMES:
        check_picture(tmp_path / f"{name}.png")


def test_rare_labels_have_the_same_colour_in_all_plots(
    predictions: Predictions, truth: LabelMatrix
) -> None:
    table = per_label(predictions, truth, [5] * len(predictions.labels))
    curves = precision_recall(predictions, truth, table["training_rows"].to_numpy()).axes[0].lines
    dots = frequency_f1(table).axes[0].lines
    for lines in (curves, dots):
        rare = next(line for line in lines if str(line.get_label()).startswith("rare labels"))
        assert rare.get_color() == RARE_COLOUR
