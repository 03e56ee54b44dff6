"""The number of repetitions of a test, or its seconds; the nightly run has the most."""

import os


def repeats(few: int, nightly: int) -> int:
    """`nightly` if `LABELWRIGHT_NIGHTLY` is 1, which `make test-nightly` sets; otherwise `few`."""
    return nightly if os.environ.get("LABELWRIGHT_NIGHTLY") == "1" else few
