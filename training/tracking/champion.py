"""Comparison of a new model with the champion of the registry."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from labelwright.entities.errors import BundleError, ModelNotFoundError
from labelwright.entities.io.files import temporary_folder
from labelwright.entities.schema import EntitySchema
from labelwright.models.features.fingerprints import content_fingerprints
from labelwright.models.labeler import Labeler
from labelwright.models.labels import LabelSet
from labelwright.models.registry import Model, load_model
from labelwright.training.data import LabelledEntities, name_hashes
from labelwright.training.evaluation.answers import Answers
from labelwright.training.evaluation.cross_validation import Fit, Rows, cross_validate
from labelwright.training.evaluation.intervals import FEW_TEST_ROWS
from labelwright.training.evaluation.reviewer_agreement import ReviewerAgreement, worse_entities
from labelwright.training.feedback.merge import TrainingData, concatenated
from labelwright.training.fitting.fit import Configuration
from labelwright.training.tracking import gate, record, versions
from labelwright.training.tracking.stored_rows import StoredRows, read_training_rows

FEW_ROWS = 10 * FEW_TEST_ROWS
"""With this number of training and test rows or more, cross-validation takes too long."""
_UNUSABLE = (BundleError, ModelNotFoundError)
"""Errors of a model that will never load again: it is damaged, outdated or deleted."""
_ROW_COUNTS = ("unlabelled_rows", "labels_without_rows")
"""Parameters of a run that change when the data grows."""
_NOT_COMPARED = ("seed", "threads")
"""Fields of a configuration that do not make a recipe better."""


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


@dataclasses.dataclass(frozen=True)
class Challenger:
    """A new model that was trained on `data`, and its recipe.

    `fit` fits a model with this recipe on some rows of `data.train`. `refit` fits a model with
    other rows and another configuration; it is None if the recipe needs more than these. The run of
    the model has `parameters`. `agreement` is None without corrections.
    """

    name: str
    labeler: Labeler
    data: TrainingData
    configuration: Configuration
    parameters: Mapping[str, object]
    fit: Fit
    refit: Callable[[LabelledEntities, Configuration], Labeler] | None = None
    agreement: ReviewerAgreement | None = None

    @functools.cached_property
    def all_rows(self) -> LabelledEntities:
        """The training and test rows."""
        return concatenated(self.data.train, self.data.test)

    @functools.cached_property
    def corrected(self) -> npt.NDArray[np.uint64]:
        """Content fingerprints of the corrected entities."""
        parts = [part for part in (self.data.learned, self.data.unseen) if part is not None]
        found = [content_fingerprints(part.entities) for part in parts]
        return np.concatenate([np.zeros(0, np.uint64), *found])

    @functools.cached_property
    def complete_rows(self) -> LabelledEntities:
        """The training and test rows whose labels are all known: those that models are judged on.

        Rows that only have the labels of a correction are left out, and so are training rows that
        are test rows, too.
        """
        rows, train = self.all_rows, len(self.data.train)
        found = content_fingerprints(rows.entities)
        kept = np.ones(len(rows), np.bool_) if rows.partial is None else ~rows.partial
        kept[:train] &= ~np.isin(found[:train], found[train:])
        return rows.take(np.flatnonzero(kept))

    @functools.cached_property
    def answers(self) -> Answers | None:
        """Answers of the recipe to all complete rows; None if there are many rows, or too few."""
        if len(self.data.test) >= FEW_TEST_ROWS or len(self.all_rows) >= FEW_ROWS:
            return None
        return self._cross_validate(self.fit, self.data.train, self.labeler.labels)

    def answers_of_recipe(
        self, rows: LabelledEntities, configuration: Configuration, labels: LabelSet
    ) -> Answers | None:
        """Answers of the same recipe with other rows and settings to the same complete rows."""
        if (refit := self.refit) is None:
            return None
        configuration = dataclasses.replace(configuration, threads=self.configuration.threads)
        return self._cross_validate(
            lambda chosen: refit(rows.take(chosen), configuration), rows, labels
        )

    def _cross_validate(self, fit: Fit, rows: LabelledEntities, labels: LabelSet) -> Answers | None:
        scored = self.complete_rows.entities
        return cross_validate(fit, rows.entities, scored, labels, self.configuration.threads)


class Comparison:
    """Comparison of a challenger with the champion; a comparison with a version is made once."""

    def __init__(self, challenger: Challenger) -> None:
        self._challenger = challenger
        self._verdicts: dict[str, gate.Verdict] = {}

    def judge(self) -> gate.Verdict:
        """The verdict of the promotion gate.

        If there is no champion any more, the challenger is compared with the last former champion.
        """
        name = self._challenger.name
        version = versions.current_champion(name)
        if version is not None:
            return self._against(version)
        if not versions.exists(name):
            return gate.FIRST_VERSION
        missing = "there is no champion: its version or its alias was deleted, or none was promoted"
        if former := versions.existing_former_champions(name):
            verdict = self._against(former[0])
            return dataclasses.replace(
                verdict,
                reason=f"{missing}; version {former[0]}, the last former champion, takes its "
                f"place: {verdict.reason}",
            )
        return gate.Verdict(True, f"{missing}, and no former champion is left to compare with")

    def write_answers(self, folder: Path) -> Path | None:
        """Write the challenger's answers if they were needed; raises OSError."""
        answers = self._challenger.answers if self._verdicts else None
        if answers is None:
            return None
        answers.write(folder / record.ANSWERS)
        return folder / record.ANSWERS

    def _against(self, version: str) -> gate.Verdict:
        if version not in self._verdicts:
            self._verdicts[version] = _judge_against(version, self._challenger)
        return self._verdicts[version]


def _judge_against(version: str, challenger: Challenger) -> gate.Verdict:
    """The verdict of the promotion gate with this version as the champion."""
    labeler = challenger.labeler
    try:
        model = load_model(f"models:/{challenger.name}/{version}")
    except _UNUSABLE as error:
        return gate.Verdict(True, f"the champion cannot be loaded any more: {error}")
    if model.bundle.labeler.schema.columns != labeler.schema.columns:
        return gate.Verdict(
            False,
            "the champion reads other columns, so the two models cannot be compared on the same "
            "rows: look at `labelwright diff`, then promote this version with --force",
        )
    names = set(labeler.labels.names) & set(model.bundle.labeler.labels.names)
    if not names:
        return gate.Verdict(False, "it has no label in common with the champion")
    champion = _Champion(challenger, version, model, LabelSet(tuple(sorted(names))))
    return gate.judge(champion.evidence(), champion.doubts)


@dataclasses.dataclass(frozen=True)
class _Champion:
    """A version with which the challenger is compared on the labels `shared`."""

    challenger: Challenger
    version: str
    model: Model
    shared: LabelSet

    @functools.cached_property
    def rows(self) -> StoredRows | None:
        """The rows that the version was trained on."""
        return read_training_rows(self.challenger.name, self.version)

    @property
    def labeler(self) -> Labeler:
        """The version's model."""
        return self.model.bundle.labeler

    @functools.cached_property
    def configuration(self) -> Configuration | None:
        """The version's configuration; None if the version was imported."""
        given = self.model.bundle.manifest.details.get("configuration")
        return Configuration(**given) if given else None

    def evidence(self) -> gate.Evidence:
        """The difference measured by cross-validation, or on the test rows if they are more."""
        answers = self.challenger.answers
        others = None if answers is None else self._answers()
        if answers is not None and others is not None:
            found = others.find(self.challenger.complete_rows.entities)
            own = np.flatnonzero(found >= 0)
            if len(own) >= len(self.challenger.data.test):
                return self._evidence(
                    (answers, own),
                    (others, found[own]),
                    self.challenger.complete_rows.take(own),
                    "cross-validated rows",
                    "labelled rows",
                )
        return self._evidence_of_test_rows()

    def _evidence_of_test_rows(self) -> gate.Evidence:
        """The difference on the test rows that the version was not trained on, or on all."""
        test, threads = self.challenger.data.test, self.challenger.configuration.threads
        rows, note = np.arange(len(test)), "test rows"
        if self.rows is not None:
            seen = np.isin(content_fingerprints(test.entities), self.rows.rows)
            if seen.all():
                note += ", on all of which the champion was trained, which favours it,"
            elif seen.any():
                rows, note = np.flatnonzero(~seen), "test rows that the champion was not trained on"
        test = test.take(rows)
        own, other = (
            (Answers.of(labeler, test.entities, threads), np.arange(len(test)))
            for labeler in (self.challenger.labeler, self.labeler)
        )
        return self._evidence(own, other, test, note, "test rows")

    def _evidence(
        self,
        own: tuple[Answers, Rows],
        other: tuple[Answers, Rows],
        data: LabelledEntities,
        source: str,
        unit: str,
    ) -> gate.Evidence:
        """The difference of two answers to the same rows; each at its positions."""
        after, before = (
            answers.scores(positions, data, self.shared) for answers, positions in (own, other)
        )
        count = len(self.shared)
        return gate.Evidence(
            after - before,
            name_hashes(data.entities),
            data.entities,
            source,
            unit,
            count,
            lost=len(self.labeler.labels) - count,
            new=len(self.challenger.labeler.labels) - count,
        )

    def _answers(self) -> Answers | None:
        """The version's cross-validated answers: those of its run, or of new fits.

        None if its recipe or its rows are not at hand. New answers are stored in its run.
        """
        name = self.challenger.name
        with temporary_folder() as folder:
            file = record.download(name, self.version, record.ANSWERS, folder)
            if file is not None:
                try:
                    return Answers.read(Path(file))
                except (OSError, ValueError, EOFError, KeyError):
                    return None  # the file is damaged
            rows = None if self.rows is None else self.rows.restore(self.challenger.all_rows)
            if rows is None or self.configuration is None or self._other_parameters():
                return None
            answers = self.challenger.answers_of_recipe(
                rows, self.configuration, self.labeler.labels
            )
            if answers is not None:
                answers.write(folder / record.ANSWERS)
                record.add_artifact(name, self.version, folder / record.ANSWERS)
            return answers

    def _other_parameters(self) -> list[str]:
        """Names of the parameters in which the recipes differ, apart from the configuration."""
        stored = record.parameters(self.challenger.name, self.version)
        known = {field.name for field in dataclasses.fields(Configuration)}
        return [
            name
            for name, value in self.challenger.parameters.items()
            if name not in known | {*_ROW_COUNTS} and stored.get(name, "None") != str(value)
        ]

    def doubts(self) -> list[str]:
        """Reasons why the challenger is more than the champion's recipe on more data."""
        return [*self._changes_of_recipe(), *self._changes_of_rows(), *self._worse_entities()]

    def _changes_of_recipe(self) -> Iterator[str]:
        own, other = self.challenger.configuration, self.configuration
        names = self._other_parameters()
        if other is not None:
            names += [
                field.name
                for field in dataclasses.fields(Configuration)
                if getattr(own, field.name) != getattr(other, field.name)
                and field.name not in _NOT_COMPARED
            ]
        if _differ(self.labeler.schema, self.challenger.labeler.schema):
            names = [*dict.fromkeys([*names, "schema"])]
        if names:
            yield f"the configuration changed ({', '.join(names)})"

    def _changes_of_rows(self) -> Iterator[str]:
        rows = self.rows
        lost = (
            None if rows is None else rows.lost(self.challenger.all_rows, self.challenger.corrected)
        )
        if lost is None:
            yield "the champion's run does not have its training rows"
        elif lost:
            yield f"{lost:,} training rows of the champion are missing or have other labels"

    def _worse_entities(self) -> Iterator[str]:
        agreement = self.challenger.agreement
        worse = 0 if agreement is None else worse_entities(agreement.compared)
        if worse:
            entities = "entity" if worse == 1 else "entities"
            yield f"{worse:,} corrected {entities} got worse"


def _differ(one: EntitySchema, other: EntitySchema) -> bool:
    """Whether schemas of models differ in more than groups that only one model has labels of."""
    groups = {name: group for name, group in one.groups.items() if name in other.groups}
    common = {name: group for name, group in other.groups.items() if name in one.groups}
    return dataclasses.replace(one, groups=groups) != dataclasses.replace(other, groups=common)
