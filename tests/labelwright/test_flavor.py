"""A registered model loaded by MLflow: errors for input and parameters of the wrong type."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import mlflow
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from labelwright.models.registry import load_model

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

    from tests.conftest import World

pytest_plugins = ["tests.worlds"]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:mlflow")


@pytest.fixture
def model(trained_world: "World", monkeypatch: pytest.MonkeyPatch) -> "PyFuncModel":
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{trained_world.home / 'mlflow.db'}")
    load_model(trained_world.uri)  # points MLflow at this world
    model: PyFuncModel = mlflow.pyfunc.load_model(trained_world.uri)
    return model


@pytest.fixture
def mlflow_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The warnings of `mlflow.models`, even if MLflow's loggers do not propagate them."""
    logger = logging.getLogger("mlflow.models.utils")
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.WARNING, logger.name):
        yield caplog
    logger.removeHandler(caplog.handler)


def labels(model: "PyFuncModel", frame: pd.DataFrame, params: Any = None) -> list[Any]:
    predictions: Any = model.predict(frame, params=params)
    return list(predictions["labels"])


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("name", 5, "column name. Can not safely convert int64"),
        ("name", 5.5, "column name. Can not safely convert float64"),
        ("name", True, "column name. Can not safely convert bool"),
        ("name", pd.Series([5], dtype=object), "column 'name' holds int64; its kind is text"),
        ("lat", "north", "column lat. Can not safely convert"),
        ("lat", "48.1", "column lat. Can not safely convert"),
        ("lat", 48, "column lat. Can not safely convert int64 to float64"),
        ("lat", 200.0, "row 0: lat: must lie between -90 and 90"),
        ("tags", "fee=no", "tags"),
        ("tags", pd.Series([{"fee": 1}]), "`1` with dtype `string`"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_error(
    model: "PyFuncModel", column: str, value: Any, message: str
) -> None:
    frame = pd.DataFrame({"name": ["Bar"], "lat": [1.0], "lon": [1.0]}).assign(**{column: value})
    with pytest.raises(MlflowException) as caught:
        model.predict(frame)
    assert message in str(caught.value)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"top_k": "3"}, "Can not safely convert"),
        ({"top_k": 3.5}, "Can not safely convert"),
        ({"top_k": 0}, "top_k must lie between 1 and 1,000"),
        ({"policy": 3}, "Can not safely convert"),
        ({"policy": "reckless"}, "unknown policy; this model has balanced"),
        ({"min_probability": "half"}, "Can not safely convert"),
        ({"min_probability": 2.0}, "min_probability must lie between 0 and 1"),
        ({"min_precision": 0.995}, "min_precision must lie between 0 and 0.99"),
        (["top_k"], "Parameters must be a dictionary"),
    ],
    ids=str,
)
def test_a_parameter_of_the_wrong_type_or_size_is_an_error(
    model: "PyFuncModel", params: Any, message: str
) -> None:
    with pytest.raises(MlflowException) as caught:
        model.predict(pd.DataFrame({"name": ["Bar"]}), params=params)
    assert message in str(caught.value)
    assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_mlflow_drops_unknown_columns_and_parameters_with_a_warning(
    model: "PyFuncModel", mlflow_log: pytest.LogCaptureFixture
) -> None:
    """MLflow drops them before it calls the model; labelwright's service and API refuse them."""
    frame = pd.DataFrame({"name": ["Bar"]})
    expected = labels(model, frame)
    assert labels(model, frame.assign(nmae="Bank")) == expected
    assert labels(model, frame, {"topk": 1}) == expected
    assert "nmae" in mlflow_log.text
    assert "topk" in mlflow_log.text
    with pytest.raises(MlflowException, match="no column is known to schema 'places'"):
        model.predict(pd.DataFrame({"nmae": ["Bar"]}))
