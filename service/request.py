"""Parsed labelling request: the common form of the requests of all protocols."""

import dataclasses
from typing import Self

from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery

LABELS_PER_ROW = 32
"""Number of labels that are serialised in the time that a row takes to be labelled."""


@dataclasses.dataclass(frozen=True)
class ParsedRequest:
    """The entities to label and the query.

    If the response of a protocol depends on more than the query, the protocol uses a subclass with
    further fields.
    """

    entities: Entities
    query: LabelQuery

    @property
    def cost_factor(self) -> int:
        """Cost of a row as a multiple of the cost of a row with few listed labels."""
        return max(1, self.query.top_k // LABELS_PER_ROW)

    def part(self, start: int, end: int) -> Self:
        """The request for consecutive entities; warnings are dropped."""
        part = self.entities.slice(start, end - start)
        rejected = {
            row - start: reason
            for row, reason in self.entities.rejected.items()
            if start <= row < end
        }
        return dataclasses.replace(self, entities=dataclasses.replace(part, rejected=rejected))
