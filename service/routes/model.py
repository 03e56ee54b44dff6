"""Routes about the model: its identity, quality and rollout, and its labels."""

from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import fastapi
from fastapi import Query

from labelwright.entities.errors import ModelNotFoundError
from labelwright.entities.taxonomy import DEFAULT, LANGUAGE_LIMIT, Taxonomy, taxonomy_of
from labelwright.models.decisions import NEVER, LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.paths import mlflow_ui
from labelwright.models.registry import Model, is_alias
from labelwright.service.engine.engine import Engine
from labelwright.service.protocols.results import identity
from labelwright.service.rollout.manager import ModelManager
from labelwright.service.rollout.state import CHALLENGER, CHAMPION
from labelwright.service.routes.model_messages import (
    Challenger,
    Comparison,
    Following,
    LabelDetails,
    LabelList,
    ModelDescription,
)


def model_routes(engine: Engine) -> fastapi.APIRouter:
    """Router of all paths under `/v1/model`, and of `GET /v1/labels`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["model"])
    manager = engine.manager

    @router.get("/model")
    async def describe() -> ModelDescription:
        """The model in service: its identity, metrics and schema, and the state of its rollout.

        `following` has the alias that the service follows and its last contact with the registry.
        `refused` is the model that the alias names, if it failed its checks. `changed` has the
        differences from the previous model in service.
        """
        champion = manager.champion
        model, change = champion.model, champion.change
        labeler, manifest = model.bundle.labeler, model.bundle.manifest
        return {
            **identity(model),
            "uri": model.uri,
            "run_id": model.run_id,
            "run_url": _run_url(model),
            "labels": len(labeler.labels),
            "policies": labeler.decisions.policy_names,
            "metrics": manifest.details.get("metrics", {}),
            "schema": {**manifest.schema},
            "labelwright": manifest.labelwright,
            "following": _following(manager),
            "refused": manager.refusal(CHAMPION),
            "changed": change,
            "challenger": _challenger(manager),
        }

    @router.get("/model/report")
    async def report() -> dict[str, Any]:
        """The evaluation of the model on its test rows: labels, slices, precision, reliability.

        `labels` has one list for each figure, in the order of `GET /v1/labels`. The list `promises`
        has the precision guarantees, each with the precision that was measured on the test rows.
        """
        evaluation: dict[str, Any] = manager.model.bundle.manifest.details.get("report", {})
        return evaluation

    @router.get("/model/comparison")
    def compare(limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> Comparison:
        """The number of times that champion and challenger assert each label for the same entities.

        `alike` counts the entities for which both models assert the same labels. `dropped` counts
        requests that were not compared, because other requests waited. `failed` counts requests
        that the compared model failed to label.
        """
        pair = manager.pair()
        if pair is None:
            raise ModelNotFoundError(
                "no challenger is compared with the champion: start the service with --shadow or "
                "--challenger, and give a version the alias challenger"
            )
        return {
            "champion": identity(pair.champion),
            "challenger": identity(pair.challenger),
            **engine.comparison.counts(pair, limit),
        }

    @router.get("/labels")
    def search(
        search: Annotated[str, Query(max_length=200)] = "",
        lang: Annotated[str, Query(max_length=LANGUAGE_LIMIT)] = DEFAULT,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> LabelList:
        """The labels whose names match a search, with their thresholds.

        Labels of OpenStreetMap, and labels of the model's label book, have a `title` in the
        language `lang`; a search matches their synonyms too. A threshold of null means that the
        policy never asserts the label, because there is not enough evidence for it.
        """
        labeler, taxonomy = (
            manager.model.bundle.labeler,
            taxonomy_of(manager.model.bundle.labeler.book, lang),
        )
        matches = taxonomy.search(labeler.labels.names, search)
        labels = _label_details(labeler, taxonomy, matches[offset : offset + limit])
        return {"total": len(matches), "labels": labels}

    return router


def _run_url(model: Model) -> str | None:
    """The URL of the model's run in the MLflow UI, None if there is no UI or no run."""
    page = mlflow_ui()
    return f"{page}/#/runs/{quote(model.run_id)}" if page and model.run_id else None


def _following(manager: ModelManager) -> Following | None:
    """The alias that is followed and the last contact with the registry, None without an alias."""
    state = manager.state
    if not is_alias(manager.model.uri):
        return None
    return {
        "alias": manager.model.uri.partition("@")[2],
        "checked": state.checked,
        "reachable": state.registry is None,
        "detail": state.registry,
    }


def _challenger(manager: ModelManager) -> Challenger | None:
    """The challenger and its routing, None if no challenger is used."""
    routing, challenger = manager.state.routing, manager.challenger
    if not routing.has_challenger:
        return None
    return {
        "model": identity(challenger.model) if challenger else None,
        "share": routing.share,
        "shadow": routing.shadow,
        "refused": manager.refusal(CHALLENGER),
    }


def _label_details(
    labeler: Labeler, taxonomy: Taxonomy, labels: Sequence[int]
) -> list[LabelDetails]:
    """Name, title, rate, thresholds and implied labels of each of the given label numbers."""
    decisions = labeler.decisions
    thresholds = {
        policy: decisions.thresholds(LabelQuery(policy=policy)) for policy in decisions.policy_names
    }
    return [
        {
            "label": labeler.labels.names[i],
            "title": taxonomy.title(labeler.labels.names[i]),
            "rate": float(labeler.reranker.rate[i]),
            "thresholds": {
                policy: None if values[i] == NEVER else float(values[i])
                for policy, values in thresholds.items()
            },
            "implies": [labeler.labels.names[a] for a in labeler.implications.ancestors_of(i)],
        }
        for i in labels
    ]
