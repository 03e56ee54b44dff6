"""Counts of a sample of the recent traffic. Drift is measured by comparing them with the profile.

A few times a second, entities of one labelled request are sampled. Samples are kept until there are
SAMPLE_ROWS entities, and are then counted together. Compute threads do this after they have
delivered the responses, so that it does not delay the sampled requests. After that, only the counts
are kept.
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
"""Maximum number of entities that are sampled from one request. If the samples have at least this
many entities together, they are counted."""
_WINDOWS = 2
"""Number of windows in memory: one for the model in service, and one for the model before it, which
earlier requests still use."""


class Traffic:
    """Counts of sampled entities, for each model. All methods are thread-safe.

    Processes share their counts in `folder`. Without a folder, a process has only its own counts.
    Each of the other processes may have up to SAMPLE_ROWS - 1 sampled entities that are not counted
    yet.
    """

    def __init__(self, folder: Path | None = None, interval: float = SAMPLE_SECONDS) -> None:
        self._folder, self._interval, self._next_sample = folder, interval, 0.0
        self._lock = threading.Lock()
        self._samples: list[tuple[Bundle, Entities]] = []
        self._windows: dict[str, Window] = {}

    def sample(self, model: Model, entities: Entities) -> None:
        """Sample the accepted entities of a labelled request, if the interval has passed.

        At most SAMPLE_ROWS entities are sampled, evenly distributed over the request.
        """
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

        There are no shifts if fewer than LEAST_ROWS rows were counted, or if the profile has fewer
        than LEAST_ROWS rows.
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

        There is one for each field and one for each score. There is a single one for the labels,
        with the name `largest`: the maximum over all labels.
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
        """The window of a model and its profile.

        If a new window is needed, the oldest window is closed when there are _WINDOWS of them.
        """
        key = bundle.manifest.content[:16] + bundle.manifest.profile[:16]
        if key not in self._windows:
            while len(self._windows) >= _WINDOWS:
                self._windows.pop(next(iter(self._windows))).close()
            self._windows[key] = Window(len(bundle.profile.counts), self._folder, key)
        return self._windows[key]
