"""Repeats of tests with random kills: a few by default, hundreds in the nightly run."""

import os


def repeats(few: int, nightly: int) -> int:
    """`nightly` where `LABELWRIGHT_NIGHTLY` is 1, as in `make test-nightly`, else `few`."""
    return nightly if os.environ.get("LABELWRIGHT_NIGHTLY") == "1" else few
