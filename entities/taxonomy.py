"""A taxonomy: what labels are called in the language of the user, and by what words they are found.

The embedded one tells of OpenStreetMap's labels, in the languages of the editor iD.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from importlib import resources

import pyarrow as pa
import pyarrow.parquet as pq

SCHEMA = pa.schema(
    [
        pa.field("language", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("terms", pa.list_(pa.string()), nullable=False),
    ]
)
"""Titles and synonyms by language; a file has one group of rows for each language."""
DEFAULT = "en"
LANGUAGE_LIMIT = 35
"""The longest tag of a language that BCP 47 expects."""


@dataclasses.dataclass(frozen=True)
class Taxonomy:
    """Labels in one language: their titles, and the words by which they are found, case-folded."""

    language: str = DEFAULT
    titles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def title(self, label: str) -> str | None:
        """What a label is called, None where nobody has said."""
        return self.titles.get(label)

    def search(self, labels: Sequence[str], text: str) -> list[int]:
        """The positions of the labels whose name, title or synonyms hold all words of a text.

        Where the words are the whole title they come first, then those of the title, of the name,
        and last of a synonym; else they stay in order.
        """
        wanted = text.casefold().split()
        found: list[tuple[int, int]] = []
        for place, label in enumerate(labels):
            title, name = self.titles.get(label, "").casefold(), label.casefold()
            every = f"{name}\n{title}\n{self.words.get(label, '')}"
            if all(word in every for word in wanted):
                found.append((_rank(wanted, title, name), place))
        return [place for _, place in sorted(found)]


def _rank(wanted: list[str], title: str, name: str) -> int:
    if not wanted or title == " ".join(wanted):
        return 0
    for rank, text in ((1, title), (2, name)):
        if all(word in text for word in wanted):
            return rank
    return 3


@functools.lru_cache(maxsize=16)
def osm_taxonomy(language: str = DEFAULT) -> Taxonomy:
    """OpenStreetMap's labels in a language (BCP 47: `de`, `pt-BR`).

    What a dialect does not say is said as in its language, and else in English, whose words find
    labels in any language.
    """
    file = resources.files("labelwright.entities") / "data" / "osm_labels.parquet"
    with resources.as_file(file) as path, pq.ParquetFile(path) as parquet:
        known = {code.casefold(): code for code in _languages(parquet)}
        asked = language.replace("_", "-").casefold().split("-")
        chain = ["-".join(asked[:length]) for length in range(1, len(asked) + 1)]
        codes = dict.fromkeys([DEFAULT, *(known[code] for code in chain if code in known)])
        rows: dict[str, tuple[str, list[str]]] = {}
        for code in codes:
            table = parquet.read_row_group(_languages(parquet).index(code))
            for label, title, terms in zip(
                *(table[name].to_pylist() for name in SCHEMA.names[1:]), strict=True
            ):
                before, others = rows.get(label, (title, []))
                rows[label] = title, [*terms, before, *others]
    return Taxonomy(
        next(reversed(codes)),
        {label: title for label, (title, _) in rows.items()},
        {label: "\n".join(terms).casefold() for label, (_, terms) in rows.items()},
    )


def _languages(parquet: pq.ParquetFile) -> list[str]:
    """The language of each group of rows, from what Parquet knows of it."""
    groups = (parquet.metadata.row_group(n) for n in range(parquet.num_row_groups))
    return [group.column(0).statistics.min for group in groups]
