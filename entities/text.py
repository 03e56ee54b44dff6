"""Unicode normalisation: one spelling for what people read as the same characters."""

import unicodedata

import pyarrow as pa
import pyarrow.compute as pc


def normalise(array: pa.StringArray) -> pa.StringArray:
    """NFKC, case folded, NFKC again (Unicode's NFKC_Casefold but for ignorable characters).

    Takes and gives a string array of the same length; nulls stay null. Idempotent.
    """
    if pc.all(pc.string_is_ascii(array), min_count=0).as_py():
        return pc.ascii_lower(array)
    ascii_rows = pc.fill_null(pc.string_is_ascii(array), True)
    others = array.filter(pc.invert(ascii_rows)).to_pylist()
    folded = pa.array([normalise_one(value) for value in others], pa.string())
    return pc.replace_with_mask(pc.ascii_lower(array), pc.invert(ascii_rows), folded)


def normalise_one(value: str) -> str:
    """The same for one string."""
    once = unicodedata.normalize("NFKC", value).casefold()
    return unicodedata.normalize("NFKC", once)
