"""A labelling request after parsing: the form in which every protocol hands it to the engine."""

import dataclasses

from labelwright.entities.tables import Entities
from labelwright.models.decisions import LabelQuery


@dataclasses.dataclass(frozen=True)
class ParsedRequest:
    """Entities and the query about them.

    A protocol whose response depends on more than the query adds members in a subclass.
    """

    entities: Entities
    query: LabelQuery
