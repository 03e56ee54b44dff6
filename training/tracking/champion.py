"""Comparison of a new model with the champion of the registry."""

import dataclasses

import numpy as np

from labelwright.entities.errors import BundleError, ModelNotFoundError
from labelwright.entities.io.files import temporary_folder
from labelwright.entities.schema import EntitySchema
from labelwright.models.features.fingerprints import content_fingerprints
from labelwright.models.labeler import Labeler
from labelwright.models.registry import load_model
from labelwright.training.data import LabelledEntities
from labelwright.training.tracking import gate, record, versions

_UNUSABLE = (BundleError, ModelNotFoundError)
"""Errors of a model that will never load again: it is damaged, outdated or deleted."""


def comparable_champion(name: str, schema: EntitySchema) -> tuple[str, Labeler] | None:
    """The champion's version and model.

    None if there is no champion, or if the champion cannot be loaded or reads other columns.
    """
    version = versions.current_champion(name)
    if version is None:
        return None
    try:
        labeler = load_model(f"models:/{name}/{version}").bundle.labeler
    except _UNUSABLE:
        return None
    return (version, labeler) if labeler.schema.columns == schema.columns else None


def judge(
    name: str, labeler: Labeler, test: LabelledEntities, seed: int, threads: int
) -> gate.Verdict:
    """The verdict of the promotion gate: compares a new model with the champion of `name`.

    If there is no champion any more, the new model is compared with the last former champion.
    """
    version = versions.current_champion(name)
    if version is not None:
        return _judge_against(version, name, labeler, test, seed, threads)
    if not versions.exists(name):
        return gate.FIRST_VERSION
    missing = "there is no champion: its version or its alias was deleted, or none was promoted"
    if former := versions.existing_former_champions(name):
        verdict = _judge_against(former[0], name, labeler, test, seed, threads)
        return dataclasses.replace(
            verdict,
            reason=f"{missing}; version {former[0]}, the last former champion, takes its place: "
            f"{verdict.reason}",
        )
    return gate.Verdict(True, f"{missing}, and no former champion is left to compare with")


def _judge_against(
    version: str, name: str, labeler: Labeler, test: LabelledEntities, seed: int, threads: int
) -> gate.Verdict:
    """The verdict of the promotion gate with this version as the champion."""
    try:
        champion = load_model(f"models:/{name}/{version}").bundle.labeler
    except _UNUSABLE as error:
        return gate.Verdict(True, f"the champion cannot be loaded any more: {error}")
    if champion.schema.columns != labeler.schema.columns:
        return gate.Verdict(
            False,
            "the champion reads other columns, so the two models cannot be compared on the same "
            "rows: look at `labelwright diff`, then promote this version with --force",
        )
    verdict = gate.compare(labeler, champion, test, seed, threads)
    if not (share := _share_seen(name, version, test)):
        return verdict
    note = f"the champion was trained on {share:.1%} of these rows, which favours it"
    return dataclasses.replace(verdict, reason=f"{verdict.reason}; {note}")


def _share_seen(name: str, version: str, test: LabelledEntities) -> float:
    """The share of the test rows that a version was trained on; 0 if its rows are not stored."""
    with temporary_folder() as folder:
        seen = record.training_rows(name, version, folder)
    return 0.0 if seen is None else float(np.isin(content_fingerprints(test.entities), seen).mean())
