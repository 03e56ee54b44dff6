"""Model manager of one process: loads and tests new models, and swaps them in one step.

A new model is read, warmed up and checked with its golden queries while the old model stays in
service. If one of these steps fails, the new model is refused and the old model stays. A request
uses the same model from its start to its end.
"""

import dataclasses
import hashlib
import logging
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

from labelwright.entities.errors import LabelwrightError, ModelError
from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery
from labelwright.models.explain.reasons import explain
from labelwright.models.labeler import Labeler
from labelwright.models.monitoring.profile import Profile
from labelwright.models.registry import Model, Resolved, is_alias, read
from labelwright.service.process.thread_priority import lower_priority
from labelwright.service.rollout.state import (
    CHALLENGER,
    CHAMPION,
    Refusal,
    State,
    last_good,
    now,
    save_last_good,
)
from labelwright.service.telemetry.metrics import Metrics

POLL_SECONDS = 0.2
"""Seconds between two reads of the state file."""
NICE = 5
"""Added to the niceness of the thread that loads models, because requests have precedence."""
RETRY_SECONDS = 60.0
"""Seconds until a refused model is loaded again: for example, more memory may be free then."""
LISTED_LABELS = 100
"""Maximum number of added labels, and of removed labels, in a Change."""

_log = logging.getLogger("labelwright.serving")


@dataclasses.dataclass(frozen=True)
class Change:
    """The differences between a model and the previous model; `at` is the time of the swap."""

    previous: str | None
    at: str
    schema: bool
    labels_added: tuple[str, ...]
    labels_removed: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model in service, which has passed its golden queries.

    `change` is None for the first model of a role.
    """

    resolved: Resolved
    model: Model
    change: Change | None


@dataclasses.dataclass(frozen=True)
class ModelPair:
    """Champion and challenger, and which of them responds to a request."""

    champion: Model
    challenger: Model
    champion_responds: bool

    @property
    def responding(self) -> Model:
        """The model that makes the predictions for the response."""
        return self.champion if self.champion_responds else self.challenger

    @property
    def compared(self) -> Model:
        """The other model: it labels the same entities, but only for the shadow comparison."""
        return self.challenger if self.champion_responds else self.champion


@dataclasses.dataclass(frozen=True)
class _RefusedModel:
    """A model that was refused; `retry_at` is the monotonic time from which it is tried again."""

    resolved: Resolved
    refusal: Refusal
    error: LabelwrightError
    retry_at: float


class ModelManager:
    """The models in service in one process; the state file in `folder` names them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = Metrics()
        self.state = State.read(folder)
        self._loaded: dict[str, LoadedModel] = {}
        self._refused: dict[str, _RefusedModel] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="model-manager", daemon=True)

    @property
    def champion(self) -> LoadedModel:
        """The champion in service; raises ModelError while there is none."""
        if loaded := self._loaded.get(CHAMPION):
            return loaded
        raise ModelError("no model is in service yet: GET /readyz tells when there is one")

    @property
    def challenger(self) -> LoadedModel | None:
        """The challenger in service, None if there is none."""
        return self._loaded.get(CHALLENGER)

    @property
    def ready(self) -> bool:
        """Whether there is a champion in service."""
        return CHAMPION in self._loaded

    @property
    def model(self) -> Model:
        """The champion's model; raises ModelError while there is none."""
        return self.champion.model

    def pair(self, key: bytes = b"") -> ModelPair | None:
        """Champion and challenger, and which of them responds; None if there is no challenger.

        Requests with the same key are always routed to the same model. The challenger responds to
        its share of all keys, and to no request without a key. Raises ModelError while there is no
        champion.
        """
        champion, challenger = self.model, self._loaded.get(CHALLENGER)
        if challenger is None:
            return None
        number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
        share = self.state.routing.share if key else 0.0
        champion_responds = number >= share * 2**64
        return ModelPair(champion, challenger.model, champion_responds)

    def refusal(self, role: str) -> Refusal | None:
        """The refusal of the model that the alias names, None if the model is in service."""
        refused = self._refused.get(role)
        return refused.refusal if refused else self.state.refusals.get(role)

    def load(self) -> None:
        """Load the models of the state file, or the last good model if the champion is refused.

        Raises LabelwrightError if no champion can be loaded. The thread of `start` tries again.
        """
        self._apply(State.read(self.folder))
        resolved = self.state.models[CHAMPION]
        if not self.ready and (good := last_good(resolved.source.uri)) and good != resolved:
            refused = self._refused[CHAMPION]
            self._swap(CHAMPION, good)
            self._refused[CHAMPION] = refused
        if not self.ready:
            raise self._refused[CHAMPION].error

    def start(self) -> None:
        """Follow the state file in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _watch(self) -> None:
        lower_priority(NICE)
        parent = multiprocessing.parent_process()
        while not self._stopped.wait(POLL_SECONDS):
            try:
                self._apply(State.read(self.folder))
            except Exception:  # noqa: BLE001 - the models in service stay
                _log.exception("the state of the service cannot be read")
            if parent and not parent.is_alive():
                _log.error("the supervisor has ended: this worker ends too")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _apply(self, state: State) -> None:
        """Load the models of a state that are not in service yet.

        A challenger is taken out of service if the state has no challenger.
        """
        self.state = state
        for role in (CHAMPION, CHALLENGER):
            resolved, loaded = state.models.get(role), self._loaded.get(role)
            if loaded and loaded.resolved == resolved:
                self._refused.pop(role, None)
            elif resolved and self._should_try(role, resolved):
                self._swap(role, resolved)
            elif resolved is None and role == CHALLENGER:
                self._loaded.pop(role, None)
                self._refused.pop(role, None)

    def _should_try(self, role: str, resolved: Resolved) -> bool:
        """Whether to load a model: true if it was not refused within the last RETRY_SECONDS."""
        refused = self._refused.get(role)
        return (
            refused is None or refused.resolved != resolved or time.monotonic() > refused.retry_at
        )

    def _swap(self, role: str, resolved: Resolved) -> None:
        """Put a model in service, or refuse it."""
        version, step = resolved.source.version, "load"
        try:
            model = read(resolved)
            step = "warm_up"
            _warm_up(model.bundle.labeler)
            step = "answers"
            model.bundle.golden.check(model.bundle.labeler)
        except LabelwrightError as error:
            self._refuse(role, resolved, step, error)
            return
        except Exception as error:  # noqa: BLE001 - no error may remove the model in service
            _log.exception("version %s failed at step %s", version, step)
            unexpected = ModelError(
                f"unexpected error {type(error).__name__}: see the service's log"
            )
            self._refuse(role, resolved, step, unexpected)
            return
        previous = self._loaded.get(role)
        change = _change(previous.model, model) if previous else None
        self._loaded[role] = LoadedModel(resolved, model, change)
        self._refused.pop(role, None)
        if previous:
            self.metrics.count_swap()
            _log.info("%s: version %s replaces %s", role, version, previous.model.version)
        if role == CHAMPION:
            self.metrics.set_model(model)
            if is_alias(resolved.source.uri):
                save_last_good(resolved)

    def _refuse(self, role: str, resolved: Resolved, step: str, error: LabelwrightError) -> None:
        version = resolved.source.version
        previous = self._refused.get(role)
        refusal = Refusal(version, step, str(error), now())
        self._refused[role] = _RefusedModel(
            resolved, refusal, error, time.monotonic() + RETRY_SECONDS
        )
        if previous is None or previous.resolved != resolved:
            self.metrics.count_refusal(step)
            _log.warning("%s: version %s is refused: %s", role, version, error)


def _warm_up(labeler: Labeler) -> None:
    """Compute labels, a traffic profile and reasons once; otherwise the first request is slow."""
    labeler.warm_up()
    Profile.of(labeler, Entities.empty(labeler.schema, 1))
    explain(labeler, Entities.empty(labeler.schema, 1), LabelQuery())


def _change(old: Model, new: Model) -> Change:
    before, after = (set(model.bundle.labeler.labels.names) for model in (old, new))
    return Change(
        previous=old.version,
        at=now(),
        schema=old.bundle.manifest.schema != new.bundle.manifest.schema,
        labels_added=tuple(sorted(after - before)[:LISTED_LABELS]),
        labels_removed=tuple(sorted(before - after)[:LISTED_LABELS]),
    )
