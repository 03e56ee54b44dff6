"""Outcomes of bad input: labelled rows, rejected rows, errors and warnings."""

import re
from pathlib import Path
from typing import Any

import httpx

from tests.labelwright.bad_input.files import lines
from tests.processes import Command, CommandResult

CANARY = "Kanarienvogel"


def labelled(
    command: Command, source: Path, bundle: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Label a file; returns the output rows and the rejected rows."""
    output = source.with_name("labelled.jsonl")
    completed = command("label", source, output, "--model", bundle)
    assert completed.code == 0, completed.err
    rejects = source.with_name("labelled.jsonl.rejects.jsonl")
    return lines(output), lines(rejects) if rejects.exists() else []


def measured(command: Command, bundle: Path, *sources: Path) -> CommandResult:
    """Evaluate labelled files; `evaluate` reads files in the same way as `train`, and is faster."""
    completed = command("evaluate", "--data", *sources, "--model", bundle)
    assert completed.code == 0, completed.err
    return completed


def refused(completed: CommandResult, code: int, pattern: str) -> None:
    """Assert an exit code and an error message of one line."""
    assert completed.code == code, completed.err
    assert re.fullmatch(f"labelwright: .*{pattern}.*\n", completed.err), completed.err
    assert completed.out == ""


def warnings(completed: CommandResult) -> list[str]:
    """The warnings of a command."""
    return re.findall("^labelwright: warning: (.*)$", completed.err, re.MULTILINE)


def label_over_http(
    client: httpx.Client, *entities: object, **more: object
) -> list[dict[str, Any]]:
    """Label entities over HTTP; returns the results."""
    response = client.post("/v1/labels", json={"entities": entities, **more})
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results
