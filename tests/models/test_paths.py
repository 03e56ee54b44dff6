"""The address of the MLflow UI for browsers."""

import pytest

from labelwright.models.paths import mlflow_ui


@pytest.mark.parametrize(
    ("ui", "tracking", "expected"),
    [
        ("", "sqlite:///x.db", None),
        ("", "http://tracking:5000/", "http://tracking:5000"),
        ("https://mlflow.example/x", "http://tracking:5000", "https://mlflow.example/x"),
        ("http://anna:secret@mlflow.example:81", "", "http://mlflow.example:81"),
        ("javascript:alert(1)", "sqlite:///x.db", None),
        ("http://[::1", "http://tracking:5000", "http://tracking:5000"),
        ("mlflow.example", "postgresql://anna:secret@db/mlflow", None),
    ],
)
def test_the_address_of_the_ui_is_http_and_has_no_credentials(
    monkeypatch: pytest.MonkeyPatch, ui: str, tracking: str, expected: str | None
) -> None:
    monkeypatch.setenv("LABELWRIGHT_MLFLOW_UI", ui)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking)
    assert mlflow_ui() == expected
