"""Unicode: one form for texts that differ only in case or encoding, and texts without encoding."""

import re
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")


def without_invisible(value: str) -> str:
    """Remove the characters inside words that only control the breaking of lines.

    These are the soft hyphen, the zero-width space, the word joiner, and the byte order mark, which
    is an old word joiner.
    """
    return _INVISIBLE.sub("", value)


def normalise(array: pa.StringArray) -> pa.StringArray:
    """Apply NFKC, case folding and NFKC again to each string; nulls stay null.

    This is Unicode's NFKC_Casefold, except that ignorable characters are kept. It is idempotent.
    """
    if pc.all(pc.string_is_ascii(array), min_count=0).as_py():
        return pc.ascii_lower(array)
    ascii_rows = pc.fill_null(pc.string_is_ascii(array), True)
    others = array.filter(pc.invert(ascii_rows)).to_pylist()
    folded = pa.array([normalise_one(value) for value in others], pa.string())
    return pc.replace_with_mask(pc.ascii_lower(array), pc.invert(ascii_rows), folded)


def normalise_one(value: str) -> str:
    """Normalise one string as `normalise` does."""
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
