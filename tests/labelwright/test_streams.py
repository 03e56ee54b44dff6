"""Labelling of standard streams, and the exit codes of their errors."""

import csv
import io
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.processes import LABELWRIGHT, PATIENCE, environment

if TYPE_CHECKING:
    from tests.conftest import World

LINES = b'{"id": "a", "name": "Joe\'s Pizza"}\n{"id": "b", "lat": 200, "lon": 0}\n'


def label(world: "World", *arguments: str, **more: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [LABELWRIGHT, "label", *arguments, "--model", world.bundle],
        env=environment(world.home) | {"PYTHONUNBUFFERED": "1"},
        timeout=PATIENCE,
        check=False,
        **more,
    )


def test_json_lines_are_labelled_from_stdin_to_stdout(world: "World") -> None:
    completed = label(world, "-", "-", input=LINES, capture_output=True)
    assert completed.returncode == 0
    first, second = map(json.loads, completed.stdout.splitlines())
    assert first["id"] == "a"
    assert first["labels"][0]["label"] == "cuisine=pizza"
    assert second == {"id": "b", "labels": None, "primary": None}
    reject, words = completed.stderr.splitlines()
    reason = "lat: must lie between -90 and 90"
    assert json.loads(reject) == {"row": 1, "id": "b", "reason": reason}
    assert words == b"2 rows, 1 of them rejected -> -"


def test_csv_is_labelled_from_stdin_to_stdout_with_an_option(
    world: "World", tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text('id,name\nc,"Joe\'s\nPizza"\n')
    with (tmp_path / "in.csv").open("rb") as given:
        completed = label(world, "-", "-", "--format", "csv", stdin=given, capture_output=True)
    assert completed.returncode == 0
    (row,) = csv.DictReader(io.StringIO(completed.stdout.decode()))
    assert row["id"] == "c"
    assert json.loads(row["labels"])[0]["label"] == "cuisine=pizza"


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_full_disk_behind_standard_output_is_a_clear_error(
    world: "World", tmp_path: Path, kind: str
) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINES)
    with Path("/dev/full").open("wb") as full:
        completed = label(
            world,
            *(str(tmp_path / "in.jsonl"), "-", "--format", kind),
            stdout=full,
            stderr=subprocess.PIPE,
        )
    assert completed.returncode == 6
    assert completed.stderr.splitlines()[-1] == b"labelwright: - was not written: no space is left"
    assert b"Traceback" not in completed.stderr


def test_a_closed_pipe_ends_the_command(world: "World", tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(LINES * 20_000)
    command = f"{LABELWRIGHT} label {tmp_path / 'in.jsonl'} - --model {world.bundle} | head -c 10"
    completed = subprocess.run(
        ["sh", "-c", command],
        env=environment(world.home),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    assert completed.stdout == b'{"id":"a",'
    assert b"Traceback" not in completed.stderr
