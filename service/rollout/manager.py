"""Which models serve: watched for, tried beside the old ones, and swapped in one step.

A new model is read, warmed up and asked its canned questions while the old one answers. One that
fails is refused and the old one goes on. A request keeps the model that it began with.
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
    now,
    recall,
    remember,
)
from labelwright.service.telemetry.metrics import Metrics

BEAT = 0.2
"""Seconds between two looks at the state."""
NICE = 5
"""By how much trying a new model gives way to answering with the old one."""
RETRY = 60.0
"""Seconds until a model that was refused is tried again: there may be more memory by then."""
NAMES_TOLD = 100
"""Labels that a change of the label set names, of either kind."""

_log = logging.getLogger("labelwright.serving")


@dataclasses.dataclass(frozen=True)
class Change:
    """What changed when a model followed another one."""

    previous: str | None
    at: str
    schema: bool
    labels_added: tuple[str, ...]
    labels_removed: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Served:
    """A model that has answered its canned questions."""

    resolved: Resolved
    model: Model
    change: Change | None


@dataclasses.dataclass(frozen=True)
class Pair:
    """The two models, and which of them answers a request."""

    champion: Model
    challenger: Model
    champion_answers: bool

    @property
    def answering(self) -> Model:
        """The model that answers."""
        return self.champion if self.champion_answers else self.challenger

    @property
    def other(self) -> Model:
        """The model that labels the same only to be compared."""
        return self.challenger if self.champion_answers else self.champion


@dataclasses.dataclass(frozen=True)
class _Refused:
    """A model that was refused, and until when it is not tried again."""

    resolved: Resolved
    refusal: Refusal
    error: LabelwrightError
    until: float


class Serving:
    """The models of one process, kept as the state in a folder says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.metrics = Metrics()
        self.state = State.read(folder)
        self._served: dict[str, Served] = {}
        self._refused: dict[str, _Refused] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="serving", daemon=True)

    @property
    def champion(self) -> Served:
        """The model that serves; raises ModelError while none does."""
        if served := self._served.get(CHAMPION):
            return served
        raise ModelError("no model serves yet")

    @property
    def challenger(self) -> Served | None:
        """The model that is compared with the champion, if there is one."""
        return self._served.get(CHALLENGER)

    @property
    def ready(self) -> bool:
        """Whether a model serves."""
        return CHAMPION in self._served

    @property
    def model(self) -> Model:
        """The champion's model; raises ModelError while none serves."""
        return self.champion.model

    def pair(self, key: bytes = b"") -> Pair | None:
        """Champion and challenger, if there is one, and which of them answers a request.

        For the same key that is always the same one; the challenger gets its share of all keys, but
        never a request without a key. Raises ModelError while no model serves.
        """
        champion, challenger = self.model, self._served.get(CHALLENGER)
        if challenger is None:
            return None
        drawn = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
        share = self.state.routing.share if key else 0.0
        return Pair(champion, challenger.model, champion_answers=drawn >= share * 2**64)

    def refusal(self, role: str) -> Refusal | None:
        """Why the model that the alias names does not serve."""
        refused = self._refused.get(role)
        return refused.refusal if refused else self.state.refusals.get(role)

    def load(self) -> None:
        """Take what is to serve into service; where it is refused, the last good model.

        Raises LabelwrightError if no model can serve, now that is: it goes on being tried.
        """
        self._adopt(State.read(self.folder))
        resolved = self.state.models[CHAMPION]
        if not self.ready and (good := recall(resolved.source.uri)) and good != resolved:
            refused = self._refused[CHAMPION]
            self._try(CHAMPION, good)
            self._refused[CHAMPION] = refused
        if not self.ready:
            raise self._refused[CHAMPION].error

    def start(self) -> None:
        """Watch the state in a thread from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()

    def _watch(self) -> None:
        lower_priority(NICE)
        parent = multiprocessing.parent_process()
        while not self._stopped.wait(BEAT):
            try:
                self._adopt(State.read(self.folder))
            except Exception:  # noqa: BLE001 - the models in service go on
                _log.exception("the state of the service cannot be read")
            if parent and not parent.is_alive():
                _log.error("the supervisor has ended: ending too")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _adopt(self, state: State) -> None:
        """Do what the state says, as far as it is not done."""
        self.state = state
        for role in (CHAMPION, CHALLENGER):
            resolved, served = state.models.get(role), self._served.get(role)
            if served and served.resolved == resolved:
                self._refused.pop(role, None)
            elif resolved and self._due(role, resolved):
                self._try(role, resolved)
            elif resolved is None and role == CHALLENGER:
                self._served.pop(role, None)
                self._refused.pop(role, None)

    def _due(self, role: str, resolved: Resolved) -> bool:
        """Whether a model has not been refused, or long ago."""
        refused = self._refused.get(role)
        return refused is None or refused.resolved != resolved or time.monotonic() > refused.until

    def _try(self, role: str, resolved: Resolved) -> None:
        """Swap a model in, or refuse it."""
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
        except Exception as error:  # noqa: BLE001 - whatever it is, the model in service goes on
            _log.exception("version %s failed at step %s", version, step)
            unexpected = ModelError(f"an unexpected {type(error).__name__}")
            self._refuse(role, resolved, step, unexpected)
            return
        before = self._served.get(role)
        change = _change(before.model, model) if before else None
        self._served[role] = Served(resolved, model, change)
        self._refused.pop(role, None)
        if before:
            self.metrics.count_swap()
            _log.info("%s: version %s follows %s", role, version, before.model.version)
        if role == CHAMPION:
            self.metrics.set_model(model)
            if is_alias(resolved.source.uri):
                remember(resolved)

    def _refuse(self, role: str, resolved: Resolved, step: str, error: LabelwrightError) -> None:
        version = resolved.source.version
        before = self._refused.get(role)
        refusal = Refusal(version, step, str(error), now())
        self._refused[role] = _Refused(resolved, refusal, error, time.monotonic() + RETRY)
        if before is None or before.resolved != resolved:
            self.metrics.count_refusal(step)
            _log.warning("%s: version %s is refused: %s", role, version, error)


def _warm_up(labeler: Labeler) -> None:
    """Make the first answer as quick as any other, with reasons and without, and its counting."""
    labeler.warm_up()
    Profile.of(labeler, Entities.empty(labeler.schema, 1))
    explain(labeler, Entities.empty(labeler.schema, 1), LabelQuery())


def _change(old: Model, new: Model) -> Change:
    before, after = (set(model.bundle.labeler.labels.names) for model in (old, new))
    return Change(
        previous=old.version,
        at=now(),
        schema=old.bundle.manifest.schema != new.bundle.manifest.schema,
        labels_added=tuple(sorted(after - before)[:NAMES_TOLD]),
        labels_removed=tuple(sorted(before - after)[:NAMES_TOLD]),
    )
