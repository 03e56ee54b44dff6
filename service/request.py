"""Parsed labelling request: the common form of the requests of all protocols."""

import dataclasses

from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery


@dataclasses.dataclass(frozen=True)
class ParsedRequest:
    """The entities to label and the query.

    If the response of a protocol depends on more than the query, the protocol uses a subclass with
    further fields.
    """

    entities: Entities
    query: LabelQuery
