"""Generator of docs/reference.md: `make reference` writes it from the code.

Commands are read from the argument parser, settings from `labelwright.settings`, and the HTTP API
from the OpenAPI document of a running service.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq

from labelwright.__main__ import parser
from labelwright.settings import SETTINGS
from tests.conftest import BRANDS, ROWS
from tests.docs.pages import ROOT
from tests.processes import PATIENCE, environment, serving, spawn

REFERENCE = ROOT / "docs" / "reference.md"
_LIMITS = {
    "minimum": "at least",
    "maximum": "at most",
    "minItems": "at least",
    "maxItems": "at most",
    "maxLength": "characters up to",
}
_OPENING = """\
# Reference

All commands, settings and HTTP paths. `make reference` generates this page from the code, and a
test fails if the page is out of date.
"""


def reference(openapi: Mapping[str, Any]) -> str:
    """The text of the page, from the OpenAPI document and the code."""
    parts = (*_command_line(), *_settings(), *_api(openapi))
    return "\n".join([_OPENING, *parts]).rstrip("\n") + "\n"


def commands(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The parsers of all commands by name.

    A command with actions, such as `keys add`, is replaced by its actions.
    """
    found: dict[str, argparse.ArgumentParser] = {}
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                name = command.prog.removeprefix("labelwright ")
                found |= commands(command) or {name: command}
    return found


def _command_line() -> Iterator[str]:
    top = parser()
    yield "## Commands\n"
    yield "`--help` of each command prints the same text. Exit codes:\n"
    yield f"```text\n{_exit_codes(top)}\n```\n"
    for name, command in commands(top).items():
        yield f"### `labelwright {name}`\n"
        yield f"{(command.description or '').strip()}\n"
        yield from _table("Argument", map(_argument, _arguments(command)))


def _exit_codes(top: argparse.ArgumentParser) -> str:
    """The exit codes, from the help of the command line."""
    text = (top.epilog or "").partition("exit codes: ")[2].partition("\n\n")[0]
    return "\n".join(line.strip() for line in text.splitlines())


def _arguments(command: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in command._actions if "--help" not in action.option_strings]


def _argument(action: argparse.Action) -> tuple[str, str]:
    """The syntax of an argument, and its help text."""
    value = action.metavar or (action.dest if not action.option_strings else "")
    if action.choices:
        value = "|".join(map(str, action.choices))
    elif not value and action.nargs != 0:
        value = action.dest.upper()
    value = {"+": f"{value} ...", "?": f"[{value}]"}.get(str(action.nargs), value)
    syntax = " ".join(filter(None, (", ".join(action.option_strings), str(value))))
    needed = " (required)" if action.required and action.option_strings else ""
    return f"`{syntax}`", f"{action.help or ''}{needed}"


def _settings() -> Iterator[str]:
    yield "## Settings\n"
    yield "Environment variables. Object stores use their usual variables too.\n"
    yield from _table("Variable", ((f"`{name}`", words) for name, words in SETTINGS.items()))


def _api(openapi: Mapping[str, Any]) -> Iterator[str]:
    yield "## HTTP API\n"
    yield (
        "The OpenAPI document (`/openapi.json`) of a service with a model of the schema `places`. "
        "`/docs` shows\nthe document of your model, with its columns and examples.\n"
    )
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield f"### `{method.upper()} {path}`\n"
            yield f"{operation.get('description', operation.get('summary', '')).strip()}\n"
            yield from _table("Parameter", map(_parameter, operation.get("parameters", ())))
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                yield f"Request body: `{kind}`.\n"
                members = content.get("schema", {}).get("properties", {})
                yield from _table("Member", (_member(*member) for member in members.items()))


def _parameter(parameter: Mapping[str, Any]) -> tuple[str, str]:
    name, words = _member(parameter["name"], parameter["schema"])
    return name, "; ".join(filter(None, (parameter["in"], words)))


def _member(name: str, schema: Mapping[str, Any]) -> tuple[str, str]:
    """The name of a member of a request, and its type, limits and description."""
    either = [one["type"] for one in schema.get("anyOf", ()) if "type" in one]
    kind = schema.get("type", either)
    limits = [f"{words} {schema[limit]:,}" for limit, words in _LIMITS.items() if limit in schema]
    if schema.get("default") is not None:
        limits.append(f"default `{json.dumps(schema['default'])}`")
    about = [kind if isinstance(kind, str) else " or ".join(kind), *limits]
    return f"`{name}`", "; ".join(
        filter(None, (", ".join(filter(None, about)), schema.get("description")))
    )


def _table(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    lines = [f"| {_cell(name)} | {_cell(words)} |" for name, words in rows]
    if lines:
        yield "\n".join([f"| {title} | |", "|---|---|", *lines, ""])


def _cell(words: str) -> str:
    return " ".join(words.split()).replace("|", "\\|")


def _openapi() -> dict[str, Any]:
    """Train and serve a small model, and return the OpenAPI document of the service."""
    with tempfile.TemporaryDirectory() as folder:
        home = environment(Path(folder) / "home")
        data = Path(folder) / "brands.parquet"
        pq.write_table(pq.read_table(BRANDS).slice(0, ROWS), data)
        trained = spawn("train", "--data", data, environment=home)
        if trained.code:
            sys.exit(trained.err)
        with serving(environment=home, folder=Path(folder)) as service:
            openapi: dict[str, Any] = httpx.get(
                f"{service.url}/openapi.json", timeout=PATIENCE
            ).json()
            return openapi


if __name__ == "__main__":
    REFERENCE.write_text(reference(_openapi()), "utf-8")
