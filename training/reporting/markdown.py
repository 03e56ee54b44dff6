"""Writing Markdown that can also be read as it stands, whatever words others bring into it."""

import re
from collections.abc import Sequence

_LETTERS = 80


def table(header: Sequence[str], rows: Sequence[Sequence[str]], align: str = "") -> str:
    """A table; `align` has an `r` for each column of figures."""
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
    """A list of sentences that are Markdown already."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def codes(names: Sequence[str]) -> str:
    """Several values as code."""
    return ", ".join(code(name) for name in names)


def code(text: str) -> str:
    """A value as code: on one line, not too long, and not able to end the code."""
    line = " ".join(text.split()).replace("`", "'")
    return f"`{line if len(line) <= _LETTERS else line[: _LETTERS - 1] + '…'}`"


def plain(text: str) -> str:
    """Words that Markdown leaves as they are."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))
