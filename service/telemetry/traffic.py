"""What callers have asked about of late, counted.

A few times a second, some entities of a request are sampled after it has been labelled, and when
there are enough of them they are counted, so that the service is no slower for it. No entity is
kept after that.
"""

import itertools
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from labelwright.entities.tables import Entities, concatenate
from labelwright.models.bundle.format import Bundle
from labelwright.models.monitoring.drift import LEAST_ROWS, Shift, shifts
from labelwright.models.monitoring.profile import Profile
from labelwright.models.registry import Model
from labelwright.service.telemetry.window import Window

EVERY = 0.2
"""Seconds between two requests that are looked at, for each process."""
SAMPLE = 64
"""Entities of one request that are counted at most, and of several that are counted at least."""
_KEPT = 2
"""Models whose counts are at hand: that which serves, and that which some requests began with."""


class Traffic:
    """What the processes of a service have seen of late; safe to call from any thread.

    They meet in `folder`; without one, each knows what it has seen itself. What others have sampled
    and not counted yet, fewer than SAMPLE rows each, is missing.
    """

    def __init__(self, folder: Path | None = None, every: float = EVERY) -> None:
        self._folder, self._every, self._due = folder, every, 0.0
        self._lock = threading.Lock()
        self._sampled: list[tuple[Bundle, Entities]] = []
        self._windows: dict[str, Window] = {}

    def sample(self, model: Model, entities: Entities) -> None:
        """Sample some entities that have been labelled, if it is time to."""
        with self._lock:
            if (now := time.monotonic()) < self._due:
                return
            self._due = now + self._every
        accepted = np.delete(np.arange(len(entities)), list(entities.rejected))
        rows = accepted[:: max(1, -(-len(accepted) // SAMPLE))]
        with self._lock:
            self._sampled.append((model.bundle, entities.take(rows)))
            enough = sum(len(sample) for _, sample in self._sampled) >= SAMPLE
        if enough:
            self._count()

    def shifts(self, model: Model) -> tuple[int, Sequence[Shift]]:
        """How many rows have been seen, and how far they have moved: nothing for too few rows."""
        bundle = model.bundle
        self._count()
        with self._lock:
            counts = self._window(bundle).total()
        seen = Profile(counts, bundle.profile.columns)
        if min(seen.rows, bundle.profile.rows) < LEAST_ROWS:
            return seen.rows, []
        return seen.rows, shifts(bundle.labeler, bundle.profile, seen)

    def psi_by_name(self, model: Model) -> Mapping[tuple[str, str], float]:
        """The index by kind and name: of each field and score, and the `largest` of all labels."""
        found: dict[tuple[str, str], float] = {}
        for shift in self.shifts(model)[1]:
            key = shift.kind, "largest" if shift.kind == "label" else shift.name
            found[key] = max(shift.psi, found.get(key, 0.0))
        return found

    def _count(self) -> None:
        """Count what has been sampled, all of one model in one go."""
        with self._lock:
            sampled, self._sampled = self._sampled, []
        for _, alike in itertools.groupby(sampled, lambda sample: id(sample[0])):
            of_one = list(alike)
            bundle = of_one[0][0]
            seen = Profile.of(bundle.labeler, concatenate([sample for _, sample in of_one]))
            with self._lock:
                self._window(bundle).add(seen)

    def _window(self, bundle: Bundle) -> Window:
        """The counts that belong to a model and its profile."""
        key = bundle.manifest.content[:16] + bundle.manifest.profile[:16]
        if key not in self._windows:
            while len(self._windows) >= _KEPT:
                self._windows.pop(next(iter(self._windows))).close()
            self._windows[key] = Window(len(bundle.profile.counts), self._folder, key)
        return self._windows[key]
