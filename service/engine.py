"""The engine behind every protocol: one model and the threads that compute with it."""

import asyncio
import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from entities.tables import Entities
from models.decisions import Question
from models.reasons import explain
from models.registry import Model

Result = TypeVar("Result")


@dataclasses.dataclass
class Engine:
    """A model that answers from worker threads, so that the event loop never waits for it.

    `ready` turns true when the kernels are compiled and all tables built.
    """

    model: Model
    pool: ThreadPoolExecutor
    ready: bool = False

    async def compute(self, work: Callable[[Model], Result]) -> Result:
        """Run `work` with the model on a compute thread."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work, self.model)

    async def warm_up(self) -> None:
        """Make the first answer as quick as any other, with reasons and without."""
        await self.compute(_warm_up)
        self.ready = True


def _warm_up(model: Model) -> None:
    labeler = model.bundle.labeler
    labeler.warm_up()
    explain(labeler, Entities.empty(labeler.schema, 1), Question())
