"""One run is one table, whatever becomes of its peers."""

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

HERE = Peer("scikit-learn", "scikit-learn", "scikit_learn", decides=True)
"""The runner of scikit-learn in the environment of the tests."""
ABSENT = Peer("absent", "a peer without a runner", "absent")


@pytest.fixture
def prepared(tiny: DataSet, data: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    assert prepare(tiny, data, folder, None)["labels"] == 3
    return folder


def test_a_runner_answers_every_test_row(prepared: Path, tmp_path: Path) -> None:
    cell = measure("tiny", HERE, prepared, tmp_path / "environments", 5, 1)
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
def test_this_project_is_a_peer(prepared: Path, tmp_path: Path) -> None:
    ours = next(peer for peer in PEERS if peer.name == "labelwright")
    cell = measure("tiny", ours, prepared, tmp_path / "environments", 5, 1)
    assert cell.note == ""
    said, part = cell.outcome["notes"], cell.parts["test"]
    assert part.p_at_1 == said["metrics"]["p_at_1"]
    assert part.micro_f1 == said["metrics"]["micro_f1"]
    assert cell.train_seconds > said["job_seconds"]


def test_peers_that_fail_or_do_not_finish_are_results(prepared: Path, tmp_path: Path) -> None:
    environments = tmp_path / "environments"
    failed = measure("tiny", ABSENT, prepared, environments, 5, 1)
    assert failed.note.startswith("failed: ")
    assert "absent" in failed.note
    late = measure("tiny", HERE, prepared, environments, 0.001, 1)
    assert late.note == "not finished in 0.001 minutes"


def test_a_peer_that_cannot_be_installed_says_so(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(environment: str | None, folder: Path) -> str:
        raise NotInstalledError("not installed: no wheel for this Python")

    monkeypatch.setattr(quality, "interpreter", refuse)
    cell = measure("tiny", HERE, prepared, tmp_path, 5, 1)
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


def test_an_interrupt_keeps_the_cells_that_are_done(
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


def test_a_set_that_is_not_there_is_said(tmp_path: Path, tiny: DataSet) -> None:
    run, output = _run([tiny]), tmp_path / "quality.md"
    carry_out(run, tmp_path / "nowhere", tmp_path / "work", tmp_path / "environments", output)
    assert "not run: train.parquet is not below the data folder" in output.read_text("utf-8")


def test_a_busy_machine_and_sets_left_out_are_told(tmp_path: Path, tiny: DataSet) -> None:
    output = tmp_path / "quality.md"
    _run([tiny], load=3.0).write(output)
    text = output.read_text("utf-8")
    assert "not for quoting" in text
    assert "Not part of this run: bibtex, stackoverflow-titles, goemotions, places." in text
    _run([tiny]).write(output)
    assert "not for quoting" not in output.read_text("utf-8")


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


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        quality.main(["--help"])
    said = capsys.readouterr().out
    for option in ("--sets", "--peers", "--minutes", "--data", "--output", "--rows"):
        assert option in said


def _run(sets: list[DataSet], load: float = 0.1) -> Run:
    facts: Mapping[str, str] = {"date": "today"}
    return Run(sets, [HERE, ABSENT], 5, 1, None, facts, load)
