"""Sample of the recent traffic, as counts that are compared with the model's profile for drift.

A few times a second, some entities of a labelled request are kept until there are enough to count.
They are counted together after their responses are sent, so that requests are not slowed down.
After that only the counts remain.
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

SAMPLE_SECONDS = 0.2
"""Minimum time in seconds between two sampled requests of a process."""
SAMPLE_ROWS = 64
"""Maximum number of entities sampled from one request, and minimum number counted together."""
_WINDOWS = 2
"""Windows in memory: of the model in service, and of the model that earlier requests still use."""


class Traffic:
    """Counts of sampled entities, for each model. All methods are thread-safe.

    Processes share their counts in `folder`. Without a folder, each has only its own counts. Each
    other process may have fewer than SAMPLE_ROWS sampled rows that are not counted yet.
    """

    def __init__(self, folder: Path | None = None, interval: float = SAMPLE_SECONDS) -> None:
        self._folder, self._interval, self._next_sample = folder, interval, 0.0
        self._lock = threading.Lock()
        self._samples: list[tuple[Bundle, Entities]] = []
        self._windows: dict[str, Window] = {}

    def sample(self, model: Model, entities: Entities) -> None:
        """Sample the accepted entities of a labelled request, if the interval has passed."""
        with self._lock:
            if (now := time.monotonic()) < self._next_sample:
                return
            self._next_sample = now + self._interval
        accepted = np.delete(np.arange(len(entities)), list(entities.rejected))
        rows = accepted[:: max(1, -(-len(accepted) // SAMPLE_ROWS))]
        with self._lock:
            self._samples.append((model.bundle, entities.take(rows)))
            enough = sum(len(sample) for _, sample in self._samples) >= SAMPLE_ROWS
        if enough:
            self._count_samples()

    def shifts(self, model: Model) -> tuple[int, Sequence[Shift]]:
        """The number of rows counted for a model, and the shift of each field, score and label.

        There are no shifts if fewer than LEAST_ROWS rows were counted, or if the profile has fewer.
        """
        bundle = model.bundle
        self._count_samples()
        with self._lock:
            counts = self._window(bundle).total()
        recent = Profile(counts, bundle.profile.columns)
        if min(recent.rows, bundle.profile.rows) < LEAST_ROWS:
            return recent.rows, []
        return recent.rows, shifts(bundle.labeler, bundle.profile, recent)

    def psi_by_name(self, model: Model) -> Mapping[tuple[str, str], float]:
        """The population stability indices, by kind and name.

        Each field and each score has its own; labels have one, named `largest`.
        """
        indices: dict[tuple[str, str], float] = {}
        for shift in self.shifts(model)[1]:
            key = shift.kind, "largest" if shift.kind == "label" else shift.name
            indices[key] = max(shift.psi, indices.get(key, 0.0))
        return indices

    def _count_samples(self) -> None:
        """Count all samples; consecutive samples of the same model are counted together."""
        with self._lock:
            samples, self._samples = self._samples, []
        for _, group in itertools.groupby(samples, lambda sample: id(sample[0])):
            of_model = list(group)
            bundle = of_model[0][0]
            profile = Profile.of(bundle.labeler, concatenate([sample for _, sample in of_model]))
            with self._lock:
                self._window(bundle).add(profile)

    def _window(self, bundle: Bundle) -> Window:
        """The counts for a model and its profile; those of the oldest model are closed."""
        key = bundle.manifest.content[:16] + bundle.manifest.profile[:16]
        if key not in self._windows:
            while len(self._windows) >= _WINDOWS:
                self._windows.pop(next(iter(self._windows))).close()
            self._windows[key] = Window(len(bundle.profile.counts), self._folder, key)
        return self._windows[key]
