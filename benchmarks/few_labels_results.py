"""Results of `benchmarks.few_labels`: one cell for each set, number of rows and method."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from labelwright.training.evaluation.intervals import wilson

Key = tuple[str, int, str]
"""Set, number of labelled rows, and name of the method."""


@dataclasses.dataclass(frozen=True)
class Method:
    """A line of the table. `own` is True for labelwright, `encoder` if it uses vectors.

    `unlabelled` is True if the method learns from rows without labels.
    """

    name: str
    title: str
    own: bool = False
    encoder: bool = False
    unlabelled: bool = False


METHODS = (
    Method("labelwright", "labelwright", own=True),
    Method(
        "labelwright-encoder",
        "labelwright, encoder and unlabelled rows",
        own=True,
        encoder=True,
        unlabelled=True,
    ),
    Method("words-letters-svc", "words + letters, LinearSVC"),
    Method("encoder-logistic", "encoder, logistic regression", encoder=True),
)


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures of one trial; P@k are in percent, and `ece` is None without probabilities."""

    p_at_1: float
    p_at_3: float
    micro_f1: float
    ece: float | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class Cell:
    """The trials of a method on drawings of a set, or a note with the reason why there are none."""

    data_set: str
    rows: int
    method: str
    commit: str
    date: str
    trials: Sequence[Figures] = ()
    note: str = ""

    @property
    def key(self) -> Key:
        """Set, number of rows and method."""
        return self.data_set, self.rows, self.method

    def mean(self, figure: str) -> float | None:
        """The mean of a figure over the trials; None if there is none."""
        values = [getattr(trial, figure) for trial in self.trials]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    def interval(self, test_rows: int) -> tuple[float, float]:
        """The 95% interval of P@1 in percent (Wilson), for this number of test rows.

        All trials have the same test rows, so more trials do not make the interval narrower.
        """
        share = (self.mean("p_at_1") or 0.0) / 100
        low, high = wilson(np.array([share]), np.array([test_rows]))
        return 100 * float(low[0]), 100 * float(high[0])

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> Self:
        """Build a cell from its JSON object."""
        trials = [Figures(**trial) for trial in content["trials"]]
        return cls(**{**content, "trials": trials})


@dataclasses.dataclass(frozen=True)
class MeasuredSet:
    """Numbers of rows of a set, its encoder, and the cost of its vectors.

    `embedded` is the number of texts that were not in the cache, and `seconds` their time.
    """

    name: str
    train: int
    test: int
    encoder: str
    embedded: int = 0
    seconds: float = 0.0


@dataclasses.dataclass
class Results:
    """All cells, and the sets that have cells."""

    cells: dict[Key, Cell] = dataclasses.field(default_factory=dict)
    sets: dict[str, MeasuredSet] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a JSON file; without the file, there are no results."""
        if not file.exists():
            return cls()
        content = json.loads(file.read_text("utf-8"))
        results = cls()
        for data_set in content["sets"]:
            results.describe(MeasuredSet(**data_set))
        results.merge(map(Cell.from_mapping, content["cells"]))
        return results

    def merge(self, cells: Iterable[Cell]) -> None:
        """Add cells; a cell replaces the older cell of the same set, rows and method."""
        self.cells |= {cell.key: cell for cell in cells}

    def describe(self, data_set: MeasuredSet) -> None:
        """Add a set. The cost of an earlier run stays if all vectors are now in the cache."""
        before = self.sets.get(data_set.name)
        if not data_set.embedded and before and before.encoder == data_set.encoder:
            data_set = dataclasses.replace(
                data_set, embedded=before.embedded, seconds=before.seconds
            )
        self.sets[data_set.name] = data_set

    def content(self) -> dict[str, Any]:
        """The object of the JSON file."""
        return {
            "sets": [dataclasses.asdict(data_set) for data_set in self.sets.values()],
            "cells": [dataclasses.asdict(self.cells[key]) for key in sorted(self.cells)],
        }
