"""Every command that is shown to users is one: of the command line, the Makefile or the service."""

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

OTHERS = {
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
"""Programs that are not ours."""
OPTIONS_OF_OTHERS = {"--allowed-hosts", "--target", "--model"}
TARGETS = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text()))
OPERATIONS = set(re.findall(r"(?m)^### `([A-Z]+ /\S*)`$", REFERENCE.read_text()))
OPTIONS = {
    name: {option for action in command._actions for option in action.option_strings}
    for name, command in parsers(parser()).items()
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_block_is_one(page: Path) -> None:
    wrong = [
        (command, fault) for command in commands(page.read_text()) if (fault := amiss(command))
    ]
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_a_sentence_is_one(page: Path) -> None:
    wrong = [code for code in inline(page.read_text()) if misnamed(code.split())]
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
def test_a_command_that_is_none_is_noticed(command: list[str]) -> None:
    assert amiss(command)


def test_commands_of_a_page_are_split_as_the_shell_does() -> None:
    page = """Words.

```sh
zcat new.gz | labelwright label - - \\
  --model m > out.jsonl
make demo && make test
```

```console
what it says
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


def amiss(command: list[str]) -> str:
    """What is wrong with a command; nothing if it is one."""
    program, *arguments = Path(command[0]).name, *command[1:]
    if program == "docker" and "labelwright" in arguments:
        program, arguments = "labelwright", arguments[arguments.index("labelwright") + 1 :]
    if program == "labelwright":
        return _unparsed(arguments)
    if program == "make":
        return "" if set(_words(arguments)) <= TARGETS else "no such target"
    if program == "curl":
        return "" if _asked(arguments) in OPERATIONS else f"no {_asked(arguments)}"
    if program == "export":
        return (
            "" if {name for name, _, _ in _assigned(arguments)} <= set(SETTINGS) else "no setting"
        )
    return "" if program in OTHERS else "an unknown program"


def misnamed(words: list[str]) -> bool:
    """Whether code in a sentence names a target, a command, or an option that does not exist."""
    if words[:1] == ["make"]:
        return not set(_words(words[1:])) <= TARGETS
    named = {word.partition("=")[0].rstrip(",") for word in words if word.startswith("--")}
    if words[0].startswith("--"):
        return not named <= set.union(*OPTIONS.values()) | OPTIONS_OF_OTHERS
    if words[0] != "labelwright" or len(words) == 1 or words[1] in ("COMMAND", "--help", "->"):
        return False
    candidates = [" ".join(words[1:3]), words[1]]
    found = next((OPTIONS[name] for name in candidates if name in OPTIONS), None)
    group = any(name.startswith(f"{words[1]} ") for name in OPTIONS)
    return not (group if found is None else named <= found)


def _unparsed(arguments: list[str]) -> str:
    """What the parser says against arguments."""
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            parser().parse_args(arguments)
        except SystemExit as stop:
            return said.getvalue() if stop.code else ""
    return ""


def _words(arguments: list[str]) -> list[str]:
    """Arguments of make that are targets."""
    words = " ".join(arguments).partition("ARGS=")[0].split()
    return [word for word in words if not word.startswith("-") and "=" not in word]


def _assigned(arguments: list[str]) -> list[tuple[str, str, str]]:
    return [argument.partition("=") for argument in arguments]


def _asked(arguments: list[str]) -> str:
    """The operation that curl asks for: method and path."""
    (url,) = (argument for argument in arguments if argument.startswith("http"))
    method = "POST" if {"-d", "--data-binary", "-T"} & set(arguments) else "GET"
    if "-X" in arguments:
        method = arguments[arguments.index("-X") + 1]
    return f"{method} {urlsplit(url).path}"
