"""Prometheus metrics of the service: requests, stages, rows, queue, labels, models and drift.

With several workers, all of them write their metrics into a shared folder
(`service.telemetry.shared_folder`). The worker that responds to a request for the metrics combines
the metrics of all workers.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import mark_process_dead

from labelwright.models.decisions import Predictions
from labelwright.models.labels import LabelSet
from labelwright.models.registry import Model
from labelwright.service.telemetry.prometheus_adapter import (
    LOST_METRICS,
    SharedMetrics,
    observe_all,
    reserve_disk_space,
)
from labelwright.service.telemetry.request_record import RequestRecord
from labelwright.service.telemetry.shared_folder import METRICS_FOLDER_VARIABLE

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTED_LABELS = 50
"""Number of labels of a model that have a counter of their own: the most frequent ones in training.
A model may have thousands of labels, and each time series costs memory of the monitoring system.
Another counter has the sum over all labels."""
COUNTED_LABELS_LIMIT = 200
"""Maximum number of labels with a counter in one process, over all models that it has served."""
STEPS = ("fetch", "load", "warm_up", "answers")
"""Values of the label `step`: the steps in which a new model can be refused."""
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
PROBABILITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)


_GaugeMode = Literal["livesum", "livemostrecent"]


@dataclasses.dataclass(frozen=True)
class _LabelCounters:
    """The label set of a model, and the counters of its most frequent labels by label id."""

    labels: LabelSet
    by_id: Mapping[int, Counter]


class Metrics:
    """The metrics of one process. All methods are thread-safe."""

    def __init__(self) -> None:
        disable_created_metrics()
        reserve_disk_space()
        self._registry = CollectorRegistry()
        self._requests = self._counter(
            "labelwright_requests", "Number of requests.", "method", "route", "status"
        )
        self._request_seconds = self._histogram(
            "labelwright_request_seconds",
            "Seconds from the head of a request to the end of its response.",
            SECONDS,
            "route",
        )
        self._stage_seconds = self._histogram(
            "labelwright_stage_seconds",
            "Seconds that a request spent in a stage.",
            SECONDS,
            "stage",
        )
        self._requests_under_way = self._gauge(
            "labelwright_requests_under_way", "Requests in progress."
        )
        rows = self._counter(
            "labelwright_rows", "Number of entities, labelled or rejected.", "outcome"
        )
        self._labelled, self._rejected = rows.labels("labelled"), rows.labels("rejected")
        self._queue = self._gauge(
            "labelwright_queue_rows", "Work that is queued or being computed, in entities."
        )
        self._shed = self._counter("labelwright_shed", "Requests refused because of overload.")
        self._assertions = self._counter(
            "labelwright_assertions", "Asserted labels, over all labels."
        )
        self._label_assertions = self._counter(
            "labelwright_label_assertions",
            f"Assertions of each of the {COUNTED_LABELS} most frequent labels in training.",
            "label",
        )
        self._top_probability = self._histogram(
            "labelwright_top_probability",
            "Probability of the most probable label that was returned for an entity.",
            PROBABILITIES,
        )
        self._model_workers = self._gauge(
            "labelwright_model_workers",
            "Worker processes with this model in service.",
            "name",
            "version",
            "content",
        )
        self._swaps = self._counter("labelwright_swaps", "Changes of the model.")
        self._swap_refusals = self._counter(
            "labelwright_swap_refusals",
            "New models that were refused, by the step that failed.",
            "step",
        )
        for step in STEPS:
            self._swap_refusals.labels(step)  # creates the series with the value 0
        self._worker_restarts = self._counter(
            "labelwright_worker_restarts", "Worker processes that died or hung and were replaced."
        )
        self._drift = self._gauge(
            "labelwright_drift_psi",
            "Population stability index of the traffic against the rows of the model's evaluation.",
            "kind",
            "name",
            mode="livemostrecent",
        )
        if METRICS_FOLDER_VARIABLE not in os.environ:  # else SharedMetrics has this metric
            self._gauge(*LOST_METRICS)
        self._label_counters = _LabelCounters(LabelSet(()), {})
        self._counted_names: set[str] = set()
        self._model_gauge: Gauge | None = None

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self._registry)

    def _gauge(self, name: str, text: str, *labels: str, mode: _GaugeMode = "livesum") -> Gauge:
        """A gauge; `mode` is the way in which the values of all living workers are combined."""
        return Gauge(name, text, labels, registry=self._registry, multiprocess_mode=mode)

    def _histogram(self, name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, text, labels, registry=self._registry, buckets=buckets)

    def request_started(self) -> None:
        """Count a request as in progress."""
        self._requests_under_way.inc()

    def request_finished(
        self, method: str, route: str, status: int, seconds: float, record: RequestRecord
    ) -> None:
        """Count a request that has its response, or whose client has disconnected."""
        self._requests_under_way.dec()
        self._requests.labels(method, route, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)
        for stage in record.stages:
            self._stage_seconds.labels(stage.name).observe(stage.end - stage.start)

    def count_predictions(self, predictions: Predictions, rejected: int) -> None:
        """Count labelled entities, rejected entities and asserted labels.

        `rejected` is the number of entities in `predictions` that have an error instead of labels.
        """
        first_pairs = predictions.indptr[:-1][np.diff(predictions.indptr) > 0]
        self._labelled.inc(len(predictions.indptr) - 1 - rejected)
        self._rejected.inc(rejected)
        asserted = predictions.ids[predictions.asserted]
        self._assertions.inc(len(asserted))
        counters = self._label_counters
        if predictions.labels is counters.labels:
            counts = np.bincount(asserted, minlength=len(counters.labels))
            for label, counter in counters.by_id.items():
                if counts[label]:
                    counter.inc(int(counts[label]))
        observe_all(self._top_probability, predictions.probabilities[first_pairs])

    def set_queue_rows(self, rows: int) -> None:
        """Set the work that is queued or being computed, in entities."""
        self._queue.set(rows)

    def count_shed(self) -> None:
        """Count a request that was refused because of overload."""
        self._shed.inc()

    def set_model(self, model: Model) -> None:
        """Set the model in service, and choose the labels that have a counter of their own."""
        if self._model_gauge:
            self._model_gauge.set(0)
        content = model.bundle.manifest.content[:12]
        self._model_gauge = self._model_workers.labels(
            model.name or "", model.version or "", content
        )
        self._model_gauge.set(1)
        self._drift.labels("label", "largest")  # creates the series with the value 0
        labeler = model.bundle.labeler
        counters = {}
        for label in np.argsort(-labeler.reranker.rate, kind="stable")[:COUNTED_LABELS].tolist():
            name = labeler.labels.names[label]
            if name in self._counted_names or len(self._counted_names) < COUNTED_LABELS_LIMIT:
                self._counted_names.add(name)
                counters[label] = self._label_assertions.labels(name)
        self._label_counters = _LabelCounters(labeler.labels, counters)

    def count_swap(self) -> None:
        """Count a change of the model in service."""
        self._swaps.inc()

    def count_refusal(self, step: str) -> None:
        """Count a new model that was refused in a step, one of STEPS."""
        self._swap_refusals.labels(step).inc()

    def count_worker_restart(self, pid: int) -> None:
        """Count the replacement of the worker process `pid`; only the supervisor calls this."""
        self._worker_restarts.inc()
        if os.environ.get(METRICS_FOLDER_VARIABLE):
            mark_process_dead(pid)

    def set_drift(self, psi: Mapping[tuple[str, str], float]) -> None:
        """Set the population stability index for each pair of a kind and a name."""
        for (kind, name), value in psi.items():
            self._drift.labels(kind, name).set(value)

    def exposition(self) -> bytes:
        """All metrics of all workers, in the text format of Prometheus."""
        registry = self._registry
        if folder := os.environ.get(METRICS_FOLDER_VARIABLE):
            registry = CollectorRegistry()
            SharedMetrics(registry, folder)
        return generate_latest(registry)
