"""What Prometheus can see: what was asked and answered, how long it took, and which model did it.

With several workers, all write into a shared folder (see `service.telemetry.shared_folder`), and
whichever is asked adds them up.
"""

import dataclasses
import os
from collections.abc import Mapping

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from labelwright.models.decisions import Predictions, Probabilities
from labelwright.models.labels import LabelSet
from labelwright.models.registry import Model
from labelwright.service.telemetry.request_record import RequestRecord
from labelwright.service.telemetry.shared_folder import METRICS_FOLDER_VARIABLE

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
WATCHED = 50
"""Labels that are counted one by one: the most frequent in training. A model may have thousands,
and a monitoring system suffers from every series; the sum over all labels is counted beside."""
WATCHED_LIMIT = 200
"""Labels that one process ever counts one by one, whatever models it serves in its life."""
STEPS = ("fetch", "load", "warm_up", "answers")
"""The steps in which a model can be found unfit."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


@dataclasses.dataclass(frozen=True)
class _Watched:
    """The labels of a model that are counted one by one: their ids, and a counter for each."""

    labels: LabelSet
    counters: dict[int, Counter]


class Metrics:
    """The figures of one process; every method is safe to call from any thread."""

    def __init__(self) -> None:
        disable_created_metrics()
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "labelwright_requests", "Requests.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "labelwright_request_seconds",
            "From the head of a request to the end of its answer.",
            ["route"],
            registry=registry,
            buckets=SECONDS,
        )
        self._stages = Histogram(
            "labelwright_stage_seconds",
            "Time a request spent in a stage of its work.",
            ["stage"],
            registry=registry,
            buckets=SECONDS,
        )
        self._under_way = Gauge(
            "labelwright_requests_under_way",
            "Requests that are being answered.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        rows = Counter("labelwright_rows", "Entities.", ["outcome"], registry=registry)
        self._labelled, self._rejected = rows.labels("labelled"), rows.labels("rejected")
        self._queue = Gauge(
            "labelwright_queue_rows",
            "Work that waits or is being done, in entities.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._shed = Counter(
            "labelwright_shed", "Requests turned away under load.", registry=registry
        )
        self._assertions = Counter(
            "labelwright_assertions", "Labels asserted, all together.", registry=registry
        )
        self._by_label = Counter(
            "labelwright_label_assertions",
            f"Assertions of the {WATCHED} labels most frequent in training.",
            ["label"],
            registry=registry,
        )
        self._probabilities = Histogram(
            "labelwright_top_probability",
            "Probability of an entity's most probable label, of those asked for.",
            registry=registry,
            buckets=SHARES,
        )
        self._model = Gauge(
            "labelwright_model_workers",
            "Processes that serve with a model.",
            ["name", "version", "content"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._swaps = Counter("labelwright_swaps", "Changes to another model.", registry=registry)
        self._refusals = Counter(
            "labelwright_swap_refusals",
            "Models not changed to, by the step in which they were found unfit.",
            ["step"],
            registry=registry,
        )
        for step in STEPS:
            self._refusals.labels(step)  # a series that is there before it is needed
        self._restarts = Counter(
            "labelwright_worker_restarts", "Workers that died and were replaced.", registry=registry
        )
        self._drift = Gauge(
            "labelwright_drift_psi",
            "How far live traffic has moved from the rows the model was judged on.",
            ["kind", "name"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._watched = _Watched(LabelSet(()), {})
        self._named: set[str] = set()
        self._serving: Gauge | None = None

    def request_started(self) -> None:
        """A request has come in."""
        self._under_way.inc()

    def request_finished(
        self, method: str, route: str, status: int, seconds: float, note: RequestRecord
    ) -> None:
        """A request that came in has been answered, or its caller has gone."""
        self._under_way.dec()
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        for stage in note.stages:
            self._stages.labels(stage.name).observe(stage.end - stage.begin)

    def count_predictions(self, predictions: Predictions, rejected: int) -> None:
        """Entities were answered, `rejected` of them with an error."""
        firsts = predictions.indptr[:-1][np.diff(predictions.indptr) > 0]
        self._labelled.inc(len(predictions.indptr) - 1 - rejected)
        self._rejected.inc(rejected)
        asserted = predictions.ids[predictions.asserted]
        self._assertions.inc(len(asserted))
        watched = self._watched
        if predictions.labels is watched.labels:
            counts = np.bincount(asserted, minlength=len(watched.labels))
            for label, counter in watched.counters.items():
                if counts[label]:
                    counter.inc(int(counts[label]))
        _observe_all(self._probabilities, predictions.probabilities[firsts])

    def set_queue_rows(self, rows: int) -> None:
        """So much work waits or is being done, in entities."""
        self._queue.set(rows)

    def count_shed(self) -> None:
        """A request was turned away under load."""
        self._shed.inc()

    def set_model(self, model: Model) -> None:
        """From now on this model answers, and no other."""
        if self._serving:
            self._serving.set(0)
        content = model.bundle.manifest.content[:12]
        self._serving = self._model.labels(model.name or "", model.version or "", content)
        self._serving.set(1)
        self._drift.labels("label", "largest")  # a series that is there before it is needed
        labeler = model.bundle.labeler
        counters = {}
        for label in np.argsort(-labeler.reranker.rate, kind="stable")[:WATCHED].tolist():
            name = labeler.labels.names[label]
            if name in self._named or len(self._named) < WATCHED_LIMIT:
                self._named.add(name)
                counters[label] = self._by_label.labels(name)
        self._watched = _Watched(labeler.labels, counters)

    def count_swap(self) -> None:
        """Another model answers than before."""
        self._swaps.inc()

    def count_refusal(self, step: str) -> None:
        """A model was to answer, and was found unfit in a step."""
        self._refusals.labels(step).inc()

    def count_worker_restart(self, pid: int) -> None:
        """A worker has died, and another took its place; the supervisor calls this."""
        self._restarts.inc()
        if os.environ.get(METRICS_FOLDER_VARIABLE):
            mark_process_dead(pid)

    def set_drift(self, figures: Mapping[tuple[str, str], float]) -> None:
        """So far have fields, scores and labels moved, by kind and name."""
        for (kind, name), psi in figures.items():
            self._drift.labels(kind, name).set(psi)

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format, of all workers where there are several."""
        registry = self._registry
        if folder := os.environ.get(METRICS_FOLDER_VARIABLE):
            registry = CollectorRegistry()
            MultiProcessCollector(registry, folder)
        return generate_latest(registry)


def _observe_all(histogram: Histogram, values: Probabilities) -> None:
    """Observe many values at once, for which the library has no word."""
    bounds = histogram._upper_bounds
    counts = np.bincount(np.searchsorted(bounds, values), minlength=len(bounds))
    for bucket, count in zip(histogram._buckets, counts.tolist(), strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(float(values.sum()))
