"""Following the registry: one thread of the service asks what the aliases mean, and tells workers.

Only this thread talks to MLflow. It fetches what an alias has moved to and writes a file that the
workers watch; whether a model is fit to serve they decide by trying.
"""

import contextlib
import dataclasses
import logging
import threading
import time
from pathlib import Path

from labelwright.entities.errors import LabelwrightError, ModelNotFoundError
from labelwright.models.bundle.format import verify
from labelwright.models.registry import Resolved, Source, fetch, forget, is_alias, locate
from labelwright.service.rollout.state import (
    CHALLENGER,
    CHAMPION,
    Refusal,
    Routing,
    State,
    now,
    recall,
)

RETRY = 60.0
"""Seconds until a model that could not be fetched is tried again."""
KEPT = 2
"""Bundles that this service fetched and needs no more, but keeps for a way back; older ones go."""

_log = logging.getLogger("labelwright.following")


@dataclasses.dataclass
class _Role:
    """What an alias means, and what has been tried."""

    uri: str
    source: Source | None = None
    resolved: Resolved | None = None
    refusal: Refusal | None = None
    retry_at: float = 0.0


@dataclasses.dataclass(frozen=True)
class Following:
    """What the champion goes by, what a challenger is for, and how often the registry is asked."""

    uri: str
    routing: Routing = dataclasses.field(default_factory=Routing)
    seconds: float = 5.0


class Follower:
    """Keeps the state of a service in a folder true to the registry.

    A challenger is followed where the routing asks for one; what is no alias is looked up once.
    """

    def __init__(self, following: Following, folder: Path) -> None:
        self.following, self.folder = following, folder
        self._roles = {CHAMPION: _Role(following.uri)}
        if following.routing.challenged:
            name = following.uri.partition("@")[0]
            self._roles[CHALLENGER] = _Role(f"{name}@{CHALLENGER}")
        self._fetched: dict[Path, Resolved] = {}  # by folder, which roles may share
        self._registry: str | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def begin(self) -> State:
        """Look for the first time.

        With the registry down, or a champion that cannot be fetched, the last good one is taken;
        raises LabelwrightError where there is none.
        """
        champion = self._roles[CHAMPION]
        try:
            self._fetch(champion, locate(champion.uri))
        except LabelwrightError as error:
            wrong_name = isinstance(error, ModelNotFoundError) and champion.source is None
            champion.resolved = None if wrong_name else recall(champion.uri)
            if champion.resolved is None:
                raise
            _log.warning("%s; starting with the last good bundle on disk", error)
        # MLflow says all that goes wrong with a traceback, and it may go wrong for hours
        logging.getLogger("mlflow").setLevel(logging.CRITICAL)
        return self.look()

    def start(self) -> None:
        """Go on looking in a thread."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; a look under way may take longer than anybody wants to wait."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self.following.seconds):
            try:
                self.look()
            except Exception:  # noqa: BLE001 - it is tried again; the state tells how old it is
                _log.exception("the registry could not be followed")

    def look(self) -> State:
        """Ask the registry for every role, and write what is known now."""
        followed = [name for name, role in self._roles.items() if is_alias(role.uri)]
        troubles = [self._update(name) for name in followed]
        self._note(next(filter(None, troubles), None))
        state = State(
            {name: role.resolved for name, role in self._roles.items() if role.resolved},
            {name: role.refusal for name, role in self._roles.items() if role.refusal},
            self.following.routing,
            self._registry,
            now() if followed else None,
        )
        state.write(self.folder)
        return state

    def _update(self, name: str) -> str | None:
        """Ask the registry for one role; returns why it has no answer."""
        role = self._roles[name]
        try:
            source = locate(role.uri)
        except ModelNotFoundError as error:
            if name != CHALLENGER:
                return str(error)
            role.source = role.resolved = role.refusal = None  # there need not be one
            return None
        except LabelwrightError as error:
            return str(error)
        if source != role.source or (role.refusal and time.monotonic() > role.retry_at):
            with contextlib.suppress(LabelwrightError):  # which is kept as a refusal
                self._fetch(role, source)
        return None

    def _note(self, detail: str | None) -> None:
        """Keep what is wrong with the registry, and log it when it changes."""
        if detail != self._registry:
            _log.warning("%s", f"{detail}; serving on" if detail else "the registry answers again")
        self._registry = detail

    def _fetch(self, role: _Role, source: Source) -> None:
        """Bring a bundle here and check its hashes; raises LabelwrightError and keeps it."""
        role.source, role.retry_at = source, time.monotonic() + RETRY
        try:
            resolved = fetch(source)
            try:
                verify(resolved.folder)
            except LabelwrightError:
                forget(resolved)  # a copy may be sound the next time
                raise
        except LabelwrightError as error:
            role.refusal = Refusal(source.version, "fetch", str(error), now())
            _log.warning("version %s is refused: %s", source.version, error)
            raise
        role.resolved, role.refusal = resolved, None
        self._fetched.pop(resolved.folder, None)
        self._fetched[resolved.folder] = resolved
        self._clear()

    def _clear(self) -> None:
        """Forget the oldest bundles, but none that a role means or that served it last."""
        roles = self._roles.values()
        needed = [found for role in roles for found in (role.resolved, recall(role.uri)) if found]
        spare = self._fetched.keys() - {resolved.folder for resolved in needed}
        for folder in [folder for folder in self._fetched if folder in spare][:-KEPT]:
            forget(self._fetched.pop(folder))
