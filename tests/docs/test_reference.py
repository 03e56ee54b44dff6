"""The page docs/reference.md is up to date, and the table of settings is complete."""

import re

import httpx

from labelwright.settings import SETTINGS
from tests.docs.pages import ROOT
from tests.docs.reference import REFERENCE, reference

pytest_plugins = ["tests.worlds"]

PACKAGES = ("entities", "labelwright", "models", "service", "training")


def test_the_reference_is_up_to_date(client: httpx.Client) -> None:
    openapi = client.get("/openapi.json").json()
    assert REFERENCE.read_text("utf-8") == reference(openapi), "run `make reference`"


def test_every_environment_variable_of_the_code_is_in_the_table() -> None:
    code = "".join(
        file.read_text() for package in PACKAGES for file in (ROOT / package).rglob("*.py")
    )
    read = set(re.findall(r'environ(?:\.get\(|\[)\s*"(\w+)"', code))
    assert {name for name in read if name.startswith("LABELWRIGHT_")}
    set_for_libraries = {"OTEL_SERVICE_NAME", "OMP_NUM_THREADS", "HF_HUB_OFFLINE"}
    assert read - set_for_libraries <= set(SETTINGS)
