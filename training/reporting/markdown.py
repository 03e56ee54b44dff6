"""Markdown that is also readable as plain text. Values from data are quoted safely."""

import re
from collections.abc import Sequence

_MAX_CODE = 80
"""Maximum length of a value that is shown as code, in characters."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """A table; `align` has one letter for each column: `r` for right, `l` for left."""
    lines = [[cell.replace("|", "\\|") for cell in line] for line in (header, *rows)]
    right = [side == "r" for side in align.ljust(len(header))]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(header))]
    rule = ["-" * (w - 1) + (":" if r else "-") for w, r in zip(widths, right, strict=True)]
    lines.insert(1, rule)
    return "\n".join(
        "| "
        + " | ".join(
            cell.rjust(w) if r else cell.ljust(w)
            for cell, w, r in zip(line, widths, right, strict=True)
        )
        + " |"
        for line in lines
    )


def items(sentences: Sequence[str]) -> str:
    """A Markdown list with one item for each sentence."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def codes(names: Sequence[str]) -> str:
    """Several values as code, separated by commas."""
    return ", ".join(code(name) for name in names)


def code(text: str) -> str:
    """A value as code: on one line, shortened to _MAX_CODE characters, with backquotes replaced."""
    line = " ".join(text.split()).replace("`", "'")
    return f"`{line if len(line) <= _MAX_CODE else line[: _MAX_CODE - 1] + '…'}`"


def plain(text: str) -> str:
    """Text as one line of Markdown; special characters are escaped, so they are shown unchanged."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
