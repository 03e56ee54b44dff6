"""Responses of the routes about the model. Their types are the source of the OpenAPI document."""

from typing import Annotated, Any

from pydantic import Field
from typing_extensions import TypedDict  # pydantic needs this TypedDict before Python 3.12

from labelwright.service.protocols.results import ModelIdentity
from labelwright.service.rollout.manager import Change
from labelwright.service.rollout.shadow import LabelComparison
from labelwright.service.rollout.state import Refusal


class Following(TypedDict):
    """The alias that the service follows."""

    alias: str
    checked: Annotated[
        str | None, Field(description="The time of the last contact with the registry.")
    ]
    reachable: bool
    detail: Annotated[str | None, Field(description="The reason why the registry is unreachable.")]


class Challenger(TypedDict):
    """The challenger and its use."""

    model: ModelIdentity | None
    share: Annotated[
        float, Field(ge=0, le=1, description="The share of requests that the challenger labels.")
    ]
    shadow: Annotated[
        bool, Field(description="Whether its predictions are compared with the champion's.")
    ]
    refused: Refusal | None


class ModelDescription(ModelIdentity):
    """The model in service and the state of its rollout."""

    uri: str
    run_id: str | None
    run_url: Annotated[str | None, Field(description="The page of the run in the MLflow UI.")]
    labels: Annotated[int, Field(description="The number of labels.")]
    policies: list[str]
    metrics: dict[str, Any]
    schema: dict[str, Any]
    labelwright: Annotated[str, Field(description="The version that trained the model.")]
    following: Following | None
    refused: Refusal | None
    changed: Change | None
    challenger: Challenger | None


class LabelDetails(TypedDict):
    """A label of the model."""

    label: str
    title: str | None
    rate: Annotated[float, Field(description="The share of training rows that have the label.")]
    thresholds: Annotated[
        dict[str, float | None],
        Field(
            description="The threshold of each policy. null: the policy never asserts the label."
        ),
    ]
    implies: list[str]


class LabelList(TypedDict):
    """A page of the labels that match a search."""

    total: Annotated[int, Field(description="The number of all labels that match.")]
    labels: list[LabelDetails]


class Comparison(TypedDict):
    """The predictions of champion and challenger for the same entities."""

    champion: ModelIdentity
    challenger: ModelIdentity
    entities: int
    alike: int
    dropped: int
    failed: int
    labels: list[LabelComparison]
