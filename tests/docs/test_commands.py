"""Every command, make target, URL and setting in the documentation exists."""

import contextlib
import io
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from labelwright.__main__ import parser
from labelwright.settings import SETTINGS
from tests.docs.pages import PAGES, ROOT, commands, inline
from tests.docs.reference import REFERENCE
from tests.docs.reference import commands as parsers

OTHER_PROGRAMS = {
    "docker",
    "git",
    "kubectl",
    "mlflow",
    "printf",
    "pip",
    "sudo",
    "zcat",
    "grep",
    "tar",
    "mkdir",
}
"""Programs of other projects that the documentation may use."""
OTHER_OPTIONS = {"--allowed-hosts", "--target", "--model"}
"""Options of these programs that the documentation may name in a sentence."""
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
OPERATIONS = set(re.findall(r"(?m)^### `([A-Z]+ /\S*)`$", REFERENCE.read_text()))
OPTIONS = {
    name: {option for action in command._actions for option in action.option_strings}
    for name, command in parsers(parser()).items()
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_code_block_exists(page: Path) -> None:
    wrong = [
        (command, fault) for command in commands(page.read_text()) if (fault := fault_of(command))
    ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_sentence_exists(page: Path) -> None:
    wrong = [code for code in inline(page.read_text()) if is_misnamed(code.split())]
    assert not wrong


@pytest.mark.parametrize(
    "command",
    [
        ["labelwright", "train", "--date", "x.csv"],
        ["labelwright", "nonsense"],
        [".venv/bin/labelwright", "label", "only-one.csv"],
        ["docker", "compose", "run", "--rm", "train", "labelwright", "trian"],
        ["make", "nothing"],
        ["curl", "-s", "http://127.0.0.1:8000/v1/nothing"],
        ["curl", "http://127.0.0.1:8000/v1/drift", "-d", "{}"],
        ["export", "LABELWRIGHT_NOTHING=1"],
        ["unheard-of"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_is_detected(command: list[str]) -> None:
    assert fault_of(command)


def test_commands_are_split_into_words_as_by_the_shell() -> None:
    page = """Words.

```sh
zcat new.gz | labelwright label - - \\
  --model m > out.jsonl
make demo && make test
```

```console
a line of output
$ labelwright doctor | grep runs
```

```json
not a command
```
"""
    assert list(commands(page)) == [
        ["zcat", "new.gz"],
        ["labelwright", "label", "-", "-", "--model", "m"],
        ["make", "demo"],
        ["make", "test"],
        ["labelwright", "doctor"],
        ["grep", "runs"],
    ]


def fault_of(command: list[str]) -> str:
    """The reason why a command is wrong; empty if the command is right."""
    program, *arguments = Path(command[0]).name, *command[1:]
    if program == "docker" and "labelwright" in arguments:
        program, arguments = "labelwright", arguments[arguments.index("labelwright") + 1 :]
    if program == "labelwright":
        return _unparsed(arguments)
    if program == "make":
        return "" if set(_targets(arguments)) <= TARGETS else "no such target"
    if program == "curl":
        return "" if _operation(arguments) in OPERATIONS else f"no {_operation(arguments)}"
    if program == "export":
        names = {name for name, _, _ in _assignments(arguments)}
        return "" if names <= SETTINGS.keys() else "no setting"
    return "" if program in OTHER_PROGRAMS else "an unknown program"


def is_misnamed(words: list[str]) -> bool:
    """Whether inline code contains a make target, a command or an option that does not exist."""
    if words[:1] == ["make"]:
        return not set(_targets(words[1:])) <= TARGETS
    named = {word.partition("=")[0].rstrip(",") for word in words if word.startswith("--")}
    if words[0].startswith("--"):
        return not named <= set.union(*OPTIONS.values()) | OTHER_OPTIONS
    if words[0] != "labelwright" or len(words) == 1 or words[1] in ("COMMAND", "--help", "->"):
        return False
    candidates = [" ".join(words[1:3]), words[1]]
    found = next((OPTIONS[name] for name in candidates if name in OPTIONS), None)
    group = any(name.startswith(f"{words[1]} ") for name in OPTIONS)
    return not (group if found is None else named <= found)


def _unparsed(arguments: list[str]) -> str:
    """The error message of the parser; empty if it accepts the arguments."""
    message = io.StringIO()
    with contextlib.redirect_stderr(message), contextlib.redirect_stdout(io.StringIO()):
        try:
            parser().parse_args(arguments)
        except SystemExit as stop:
            return message.getvalue() if stop.code else ""
    return ""


def _targets(arguments: list[str]) -> list[str]:
    """The targets among the arguments of make."""
    words = " ".join(arguments).partition("ARGS=")[0].split()
    return [word for word in words if not word.startswith("-") and "=" not in word]


def _assignments(arguments: list[str]) -> list[tuple[str, str, str]]:
    return [argument.partition("=") for argument in arguments]


def _operation(arguments: list[str]) -> str:
    """The operation that a curl command calls: method and path."""
    (url,) = (argument for argument in arguments if argument.startswith("http"))
    method = "POST" if {"-d", "--data-binary", "-T"} & set(arguments) else "GET"
    if "-X" in arguments:
        method = arguments[arguments.index("-X") + 1]
    return f"{method} {urlsplit(url).path}"
