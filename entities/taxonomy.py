"""Taxonomies: titles of labels in many languages, and a search for labels by words.

The embedded taxonomy has the titles of OpenStreetMap's labels in the languages of the editor iD.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from importlib import resources

import pyarrow as pa
import pyarrow.parquet as pq

from labelwright.entities.label_book import LabelBook

SCHEMA = pa.schema(
    [
        pa.field("language", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("terms", pa.list_(pa.string()), nullable=False),
    ]
)
"""Titles and synonyms of labels by language; a file has one row group for each language."""
DEFAULT = "en"
LANGUAGE_LIMIT = 35
"""The largest number of characters of a language tag, as BCP 47 recommends."""


@dataclasses.dataclass(frozen=True)
class Taxonomy:
    """Labels in one language: their titles, and `words`, their synonyms as case-folded text."""

    language: str = DEFAULT
    titles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def title(self, label: str) -> str | None:
        """The title of a label; None if it has none."""
        return self.titles.get(label)

    def search(self, labels: Sequence[str], text: str) -> list[int]:
        """The positions of the labels whose name, title or synonyms contain all words of a text.

        Labels whose title equals the text come first. Then come matches in the title, in the name
        and in the synonyms. Labels of the same rank keep their order.
        """
        wanted = text.casefold().split()
        found: list[tuple[int, int]] = []
        for position, label in enumerate(labels):
            title, name = self.titles.get(label, "").casefold(), label.casefold()
            searched = f"{name}\n{title}\n{self.words.get(label, '')}"
            if all(word in searched for word in wanted):
                found.append((_rank(wanted, title, name), position))
        return [position for _, position in sorted(found)]


def _rank(wanted: list[str], title: str, name: str) -> int:
    if not wanted or title == " ".join(wanted):
        return 0
    for rank, text in ((1, title), (2, name)):
        if all(word in text for word in wanted):
            return rank
    return 3


@functools.lru_cache(maxsize=16)
def osm_taxonomy(language: str = DEFAULT) -> Taxonomy:
    """OpenStreetMap's labels in a language given by its BCP 47 tag, such as `de` or `pt-BR`.

    If a regional variant has no title for a label, the title in the main language is used. If that
    is missing too, the English title is used. A search in any language also finds English words.
    """
    file = resources.files("labelwright.entities") / "data" / "osm_labels.parquet"
    with resources.as_file(file) as path, pq.ParquetFile(path) as parquet:
        known = {code.casefold(): code for code in _languages(parquet)}
        subtags = language.replace("_", "-").casefold().split("-")
        chain = ["-".join(subtags[:length]) for length in range(1, len(subtags) + 1)]
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


def taxonomy_of(book: LabelBook, language: str = DEFAULT) -> Taxonomy:
    """The titles and synonyms of a book; OpenStreetMap's for labels that the book does not have."""
    embedded = osm_taxonomy(language)
    own = {label: entry for label, entry in book.entries.items() if entry.texts}
    titles = {label: title for label, entry in own.items() if (title := entry.title(language))}
    words = {label: "\n".join(entry.texts).casefold() for label, entry in own.items()}
    return Taxonomy(embedded.language, {**embedded.titles, **titles}, {**embedded.words, **words})


def _languages(parquet: pq.ParquetFile) -> list[str]:
    """The language of each row group, from the statistics of its column `language`."""
    groups = (parquet.metadata.row_group(n) for n in range(parquet.num_row_groups))
    return [group.column(0).statistics.min for group in groups]
