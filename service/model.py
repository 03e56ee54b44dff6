"""What the model is and which labels it knows."""

from typing import Annotated, Any

import fastapi
from fastapi import Query

from entities.taxonomy import DEFAULT, LANGUAGE_LIMIT, osm_taxonomy
from models.decisions import NEVER, Question
from models.registry import Model
from service.answers import identity


def model_and_labels(model: Model) -> fastapi.APIRouter:
    """`GET /v1/model` and `GET /v1/labels`."""
    router = fastapi.APIRouter(prefix="/v1", tags=["model"])
    labeler, manifest = model.bundle.labeler, model.bundle.manifest
    thresholds = {
        policy: labeler.decisions.thresholds(Question(policy=policy))
        for policy in labeler.decisions.policy_names
    }

    @router.get("/model")
    async def describe() -> dict[str, Any]:
        """Which model serves, how good it is, and what its entities look like."""
        return {
            **identity(model),
            "uri": model.uri,
            "run_id": model.run_id,
            "labels": len(labeler.labels),
            "policies": labeler.decisions.policy_names,
            "metrics": manifest.details.get("metrics", {}),
            "schema": manifest.schema,
            "labelwright": manifest.labelwright,
        }

    @router.get("/model/report")
    async def report() -> dict[str, Any]:
        """How the model did on its test rows: by label, by slice, its promises and reliability.

        `labels` has a column for each figure, in the order of `GET /v1/labels`.
        """
        told: dict[str, Any] = manifest.details.get("report", {})
        return told

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
        taxonomy = osm_taxonomy(lang)
        found = taxonomy.search(labeler.labels.names, search)
        labels = [
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
            for i in found[offset : offset + limit]
        ]
        return {"total": len(found), "labels": labels}

    return router
