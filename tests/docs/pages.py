"""Pages of the documentation, and the commands in their code blocks."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_ENDS = set("|&;\n")


def blocks(page: str, language: str) -> list[str]:
    """The fenced code blocks of a page that have a given language."""
    return [text for named, text in _BLOCK.findall(page) if named == language]


def inline(page: str) -> list[str]:
    """The inline code of a page, without code blocks."""
    return _CODE.findall(_BLOCK.sub("", page))


def commands(page: str) -> Iterator[list[str]]:
    """Every command of a page, split into words as by the shell, without redirections.

    Commands are the lines of `sh` blocks, and the lines of `console` blocks that begin with `$`.
    """
    scripts = blocks(page, "sh")
    for session in blocks(page, "console"):
        scripts += [line[2:] for line in session.splitlines() if line.startswith("$ ")]
    for block in scripts:
        yield from _split(block)


def _split(block: str) -> Iterator[list[str]]:
    lexer = shlex.shlex(block.replace("\\\n", " "), posix=True, punctuation_chars="|&;<>\n")
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t", "", True
    command: list[str] = []
    redirected = False
    for token in (*lexer, "\n"):
        if set(token) <= _ENDS:
            if command:
                yield command
            command, redirected = [], False
        elif set(token) <= set("<>"):
            redirected = True
        elif not redirected:
            command.append(token)
