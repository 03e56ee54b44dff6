"""The quality benchmark: cells of peers that succeed, fail or are interrupted, and the page."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks import quality
from benchmarks.environments import NotInstalledError, interpreter
from benchmarks.peers import PEERS, Peer
from benchmarks.quality import Cell, Run, carry_out, measure, prepare
from benchmarks.sets import DataSet

INSTALLED = Peer("scikit-learn", "scikit-learn", "scikit_learn", asserts=True)
"""The runner of scikit-learn in the environment of the tests."""
ABSENT = Peer("absent", "a peer without a runner", "absent")


@pytest.fixture
def prepared(tiny: DataSet, data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    assert prepare(tiny, data, folder, None)["labels"] == 3
    return folder


def test_a_runner_predicts_every_test_row(prepared: Path, tmp_path: Path) -> None:
    cell = measure("tiny", INSTALLED, prepared, tmp_path / "environments", 5, 1)
    assert cell.note == ""
    part = cell.parts["test"]
    assert part.rows == 30
    assert part.p_at_1 == 100
    assert part.micro_f1 is not None
    assert 0.9 < part.micro_f1 < 1  # one true label is not in the training rows
    assert cell.train_seconds > 0
    assert part.seconds > 0
    assert cell.peak_bytes > 10_000_000
    assert set(cell.outcome["versions"]) == {"scikit-learn"}


@pytest.mark.integration
def test_the_runner_of_this_project_agrees_with_its_command(prepared: Path, tmp_path: Path) -> None:
    ours = next(peer for peer in PEERS if peer.name == "labelwright")
    cell = measure("tiny", ours, prepared, tmp_path / "environments", 5, 1)
    assert cell.note == ""
    notes, part = cell.outcome["notes"], cell.parts["test"]
    assert part.p_at_1 == notes["metrics"]["p_at_1"]
    assert part.micro_f1 == notes["metrics"]["micro_f1"]
    assert cell.train_seconds > notes["job_seconds"]


def test_a_peer_that_fails_or_exceeds_its_time_limit_has_a_note(
    prepared: Path, tmp_path: Path
) -> None:
    environments = tmp_path / "environments"
    failed = measure("tiny", ABSENT, prepared, environments, 5, 1)
    assert failed.note.startswith("failed: ")
    assert "absent" in failed.note
    late = measure("tiny", INSTALLED, prepared, environments, 0.001, 1)
    assert late.note == "not finished in 0.001 minutes"


def test_a_peer_that_cannot_be_installed_has_a_note(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(environment: str | None, folder: Path) -> str:
        raise NotInstalledError("not installed: no wheel for this Python")

    monkeypatch.setattr(quality, "interpreter", refuse)
    cell = measure("tiny", INSTALLED, prepared, tmp_path, 5, 1)
    assert cell.note == "not installed: no wheel for this Python"


def test_the_table_has_a_line_for_every_cell(tiny: DataSet, data: Path, tmp_path: Path) -> None:
    run, output = _run([tiny]), tmp_path / "results" / "quality.md"
    carry_out(run, data, tmp_path / "work", tmp_path / "environments", output)
    lines = [line for line in output.read_text("utf-8").splitlines() if line.startswith("| tiny")]
    assert len(lines) == 2
    assert "100.00" in lines[0]
    assert "failed: " in lines[1]
    assert "30 (test: " in output.read_text("utf-8")
    everything = json.loads(output.with_suffix(".json").read_text("utf-8"))
    assert [cell["peer"] for cell in everything["cells"]] == ["scikit-learn", "absent"]
    assert not (tmp_path / "work" / "tiny").exists()


def test_an_interrupt_keeps_the_finished_cells(
    tiny: DataSet, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(data_set: str, peer: Peer, *rest: Any) -> Cell:
        if peer is ABSENT:
            raise KeyboardInterrupt
        return Cell(data_set, peer.name, "done")

    monkeypatch.setattr(quality, "measure", interrupted)
    output = tmp_path / "quality.md"
    with pytest.raises(KeyboardInterrupt):
        carry_out(_run([tiny]), data, tmp_path / "work", tmp_path / "environments", output)
    text = output.read_text("utf-8")
    assert "| tiny | scikit-learn | done |" in text
    assert "| tiny | a peer without a runner | not run |" in text


def test_a_missing_set_has_a_note(tmp_path: Path, tiny: DataSet) -> None:
    run, output = _run([tiny]), tmp_path / "quality.md"
    carry_out(run, tmp_path / "nowhere", tmp_path / "work", tmp_path / "environments", output)
    assert "not run: no file train.parquet in the data folder" in output.read_text("utf-8")


def test_the_page_names_a_busy_machine_and_missing_sets(tmp_path: Path, tiny: DataSet) -> None:
    output = tmp_path / "quality.md"
    _run([tiny], load=3.0).write(output)
    text = output.read_text("utf-8")
    assert "The machine was not idle" in text
    assert "Not part of this run: bibtex, stackoverflow-titles, goemotions, places." in text
    _run([tiny]).write(output)
    assert "The machine was not idle" not in output.read_text("utf-8")


def test_every_peer_has_a_runner_and_pins() -> None:
    folder = Path(quality.__file__).parent
    for peer in PEERS:
        assert (folder / "peers" / f"{peer.runner}.py").exists()
        if peer.environment:
            pins = (folder / "requirements" / f"{peer.environment}.txt").read_text("utf-8")
            assert "--hash=sha256:" in pins
            assert "://" not in pins


def test_this_project_runs_in_the_environment_of_the_benchmark(tmp_path: Path) -> None:
    assert interpreter(None, tmp_path) == sys.executable


def test_the_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        quality.main(["--help"])
    text = capsys.readouterr().out
    for option in ("--sets", "--peers", "--minutes", "--data", "--output", "--rows"):
        assert option in text


def _run(sets: list[DataSet], load: float = 0.1) -> Run:
    facts: Mapping[str, str] = {"date": "today"}
    return Run(sets, [INSTALLED, ABSENT], 5, 1, None, facts, load)
