"""The command line: help, exit codes and interrupts."""

import argparse
import os
import pty
import re
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest

import labelwright
from labelwright.__main__ import parser
from tests.labelwright.commands.summaries import registered
from tests.processes import LABELWRIGHT, Command, environment, spawn

pytest_plugins = ["tests.worlds"]

BRANDS = Path(labelwright.__file__).parents[1] / "entities" / "data" / "brands.parquet"
OPTIONS = {
    "train": {"data", "test", "schema", "name", "min-count", "seed", "threads", "no-promote"}
    | {"feedback", "json", "map", "redirects"},
    "retrain": {"data", "test", "schema", "name", "feedback", "threads", "json"},
    "corrections": set(),
    "evaluate": {"model", "data", "map", "threads", "json"},
    "label": {"model", "map", "top-k", "policy", "threads", "resume", "previous", "format"},
    "explain": {"entity", "model", "label", "top-k", "policy", "rows", "json"},
    "serve": {"model", "host", "port", "workers", "keys", "allowed-host", "log-format"},
    "keys": set(),
    "promote": {"force"},
    "rollback": set(),
    "prune": {"keep"},
    "diff": {"data", "map", "examples", "threads", "json"},
    "doctor": {"model", "json"},
    "study": {"data", "test", "schema", "name", "seeds", "threads", "json"},
    "tune": {"data", "schema", "name", "minutes", "seed", "threads", "json"},
    "import": set(),
    "demo": {"port", "ui-port"},
}
"""The documented options; a command may have more."""
COMMANDS: dict[str, argparse.ArgumentParser] = next(
    action.choices for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_lists_every_option(command: Command, name: str) -> None:
    completed = command(name, "--help")
    assert completed.code == 0
    usage, _, listed = completed.out.partition("options:")
    assert usage.startswith(f"usage: labelwright {name} ")
    options = {option for action in COMMANDS[name]._actions for option in action.option_strings}
    assert OPTIONS.get(name, set()) <= {option.removeprefix("--") for option in options}
    for option in options:
        assert re.search(rf"(?m)^  .*{option}\b", listed), option


def test_help_lists_commands_exit_codes_and_settings(tmp_path: Path) -> None:
    completed = spawn("--help", environment=environment(tmp_path))
    assert completed.code == 0
    for word in (
        *COMMANDS,
        "LABELWRIGHT_HOME",
        "MLFLOW_TRACKING_URI",
        "LABELWRIGHT_MODEL",
        "LABELWRIGHT_CORRECTIONS",
        "LABELWRIGHT_CORRECTIONS_KEEP",
        "130",
        "143",
    ):
        assert word in completed.out
    assert set(OPTIONS) <= set(COMMANDS)
    assert not list(tmp_path.iterdir())


def test_version_is_that_of_the_installed_package(tmp_path: Path) -> None:
    completed = spawn("--version", environment=environment(tmp_path))
    assert re.fullmatch(r"labelwright \d+\.\d+\.\d+\S*\n", completed.out)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("unknown",),
        ("train",),
        ("label", "in.csv", "out.csv"),
        ("train", "--data", "in.csv", "--threads", "0"),
        ("train", "--data", "in.csv", "--min-count", "many"),
        ("label", "in.csv", "out.csv", "--model", "m", "--top-k", "0"),
        ("serve", "--port", "eighty"),
        ("explain", "--model", "m"),
        ("explain", "in.csv", "--entity", "{}", "--model", "m"),
        ("explain", "in.csv", "--model", "m", "--rows", "0"),
    ],
    ids=" ".join,
)
def test_wrong_usage_has_exit_code_2(command: Command, arguments: tuple[str, ...]) -> None:
    completed = command(*arguments)
    assert completed.code == 2
    assert completed.err.startswith("usage: labelwright")


def test_processes_return_the_exit_codes_of_their_errors(tmp_path: Path) -> None:
    settings = environment(tmp_path / "home")
    usage = spawn("label", environment=settings)
    no_data = spawn("label", "no.csv", tmp_path / "o.csv", "--model", "m", environment=settings)
    assert (usage.code, no_data.code) == (2, 3)
    assert no_data.err == "labelwright: no file no.csv\n"


@pytest.mark.usefixtures("empty_world")
@pytest.mark.parametrize(
    ("code", "arguments"),
    [
        (3, ("train", "--data", "nowhere.csv")),
        (3, ("train", "--data", "data", "--schema", "nowhere.toml")),
        (3, ("train", "--data", "data", "--name", "a/b")),
        (3, ("label", "data", "out.txt", "--model", "model")),
        (3, ("label", "data", "out.csv", "--model", "model", "--policy", "reckless")),
        (3, ("label", "data", "out.csv", "--model", "model", "--top-k", "1001")),
        (3, ("explain", "nowhere.csv", "--model", "model")),
        (3, ("explain", "data", "--model", "model", "--label", "no such label")),
        (3, ("explain", "--entity", "no JSON", "--model", "model")),
        (3, ("explain", "--entity", "[1]", "--model", "model")),
        (3, ("explain", "--entity", '{"name": "x", "lat": 200, "lon": 0}', "--model", "model")),
        (4, ("explain", "data", "--model", "nowhere")),
        (4, ("label", "data", "out.csv", "--model", "nowhere")),
        (4, ("evaluate", "--data", "data", "--model", "models:/nobody@champion")),
        (6, ("label", "data", "nowhere/out.csv", "--model", "model")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else str(value),
)
def test_errors_have_an_exit_code_and_one_line(
    command: Command,
    code: int,
    arguments: tuple[str, ...],
    data: Path,
    bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"data": data, "model": bundle}
    completed = command(*(paths.get(argument, argument) for argument in arguments))
    assert completed.code == code
    assert re.fullmatch(r"labelwright: .+\n", completed.err)
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.usefixtures("empty_world")
def test_an_unusable_registry_has_exit_code_5(
    command: Command, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nonsense://nowhere")
    completed = command("train", "--data", data)
    assert completed.code == 5
    assert "nonsense://nowhere" in completed.err


@pytest.mark.parametrize(
    ("by", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "terminated"]
)
def test_an_interrupted_training_prints_one_line_and_registers_nothing(
    empty_world: Path, tmp_path: Path, by: signal.Signals, code: int
) -> None:
    terminal, its_end = pty.openpty()
    termios.tcsetwinsize(its_end, (24, 80))
    with subprocess.Popen(
        [LABELWRIGHT, "train", "--data", str(BRANDS)],
        env=environment(empty_world),
        cwd=tmp_path,
        stdout=its_end,
        stderr=its_end,
    ) as process:
        os.close(its_end)
        output, sent = b"", 0.0
        for part in iter(lambda: _read(terminal), b""):
            output += part
            if not sent and b"linear stage" in output:
                process.send_signal(by)
                sent = time.monotonic()
    os.close(terminal)
    assert process.returncode == code
    assert time.monotonic() - sent < 15
    assert output.rstrip().endswith(b"labelwright: interrupted")
    assert b"Traceback" not in output
    assert registered() == {}


def _read(terminal: int) -> bytes:
    """Read bytes from a terminal; returns no bytes after the other end was closed."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
