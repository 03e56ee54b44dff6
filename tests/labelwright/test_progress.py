"""Progress bar of `label` on a terminal."""

import os
import pty
import re
import subprocess
import termios
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.processes import LABELWRIGHT, PATIENCE, environment

if TYPE_CHECKING:
    from tests.conftest import World


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_the_progress_bar_shows_percentage_rate_and_remaining_time(
    world: "World", tmp_path: Path, ending: str
) -> None:
    source = world.data
    if ending == "csv":
        source = tmp_path / "in.csv"
        source.write_text("name\n" + "Joe's Pizza on Main Street\n" * 40_000)
    terminal, end = pty.openpty()
    termios.tcsetwinsize(end, (24, 100))
    try:
        process = subprocess.Popen(
            [LABELWRIGHT, "label", source, tmp_path / "out.parquet", "--model", world.bundle],
            env=environment(world.home),
            stderr=end,
        )
        assert process.wait(PATIENCE) == 0
        shown = os.read(terminal, 1 << 20).decode()
    finally:
        os.close(terminal)
        os.close(end)
    assert re.search(r"\d+%\|.*\[\d\d:\d\d<\d\d:\d\d, .*row/s\]", shown)
    assert shown.rstrip().endswith(f"rows -> {tmp_path / 'out.parquet'}")
