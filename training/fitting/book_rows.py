"""Rows of a label book: titles, synonyms and seed words of labels, from which the model learns.

The weight of such a row falls with the number of training rows of its label. Rows with labels are
few or missing for some labels, but their titles share words with the titles of others: a "high
school" is a school. Therefore the linear stage also learns to recognise the words that titles
share. A label with few rows gets a part of the weights of its words, which falls likewise.
"""

import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import scipy.sparse

from labelwright.entities.errors import DataError
from labelwright.entities.label_book import LabelBook, words_of
from labelwright.entities.schema import EntitySchema
from labelwright.entities.tables import Entities, from_table
from labelwright.models.kernels.csr import SparseRows, offsets, row_numbers, take_rows
from labelwright.models.labels import LabelMatrix, LabelSet, label_matrix
from labelwright.training.fitting.linear import Mixture, SoftLabels

COST = 1.0
"""Liblinear's C of a row whose label has no training rows."""
HALF = 10
"""Number of training rows of a label that halve the cost, and the part of the shared words."""
WORDS_PART = 0.7
"""Part of the weights of shared words in the weights of a label without training rows."""
MANY = 50 * HALF
"""Labels with more training rows do not use shared words."""
HIDDEN_SHARE = 0.1
"""Maximum share of the training rows that are left out of a fold to hide labels."""
COMMON = 0.02
"""Labels with more than this share of the rows are not hidden."""


Counts = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclasses.dataclass(frozen=True)
class BookRows:
    """Texts of a label book as entities, with the ids of their labels.

    `words` (labels x words) has the share of each shared word in the title of a label. If the book
    is `of_any_data`, labels without training rows count as absent from these rows. Otherwise they
    count as labels whose rows are still missing.
    """

    entities: Entities
    labels: SparseRows
    words: scipy.sparse.csr_array
    of_any_data: bool = False

    @classmethod
    def of(cls, book: LabelBook, schema: EntitySchema, labels: LabelSet, counts: Counts) -> Self:
        """The rows of a book; `counts` are the numbers of training rows of the labels.

        Raises DataError if the schema has no column for texts.
        """
        if schema.identity is None:
            raise DataError(
                f"schema {schema.name!r} has no column of kind text or words, from which a model "
                "could learn the titles of a label book; leave out --label-book"
            )
        texts = book.texts()
        lists = pa.array(list(texts.values()), pa.list_(pa.string()))
        entities = from_table(pa.table({schema.identity: pa.array(texts, pa.string())}), schema)
        present = label_matrix(lists, labels).present
        return cls(
            entities, present, _shared_words(book.titles(), labels, counts), book.of_any_data
        )

    def soft_labels(self, first: int, counts: Counts) -> SoftLabels:
        """The labels of each row with the target 1; `first` is the number of the first row.

        `counts` are the numbers of training rows of all labels. The cost of a row is COST HALF /
        (HALF + n), where n is the number of training rows of its rarest label.
        """
        rarest = np.full(len(self.entities), np.iinfo(np.int64).max // 2)
        np.minimum.at(rarest, row_numbers(self.labels.indptr), counts[self.labels.ids])
        ones = np.ones(len(self.labels.ids), np.float32)
        costs = (COST * _fading(rarest)).astype(np.float32)
        return SoftLabels(first, self.labels.indptr, self.labels.ids, ones, costs)

    def with_words(self, matrix: LabelMatrix) -> LabelMatrix:
        """The labels of training rows, and after them the words of these labels as labels."""
        labels, words = self.words.shape
        pairs, ids = self._words_of(matrix.present.ids)
        present = SparseRows.from_pairs(
            np.concatenate([matrix.present.rows(), matrix.present.rows()[pairs]]),
            np.concatenate([matrix.present.ids, labels + ids]),
            (len(matrix), labels + words),
        )
        groups = np.concatenate([matrix.groups, np.zeros(words, np.int32)])
        return dataclasses.replace(matrix, present=present, groups=groups)

    def soft_with_words(self, soft: SoftLabels) -> SoftLabels:
        """Soft labels, and after them the words of these labels: each with the highest target."""
        labels, words = self.words.shape
        rows = row_numbers(soft.indptr)
        pairs, ids = self._words_of(soft.ids)
        keys = np.concatenate([rows, rows[pairs]]) * (labels + words)
        keys += np.concatenate([soft.ids, labels + ids])
        kept, places = np.unique(keys, return_inverse=True)
        scores = np.full(len(kept), -1, np.float32)
        np.maximum.at(scores, places, np.concatenate([soft.scores, soft.scores[pairs]]))
        owners, found = np.divmod(kept, labels + words)
        indptr = offsets(np.bincount(owners, minlength=len(soft.costs)))
        return soft._replace(indptr=indptr, ids=found.astype(np.int32), scores=scores)

    def mixture(self, counts: Counts) -> Mixture:
        """The weights of each label: its own, and a part of the weights of its words."""
        part = WORDS_PART * _fading(counts) * (counts < MANY)
        own = scipy.sparse.eye_array(self.words.shape[0], dtype=np.float32)
        from_words = (self.words.T * part).astype(np.float32)
        return scipy.sparse.vstack([own, from_words], format="csr")

    def hidden_labels(self, matrix: LabelMatrix, random: np.random.Generator) -> Flags:
        """Random labels of the book, bool[labels]: the rows with these labels are to be left out.

        The reranker learns on them how reliable the book is for labels without rows. At most
        HIDDEN_SHARE of the rows are left out, and labels with more than the share COMMON of the
        rows are not hidden.
        """
        counts = matrix.counts()
        owners = matrix.present.rows()[np.argsort(matrix.present.ids, kind="stable")]
        bounds = offsets(counts)
        chosen = np.unique(self.labels.ids)
        chosen = chosen[(counts[chosen] > 0) & (counts[chosen] <= max(1, COMMON * len(matrix)))]
        hidden, lost = np.zeros(matrix.labels, np.bool_), np.zeros(len(matrix), np.bool_)
        left = HIDDEN_SHARE * len(matrix)
        for label in random.permutation(chosen):
            rows = owners[bounds[label] : bounds[label + 1]]
            if (more := np.count_nonzero(~lost[rows])) <= left:
                left -= more
                hidden[label] = lost[rows] = True
        return hidden

    def _words_of(self, ids: npt.NDArray[np.int32]) -> tuple[Counts, npt.NDArray[np.int32]]:
        """The words of some labels: for each word, the position of its label in `ids`; and ids."""
        indptr, positions = take_rows(self.words.indptr.astype(np.int64), ids.astype(np.int64))
        return row_numbers(indptr), self.words.indices[positions]


def _fading(counts: Counts) -> npt.NDArray[np.float64]:
    """1 for a label without training rows, and less for each row: 1/2 for HALF rows."""
    return HALF / (HALF + counts)


def _shared_words(
    titles: Mapping[str, str], labels: LabelSet, counts: Counts
) -> scipy.sparse.csr_array:
    """The words that titles of labels share, and their shares in each title (labels x words).

    The title of a label without a title is its name. Rare words have larger shares. A word is only
    of use if a label with few rows has it, and another one with rows.
    """
    found = [sorted(words_of(titles.get(name, name.rpartition("=")[2]))) for name in labels.names]
    owners = collections.defaultdict(list)
    for label, words in enumerate(found):
        for word in words:
            owners[word].append(label)
    shared = [
        word
        for word, having in sorted(owners.items())
        if len(having) > 1 and counts[having].min() < MANY and counts[having].max() > 0
    ]
    columns = {word: column for column, word in enumerate(shared)}
    rarity = {word: math.log1p(len(labels) / len(having)) for word, having in owners.items()}
    entries = [
        (rarity[word] / sum(rarity[each] for each in words), label, columns[word])
        for label, words in enumerate(found)
        for word in words
        if word in columns
    ]
    if not entries:
        return scipy.sparse.csr_array((len(labels), 0))
    shares, rows, ids = (np.array(part) for part in zip(*entries, strict=True))
    return scipy.sparse.csr_array(
        (shares, (rows.astype(np.int32), ids.astype(np.int32))), shape=(len(labels), len(shared))
    )
