"""The page at `/`: plain files that ask the same API as everyone else."""

from pathlib import Path

from starlette.staticfiles import StaticFiles

_FILES = Path(__file__).with_name("page")


def page() -> StaticFiles:
    """The files of the page, to be mounted at `/` after all routes."""
    return StaticFiles(directory=_FILES, html=True)
