"""Unicode: one form for texts that differ only in case or encoding, and texts without encoding."""

import re
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

_INVISIBLE = "\u00ad\u200b\u2060\ufeff"
_FIND_INVISIBLE = re.compile(f"[{_INVISIBLE}]")


def without_invisible(value: str) -> str:
    """Remove the characters inside words that only control the breaking of lines.

    These are the soft hyphen, the zero-width space, the word joiner, and the byte order mark, which
    is an old word joiner.
    """
    return _FIND_INVISIBLE.sub("", value)


def normalise(array: pa.StringArray) -> pa.StringArray:
    """Remove invisible characters, and apply NFKC, case folding and NFKC again; nulls stay null.

    This is Unicode's NFKC_Casefold, except that it keeps ignorable characters that do not only
    control the breaking of lines, see `without_invisible`. It is idempotent.
    """
    if pc.all(pc.string_is_ascii(array), min_count=0).as_py():
        return pc.ascii_lower(array)
    ascii_rows = pc.fill_null(pc.string_is_ascii(array), True)
    others = array.filter(pc.invert(ascii_rows))
    letters = others.buffers()[2].to_pybytes()
    fold = normalise_one if any(c.encode() in letters for c in _INVISIBLE) else _folded
    folded = pa.array([fold(value) for value in others.to_pylist()], pa.string())
    return pc.replace_with_mask(pc.ascii_lower(array), pc.invert(ascii_rows), folded)


def normalise_one(value: str) -> str:
    """Normalise one string as `normalise` does."""
    return _folded(without_invisible(value))


def _folded(value: str) -> str:
    once = unicodedata.normalize("NFKC", value).casefold()
    return unicodedata.normalize("NFKC", once)


def label_form(name: str) -> str:
    """The normal form of a label: NFC, single blanks, and no invisible characters.

    All kinds of white space, such as non-breaking spaces, are blanks.
    """
    return " ".join(unicodedata.normalize("NFC", without_invisible(name)).split())


def is_unicode(value: str) -> bool:
    """Whether a string can be encoded: it has no half of a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
