"""docs/reference.md is what the code says, and the settings are all there are."""

import re

import httpx

from labelwright.settings import SETTINGS
from tests.docs.pages import ROOT
from tests.docs.reference import REFERENCE, reference

pytest_plugins = ["tests.worlds"]

ROOMS = ("entities", "labelwright", "models", "service", "training")


def test_the_reference_is_what_the_code_says(client: httpx.Client) -> None:
    described = client.get("/openapi.json").json()
    assert REFERENCE.read_text("utf-8") == reference(described), "`make reference` renews it"


def test_every_variable_of_ours_that_is_read_is_listed() -> None:
    code = "".join(file.read_text() for room in ROOMS for file in (ROOT / room).rglob("*.py"))
    read = set(re.findall(r'environ(?:\.get\(|\[)\s*"(\w+)"', code))
    assert {name for name in read if name.startswith("LABELWRIGHT_")}
    assert read - {"OTEL_SERVICE_NAME"} <= set(SETTINGS)
