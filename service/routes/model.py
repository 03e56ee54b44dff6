"""What the model is, how it came to serve, and which labels it knows."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any
from urllib.parse import quote

import fastapi
from fastapi import Query

from labelwright.entities.errors import ModelNotFoundError
from labelwright.entities.taxonomy import DEFAULT, LANGUAGE_LIMIT, Taxonomy, osm_taxonomy
from labelwright.models.decisions import NEVER, LabelQuery
from labelwright.models.labeler import Labeler
from labelwright.models.paths import mlflow_ui
from labelwright.models.registry import Model, is_alias
from labelwright.service.engine.engine import Engine
from labelwright.service.rollout.manager import ModelManager
from labelwright.service.rollout.state import CHALLENGER, CHAMPION


def model_routes(engine: Engine) -> fastapi.APIRouter:
    """Everything under `/v1/model`, and `GET /v1/labels`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["model"])
    manager = engine.manager

    @router.get("/model")
    async def describe() -> dict[str, Any]:
        """Which model serves, how good it is, what its entities look like, and what is to come.

        `following` tells what the registry said last, `refused` a model that did not pass its
        checks, `changed` what the last swap has changed.
        """
        served = manager.champion
        model, change = served.model, served.change
        labeler, manifest = model.bundle.labeler, model.bundle.manifest
        return {
            **model.identity,
            "uri": model.uri,
            "run_id": model.run_id,
            "run_url": _run_url(model),
            "labels": len(labeler.labels),
            "policies": labeler.decisions.policy_names,
            "metrics": manifest.details.get("metrics", {}),
            "schema": manifest.schema,
            "labelwright": manifest.labelwright,
            "following": _following(manager),
            "refused": _refused(manager, CHAMPION),
            "changed": change and dataclasses.asdict(change),
            "challenger": _challenger(manager),
        }

    @router.get("/model/report")
    async def report() -> dict[str, Any]:
        """How the model did on its test rows: by label, by slice, its promises and reliability.

        `labels` has a column for each figure, in the order of `GET /v1/labels`.
        """
        told: dict[str, Any] = manager.model.bundle.manifest.details.get("report", {})
        return told

    @router.get("/model/comparison")
    def compare(limit: Annotated[int, Query(ge=1, le=10_000)] = 100) -> dict[str, Any]:
        """What champion and challenger have asserted of the same entities, by label.

        `alike` counts the entities with the same labels of both; `dropped` the requests that were
        not compared because others waited.
        """
        pair = manager.pair()
        if pair is None:
            raise ModelNotFoundError("no challenger is compared with the champion")
        return engine.comparison.to_json(pair, limit)

    @router.get("/labels")
    def search(
        search: Annotated[str, Query(max_length=200)] = "",
        lang: Annotated[str, Query(max_length=LANGUAGE_LIMIT)] = DEFAULT,
        offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
        limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
    ) -> dict[str, Any]:
        """The labels that the words searched for name, with what decides about them.

        OpenStreetMap's labels have a `title` in the language `lang`, and are found by synonyms too.
        A threshold of null says that the policy never asserts the label, for want of evidence.
        """
        labeler, taxonomy = manager.model.bundle.labeler, osm_taxonomy(lang)
        found = taxonomy.search(labeler.labels.names, search)
        labels = _described(labeler, taxonomy, found[offset : offset + limit])
        return {"total": len(found), "labels": labels}

    return router


def _run_url(model: Model) -> str | None:
    """Where the MLflow UI shows the model's run."""
    page = mlflow_ui()
    return f"{page}/#/runs/{quote(model.run_id)}" if page and model.run_id else None


def _following(manager: ModelManager) -> dict[str, Any] | None:
    """What is known of the registry; None where a fixed model serves."""
    state = manager.state
    if not is_alias(manager.model.uri):
        return None
    return {
        "alias": manager.model.uri.partition("@")[2],
        "checked": state.checked,
        "reachable": state.registry is None,
        "detail": state.registry,
    }


def _refused(manager: ModelManager, role: str) -> dict[str, Any] | None:
    refusal = manager.refusal(role)
    return dataclasses.asdict(refusal) if refusal else None


def _challenger(manager: ModelManager) -> dict[str, Any] | None:
    """The model that is compared with the champion; None where none is asked for."""
    routing, challenger = manager.state.routing, manager.challenger
    if not routing.has_challenger:
        return None
    return {
        "model": challenger and challenger.model.identity,
        "share": routing.share,
        "shadow": routing.shadow,
        "refused": _refused(manager, CHALLENGER),
    }


def _described(labeler: Labeler, taxonomy: Taxonomy, labels: Sequence[int]) -> list[dict[str, Any]]:
    """What decides about some labels."""
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
                policy: None if given[i] == NEVER else float(given[i])
                for policy, given in thresholds.items()
            },
            "implies": [labeler.labels.names[a] for a in labeler.implications.ancestors_of(i)],
        }
        for i in labels
    ]
