"""A fixture for folders of tests that train often: plots are drawn where they are tested.

The plots take a third of a short training. `tests/training/reporting` tests them.
"""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def plain_reports() -> Iterator[None]:
    """Reports of trainings in the test process have no plots."""
    from labelwright.training.reporting import report

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report, "write_plots", lambda *_: None)
        yield
