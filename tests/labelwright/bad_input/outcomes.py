"""What comes of bad input: answers and rejects, refusals and warnings."""

import re
from pathlib import Path
from typing import Any

import httpx

from tests.labelwright.bad_input.files import lines
from tests.processes import Command, Said

CANARY = "Kanarienvogel"


def labelled(
    command: Command, source: Path, bundle: Path
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The answers for a file, and its rejects."""
    output = source.with_name("answers.jsonl")
    said = command("label", source, output, "--model", bundle)
    assert said.code == 0, said.err
    rejects = source.with_name("answers.jsonl.rejects.jsonl")
    return lines(output), lines(rejects) if rejects.exists() else []


def measured(command: Command, bundle: Path, *sources: Path) -> Said:
    """What `evaluate` says of labelled files; it reads them as `train` does, and is quicker."""
    said = command("evaluate", "--data", *sources, "--model", bundle)
    assert said.code == 0, said.err
    return said


def refused(said: Said, code: int, pattern: str) -> None:
    """One line that says what is wrong, and the exit code of its kind."""
    assert said.code == code, said.err
    assert re.fullmatch(f"labelwright: .*{pattern}.*\n", said.err), said.err
    assert said.out == ""


def warnings(said: Said) -> list[str]:
    """What a command warns of."""
    return re.findall("^labelwright: warning: (.*)$", said.err, re.MULTILINE)


def ask(client: httpx.Client, *entities: object, **more: object) -> list[dict[str, Any]]:
    """The results for some entities over HTTP."""
    response = client.post("/v1/labels", json={"entities": entities, **more})
    assert response.status_code == 200, response.text
    results: list[dict[str, Any]] = response.json()["results"]
    return results
