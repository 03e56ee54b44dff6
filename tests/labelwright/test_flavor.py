"""A registered model loaded by MLflow: errors for input and parameters of the wrong type."""

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
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
        ("name", 5.5, "column 'name' holds double; its kind is text"),
        ("name", True, "column 'name' holds bool; its kind is text"),
        ("name", pd.Series([5], dtype=object), "column 'name' holds int64; its kind is text"),
        ("lat", "north", "row 0: lat: "),
        ("lat", 200.0, "row 0: lat: must lie between -90 and 90"),
        ("tags", "fee=no", "tags"),
        ("tags", pd.Series([{"fee": [1]}]), "tags must be a map, a struct or JSON text"),
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
    ("column", "value", "same"),
    [
        ("city", [np.nan, np.nan], None),
        ("city", [pd.NaT, pd.NaT], None),
        ("city", pd.Categorical([np.nan, np.nan]), None),
        ("city", pd.Categorical(["Rome", None]), ["Rome", None]),
        ("name", pd.Categorical(["Bar", "Bank"]), ["Bar", "Bank"]),
        ("lat", [48, 49], [48.0, 49.0]),
        ("lat", pd.Categorical([48.5, 49.5]), [48.5, 49.5]),
        ("lat", pd.array([48, None], dtype="Int64"), [48.0, None]),
        ("id", [np.nan, np.nan], None),
        ("tags", [np.nan, np.nan], None),
    ],
)
def test_pandas_may_give_a_column_another_type(
    model: "PyFuncModel", column: str, value: Any, same: list[Any] | None
) -> None:
    frame = pd.DataFrame({"name": ["Bar", "Bank"], "lat": [1.0, 2.0], "lon": [1.0, 2.0]})
    if isinstance(value, pd.api.extensions.ExtensionArray) and value[1] is pd.NA:
        frame["lon"] = [1.0, np.nan]
    expected = frame.drop(columns=column, errors="ignore")
    if same is not None:
        expected = expected.assign(**{column: same})
    assert labels(model, frame.assign(**{column: value})) == labels(model, expected)


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
